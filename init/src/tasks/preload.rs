//! Reads dockerd's program into memory beside what comes before dockerd, which leaves processors idle. All of it is needed until
//! Docker is up, and dockerd would have to wait for one part after the other to be unpacked.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::contract::DOCKERD;
use b2d_sys::effects::files::read_ahead;

/// Reads it. Not with less priority than others have: dockerd would wait for what is being read.
///
/// # Errors
/// When it cannot be read.
pub fn run(root: &Path) -> Result<()> {
    let path = root.join(DOCKERD.trim_start_matches('/'));
    let reading = || format!("reading {}", path.display());
    let file = File::open(&path).with_context(reading)?;
    read_ahead(&file).with_context(reading)
}
