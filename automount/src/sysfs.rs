//! Reading sysfs: directories in natural order, attributes as text.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use b2d_sys::effects::files::read_optional;

/// Returns the entries of a directory in the order `sda`, `sdb`, `sdaa`, `sda2`, `sda10`; none if it does not exist.
///
/// # Errors
/// When it exists but cannot be listed.
pub fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = match read() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Vec::new()
        }
        paths => paths.with_context(|| format!("listing {}", dir.display()))?,
    };
    paths.sort_by_key(|path| (file_name(path).len(), file_name(path).to_owned()));
    Ok(paths)
}

/// Tells whether `name` exists below `dir`, at most `depth` directories down.
///
/// # Errors
/// When a directory cannot be listed.
pub fn has_descendant(dir: &Path, name: &str, depth: usize) -> Result<bool> {
    // Links lead to parents and siblings, never down.
    for child in children(dir)?.iter().filter(|child| child.is_dir() && !child.is_symlink()) {
        if file_name(child) == name || depth > 1 && has_descendant(child, name, depth - 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns a sysfs attribute with single blanks between its words; empty if it does not exist or has no value now.
///
/// What is not printable is dropped: a SCSI disk's serial number comes with a binary header.
pub fn attribute(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    let bytes = read_optional(&path).unwrap_or_else(|error| {
        log::debug!("reading {}: {error}", path.display());
        None
    });
    let text: String = bytes
        .unwrap_or_default()
        .into_iter()
        .filter(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
        .map(char::from)
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the last part of a path; empty if it is no text.
pub fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
