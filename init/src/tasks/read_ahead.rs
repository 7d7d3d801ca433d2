//! Reads the programs of the first container before somebody asks for it: they lie compressed in the image, and unpacking
//! them then would take longer than the rest of its start. Gives way to everything else.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::effects::process;

/// What a first `docker run` starts, in that order.
const PROGRAMS: [&str; 4] =
    ["usr/bin/containerd-shim-runc-v2", "usr/sbin/runc", "usr/bin/docker", "usr/bin/docker-init"];

/// Reads them into the page cache; one that the image does not have is left out.
///
/// # Errors
/// When one cannot be read.
pub fn run(root: &Path) -> Result<()> {
    process::give_way().context("lowering the priority")?;
    for program in PROGRAMS {
        let path = root.join(program);
        match File::open(&path).and_then(|mut file| io::copy(&mut file, &mut io::sink())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
