//! Reads dockerd's program into memory once dockerd has begun, which leaves processors idle. All of it is needed until Docker is
//! up, and dockerd would have to wait for one block after the other to be unpacked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::contract::DOCKERD;

/// No block of a file in the root is smaller, and the kernel unpacks whole blocks. Unit: bytes.
const STEP_BYTES: u64 = 128 << 10;

/// Reads it. Not with less priority than others have: dockerd would wait for what is being read.
///
/// # Errors
/// When it cannot be read.
pub fn run(root: &Path) -> Result<()> {
    let path = root.join(DOCKERD.trim_start_matches('/'));
    touch(&path).with_context(|| format!("reading {}", path.display()))
}

/// Reads a byte of each block, from the end: dockerd begins at the front.
fn touch(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    (0..length.div_ceil(STEP_BYTES))
        .rev()
        .try_for_each(|block| file.read_exact_at(&mut [0], block * STEP_BYTES))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn programs_of_any_length_are_read_and_what_is_not_there_is_told() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(DOCKERD.trim_start_matches('/'));
        let error = run(root.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("reading {}", path.display()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for length in [0, 1, STEP_BYTES, STEP_BYTES + 1] {
            fs::write(&path, vec![0; usize::try_from(length).unwrap()]).unwrap();
            run(root.path()).unwrap();
        }
    }
}
