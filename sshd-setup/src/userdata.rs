//! The user's files in `userdata.tar`, read into memory and checked before anything is written. Pure.

use std::io::{self, Cursor, Read};
use std::path::{Component, Path, PathBuf};

use b2d_sys::contract::MAGIC;
use tar::{Archive, EntryType};
use thiserror::Error;

/// Docker Machine's archive is 5 KiB; boot2docker kept 4 KiB of it.
pub const LIMIT_BYTES: usize = 1 << 20;
/// What boot2docker kept of an archive until 2020, whatever it was cut in the middle of.
pub const KEPT_BYTES: usize = 4096;
/// No set-uid bits, and no write permission for others: sshd refuses keys others can write.
const MODE_MASK: u32 = 0o755;

/// A file or directory below the user's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Relative path of ordinary names only.
    pub path: PathBuf,
    /// Permission bits, at most 0755.
    pub mode: u32,
    /// Content of a file; None for a directory.
    pub content: Option<Vec<u8>>,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Userdata {
    /// Members in the archive's order, without the one that carries the magic.
    pub members: Vec<Member>,
    /// The archive ends within a member, which is left out. boot2docker kept only the first [`KEPT_BYTES`], so
    /// the second copy of a long key is often cut. Any other archive that ends early was damaged and is refused.
    pub is_cut: bool,
}

/// Why a whole archive was refused.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum UserdataError {
    /// It is larger than [`LIMIT_BYTES`].
    #[error("larger than {LIMIT_BYTES} bytes")]
    TooLarge,
    /// A path leads out of the home.
    #[error("{path:?} leads out of the home")]
    Escape {
        /// The path as written.
        path: PathBuf,
    },
    /// A link, a device or another thing that is neither file nor directory.
    #[error("{path:?} is neither a file nor a directory")]
    Kind {
        /// The path as written.
        path: PathBuf,
    },
    /// It ends within a member.
    #[error("it ends in the middle of a file")]
    Cut,
    /// It is no tar archive.
    #[error("not a tar archive: {what}")]
    Format {
        /// What the reader said.
        what: String,
    },
}

/// Returns the members of an archive.
///
/// # Errors
/// When one member is hostile or the bytes are no archive: then none of it is to be used.
pub fn read(bytes: &[u8]) -> Result<Userdata, UserdataError> {
    if bytes.len() > LIMIT_BYTES {
        return Err(UserdataError::TooLarge);
    }
    let mut archive = Archive::new(Cursor::new(bytes));
    let mut userdata = Userdata::default();
    for entry in archive.entries().map_err(format_error)? {
        let mut entry = match entry {
            Ok(entry) => entry,
            // The end of the bytes within a header, or zeros cut short: all before it is whole.
            Err(_) if !userdata.members.is_empty() => return cut(userdata, bytes),
            Err(error) => return Err(format_error(error)),
        };
        let path = entry.path().map_err(format_error)?.into_owned();
        let is_dir = match entry.header().entry_type() {
            EntryType::Directory => true,
            EntryType::Regular | EntryType::Continuous => false,
            _ => return Err(UserdataError::Kind { path }),
        };
        let mode = entry.header().mode().map_err(format_error)? & MODE_MASK;
        let size = entry.size();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(format_error)?;
        if !is_dir && (content.len() as u64) < size {
            return cut(userdata, bytes);
        }
        let path = below_home(&path)?;
        if !path.as_os_str().is_empty() && path != Path::new(MAGIC) {
            userdata.members.push(Member { path, mode, content: (!is_dir).then_some(content) });
        }
    }
    Ok(userdata)
}

/// Returns the whole members of an archive that boot2docker cut.
fn cut(userdata: Userdata, bytes: &[u8]) -> Result<Userdata, UserdataError> {
    if bytes.len() == KEPT_BYTES {
        Ok(Userdata { is_cut: true, ..userdata })
    } else {
        Err(UserdataError::Cut)
    }
}

/// Returns the path without `.` parts; empty for the home itself.
fn below_home(path: &Path) -> Result<PathBuf, UserdataError> {
    let escape = || UserdataError::Escape { path: path.to_owned() };
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| if matches!(part, Component::Normal(_)) { Ok(part) } else { Err(escape()) })
        .collect()
}

fn format_error(error: io::Error) -> UserdataError {
    UserdataError::Format { what: error.to_string() }
}

#[cfg(test)]
#[path = "userdata_tests.rs"]
mod tests;
