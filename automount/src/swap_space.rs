//! Swap space: the header that makes some, and compressed memory to swap to.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::SWAP_LABEL;
use b2d_sys::effects::swap::{self, Discard};

/// Size of a page, and so of the header.
const PAGE_BYTES: usize = 4096;
/// Places in the header. Source: Linux `include/linux/swap.h`, union swap_header; libblkid for the volume's name.
const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const UUID: usize = 1036;
const LABEL: usize = 1052;
const SIGNATURE: &[u8] = b"SWAPSPACE2";
/// The compressed device that the kernel makes by itself.
const ZRAM: &str = "zram0";

/// Returns the header of swap space of `length` bytes with our label.
pub fn header(length: u64, uuid: [u8; 16]) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    let last_page = (length / PAGE_BYTES as u64).saturating_sub(1);
    page[VERSION..VERSION + 4].copy_from_slice(&1_u32.to_le_bytes());
    page[LAST_PAGE..LAST_PAGE + 4]
        .copy_from_slice(&u32::try_from(last_page).unwrap_or(u32::MAX).to_le_bytes());
    page[UUID..UUID + 16].copy_from_slice(&uuid);
    page[LABEL..LABEL + SWAP_LABEL.len()].copy_from_slice(SWAP_LABEL.as_bytes());
    page[PAGE_BYTES - SIGNATURE.len()..].copy_from_slice(SIGNATURE);
    page
}

/// Returns the label in the first page of swap space.
pub fn label(page: &[u8]) -> String {
    let field = page.get(LABEL..LABEL + 16).unwrap_or_default();
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// Makes the device at `node`, which is `length` bytes long, swap space, and waits until that is written.
///
/// # Errors
/// When it cannot be written.
pub fn make(node: &Path, length: u64) -> Result<()> {
    let make = || -> std::io::Result<()> {
        let mut uuid = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut uuid)?;
        let file = OpenOptions::new().write(true).open(node)?;
        file.write_all_at(&header(length, uuid), 0)?;
        file.sync_all()
    };
    make().with_context(|| format!("making swap space on {}", node.display()))
}

/// Swaps to compressed memory that may hold `bytes`. Where that was set up already it stays as it is.
///
/// # Errors
/// When the kernel has no such device, or refuses.
pub fn compressed_memory(bytes: u64, priority: u16) -> Result<()> {
    let size = Path::new("/sys/block").join(ZRAM).join("disksize");
    let current = fs::read_to_string(&size).with_context(|| format!("reading {}", size.display()))?;
    ensure!(current.trim() == "0", "{ZRAM} is in use already");
    fs::write(&size, bytes.to_string()).with_context(|| format!("writing {}", size.display()))?;
    let node = Path::new("/dev").join(ZRAM);
    make(&node, bytes)?;
    swap::on(&node, priority, Discard::No)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::model::{Content, Signature};
    use crate::probe::probe;

    #[test]
    fn made_swap_space_is_recognised_with_its_label() {
        let mut bytes = header(1000 << 20, [7; 16]);
        assert_eq!(bytes[LAST_PAGE..LAST_PAGE + 4], (256_000_u32 - 1).to_le_bytes());
        assert_eq!(label(&bytes), SWAP_LABEL);
        bytes.resize(1 << 20, 0);
        let size = bytes.len() as u64;
        assert_eq!(probe(&mut Cursor::new(bytes), size).unwrap(), Content::Foreign(Signature::Swap));
        assert_eq!(label(&[]), "");
    }
}
