//! SHA-256 of files and of step inputs.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// Bytes read at a time when hashing a file.
const CHUNK_BYTES: usize = 1 << 20;

/// Returns the SHA-256 of everything `reader` yields, as lower-case hex.
///
/// # Errors
/// Those of the reader.
pub fn of_reader(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(hex(&hash.finalize())),
            filled => hash.update(&chunk[..filled]),
        }
    }
}

/// Returns the SHA-256 of a file, as lower-case hex.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    of_reader(&mut file).with_context(|| format!("reading {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// The identity of a build step: a hash over everything its result depends on.
///
/// Each part is length-prefixed, so that two lists of parts never collide by running together.
#[derive(Clone)]
pub struct KeyBuilder(Sha256);

impl fmt::Debug for KeyBuilder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyBuilder")
    }
}

impl KeyBuilder {
    /// Starts the key of the step `name`; `revision` is raised when the step's code changes its result.
    #[must_use]
    pub fn new(name: &str, revision: u32) -> Self {
        Self(Sha256::new()).text(name).text(&revision.to_string())
    }

    /// Adds a text.
    #[must_use]
    pub fn text(mut self, part: &str) -> Self {
        self.bytes(part.as_bytes());
        self
    }

    /// Adds a file's content and name, or a folder's, recursively and in sorted order.
    ///
    /// # Errors
    /// When something below `path` cannot be read.
    pub fn tree(mut self, path: &Path) -> Result<Self> {
        self.add_tree(path, Path::new(""))?;
        Ok(self)
    }

    /// Returns the finished key: 32 hex digits, enough to tell builds apart and short enough to read.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())[..32].to_owned()
    }

    fn bytes(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn add_tree(&mut self, path: &Path, name: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let reading = || format!("reading {}", path.display());
        let metadata = fs::symlink_metadata(path).with_context(reading)?;
        self.bytes(name.as_os_str().as_encoded_bytes());
        if metadata.is_symlink() {
            self.bytes(fs::read_link(path).with_context(reading)?.as_os_str().as_encoded_bytes());
        } else if metadata.is_dir() {
            let mut names = Vec::new();
            for entry in fs::read_dir(path).with_context(reading)? {
                names.push(entry.with_context(reading)?.file_name());
            }
            names.sort();
            for child in names {
                self.add_tree(&path.join(&child), &name.join(&child))?;
            }
        } else {
            // Of the permissions only the executable bit is recorded by git.
            self.bytes(if metadata.permissions().mode() & 0o100 != 0 { b"x" } else { b"-" });
            self.bytes(&fs::read(path).with_context(reading)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_published_one() {
        let digest = of_reader(&mut &b"abc"[..]).unwrap();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_that_run_together_give_other_keys() {
        let key = |parts: [&str; 2]| KeyBuilder::new("step", 1).text(parts[0]).text(parts[1]).finish();
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
    }

    #[test]
    fn a_tree_key_changes_with_content_name_and_executable_bit() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let key = || KeyBuilder::new("step", 1).tree(folder.path()).unwrap().finish();
        let file = folder.path().join("a");
        fs::write(&file, "1").unwrap();
        let first = key();
        assert_eq!(first, key());
        fs::write(&file, "2").unwrap();
        let second = key();
        assert_ne!(first, second);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let third = key();
        assert_ne!(second, third);
        fs::rename(&file, folder.path().join("b")).unwrap();
        assert_ne!(third, key());
    }
}
