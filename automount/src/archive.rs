//! Measures the archive that a disk with the magic carries, so that all of it is kept. Pure.
//! Must not judge what the members are: that is done where they are unpacked, at each boot.

use std::fmt;

use tar::{EntryType, Header};

/// Docker Machine's archive is 5 KiB. More than this is not somebody's keys.
pub const LIMIT_BYTES: usize = 1 << 20;
/// Unit of a tar archive.
const BLOCK_BYTES: usize = 512;
/// Where a header says that it is one of a tar archive.
const USTAR: (usize, &[u8]) = (257, b"ustar");

/// What is behind the magic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archive {
    /// The magic alone.
    None,
    /// A whole archive: headers that add up, and the zeros that end it.
    Whole(Vec<u8>),
    /// Something was an archive once, or is none that we can keep.
    Damaged(&'static str),
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("without files"),
            Self::Whole(bytes) => write!(f, "with {} bytes of files", bytes.len()),
            Self::Damaged(why) => write!(f, "its archive {why}"),
        }
    }
}

/// Returns the archive at the start of `bytes`, which are a disk's first bytes, at most [`LIMIT_BYTES`] of them.
pub fn measure(bytes: &[u8]) -> Archive {
    let Some(first) = bytes.first_chunk::<BLOCK_BYTES>() else { return Archive::None };
    let is_archive = first[USTAR.0..].starts_with(USTAR.1) || member_bytes(first).is_some();
    if !is_archive {
        return Archive::None;
    }
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK_BYTES>()) {
        if block.iter().all(|&byte| byte == 0) {
            // Two blocks of zeros end an archive; the second may lie beyond the end of a tiny disk.
            let end = (at + 2 * BLOCK_BYTES).min(bytes.len());
            return Archive::Whole(bytes[..end].to_vec());
        }
        let Some(size) = member_bytes(block) else { return Archive::Damaged("is damaged") };
        let Some(next) = size.checked_next_multiple_of(BLOCK_BYTES).and_then(|size| size.checked_add(at))
        else {
            return Archive::Damaged("is damaged");
        };
        at = next.saturating_add(BLOCK_BYTES);
    }
    match bytes.len() < LIMIT_BYTES {
        true => Archive::Damaged("ends behind the end of the disk"),
        false => Archive::Damaged("is larger than 1 MiB"),
    }
}

/// Returns the size of the member whose header this is, or None if the checksum says it is no header.
fn member_bytes(block: &[u8; BLOCK_BYTES]) -> Option<usize> {
    /// Place of the checksum, which counts as blanks in its own sum. Source: POSIX.1-1988, ustar.
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let header = Header::from_byte_slice(block);
    let sum = |(at, &byte): (usize, &u8)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { byte });
    let expected: u32 = block.iter().enumerate().map(sum).sum();
    if header.cksum().ok()? != expected {
        return None;
    }
    // Links and folders have no content, whatever their size field says.
    let has_no_content = matches!(
        header.entry_type(),
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Directory
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo
    );
    let size = header.entry_size().ok()?;
    if has_no_content { Some(0) } else { usize::try_from(size).ok() }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
