//! Looks into a file system without mounting it, or mounts it so that nothing is written: a disk that is not ours must
//! not change by being looked at. Decides nothing.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use ext4_view::{Ext4, Ext4Error, Ext4Read};

use crate::superblock;
use crate::window::Window;

/// Folders and files that tell a system's own disk from one that only holds data.
const OF_A_SYSTEM: [&str; 5] = ["bin", "boot", "etc", "sbin", "usr"];
/// What mke2fs makes in every file system.
const LOST_AND_FOUND: &str = "lost+found";

/// What lies in a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Nobody needed to know.
    NotLooked,
    /// It could not be read; the text says why.
    Unreadable(String),
    /// It could.
    Seen(Seen),
}

/// What a look inside showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `var/lib/boot2docker` or `var/lib/docker` is there.
    pub has_data: bool,
    /// `vm` is there, as boot2docker laid its disk out before version 1.0.
    pub has_vm: bool,
    /// An operating system lives there.
    pub is_system: bool,
    /// There is nothing but `lost+found`.
    pub is_empty: bool,
}

impl Ext4Read for Window {
    fn read(&mut self, at: u64, to: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.seek(SeekFrom::Start(at))?;
        Ok(self.read_exact(to)?)
    }
}

/// Looks into the ext file system in `window`. A journal is replayed in memory only.
pub fn look_into_ext(window: Window) -> Inside {
    let length = window.length();
    look_into(Box::new(window), length)
}

/// Looks into the ext file system in these bytes.
pub fn look_into_bytes(bytes: Vec<u8>) -> Inside {
    let length = bytes.len() as u64;
    look_into(Box::new(bytes), length)
}

fn look_into(mut reader: Box<dyn Ext4Read>, length: u64) -> Inside {
    let mut head = [0; superblock::EXT_END];
    let is_readable = reader.read(0, &mut head).is_ok();
    // The reader allocates what the superblock says, and running out of memory ends the program.
    if !is_readable || !superblock::is_ext_credible(&head, length) {
        return Inside::Unreadable("its superblock does not fit the device".to_owned());
    }
    let look = || -> Result<Inside, Ext4Error> {
        let filesystem = Ext4::load(reader)?;
        let mut names = Vec::new();
        for entry in filesystem.read_dir("/")? {
            names.push(String::from_utf8_lossy(entry?.file_name().as_ref()).into_owned());
        }
        let has = |path: &str| filesystem.symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
        let has_data = has("/var/lib/boot2docker") || has("/var/lib/docker");
        Ok(Inside::Seen(seen(&names, has_data, has("/vm"))))
    };
    look().unwrap_or_else(|error| Inside::Unreadable(error.to_string()))
}

/// Looks into the file system mounted at `root`.
pub fn look_into_mounted(root: &Path) -> Inside {
    let look = || -> io::Result<Inside> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(root)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let has = |path: &str| root.join(path).symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let has_data = has("var/lib/boot2docker") || has("var/lib/docker");
        Ok(Inside::Seen(seen(&names, has_data, has("vm"))))
    };
    look().unwrap_or_else(|error| Inside::Unreadable(error.to_string()))
}

fn seen(names: &[String], has_data: bool, has_vm: bool) -> Seen {
    Seen {
        has_data,
        has_vm,
        is_system: names.iter().any(|name| OF_A_SYSTEM.contains(&name.as_str())),
        is_empty: names.iter().all(|name| matches!(name.as_str(), "." | ".." | LOST_AND_FOUND)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(folders: &[&str]) -> Inside {
        let root = tempfile::tempdir().unwrap();
        folders.iter().for_each(|folder| std::fs::create_dir_all(root.path().join(folder)).unwrap());
        look_into_mounted(root.path())
    }

    #[test]
    fn layouts_are_told_apart() {
        let nothing = Seen::default();
        let rows: [(&str, &[&str], Seen); 6] = [
            ("fresh", &["lost+found"], Seen { is_empty: true, ..nothing }),
            ("ours", &["var/lib/boot2docker", "tmp"], Seen { has_data: true, ..nothing }),
            ("Docker's alone", &["var/lib/docker"], Seen { has_data: true, ..nothing }),
            ("before 1.0", &["vm", "containers"], Seen { has_vm: true, ..nothing }),
            (
                "Debian with Docker",
                &["var/lib/docker", "etc", "usr"],
                Seen { has_data: true, is_system: true, ..nothing },
            ),
            ("photographs", &["2013", "lost+found"], nothing),
        ];
        for (name, folders, expected) in rows {
            assert_eq!(with(folders), Inside::Seen(expected), "{name}");
        }
    }

    #[test]
    fn superblock_that_promises_too_much_is_not_believed() {
        // Found by fuzzing: the reader wanted 25 GB of memory for four billion groups, and 34 GB for those that the
        // upper half of the count promises where there should be none.
        for (blocks, upper) in [(u32::MAX, 0), (16, 0x1000)] {
            let mut bytes = vec![0; 1 << 16];
            let fields: [(usize, u32); 7] =
                [(0, 16), (4, blocks), (24, 0), (32, 256), (40, 8), (56, 0xef53), (336, upper)];
            for (at, value) in fields {
                bytes[1024 + at..1028 + at].copy_from_slice(&value.to_le_bytes());
            }
            let expected = Inside::Unreadable("its superblock does not fit the device".into());
            assert_eq!(look_into_bytes(bytes), expected, "{blocks} {upper}");
        }
    }

    #[test]
    fn nonsense_is_unreadable() {
        assert!(matches!(look_into_bytes(vec![0; 1 << 16]), Inside::Unreadable(_)));
        assert!(matches!(look_into_mounted(Path::new("/no/such/folder")), Inside::Unreadable(_)));
    }
}
