//! Reads what a device holds from its bytes, on anything that reads and seeks.
//! Must not guess: two signatures are reported as two.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use b2d_sys::contract::MAGIC;

use crate::archive;
use crate::mbr;
use crate::model::{Content, Signature};
use crate::superblock;

/// Enough for every signature near the start: btrfs' superblock at 64 KiB is the last one.
const HEAD_BYTES: u64 = superblock::BTRFS_AT as u64 + 4096;
/// First of the uberblocks in the first ZFS label, and the distance between two of them with 512-byte sectors.
const ZFS_UBERBLOCKS: std::ops::Range<u64> = 128 << 10..256 << 10;
const ZFS_STEP: usize = 1024;
const ZFS_MAGIC: u64 = 0x00ba_b10c;
/// Software RAID superblocks, 1.x and 0.90. Source: Linux `uapi/linux/raid/md_p.h`.
const RAID_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();

/// Signatures at fixed places. Source: util-linux `libblkid/src/superblocks`.
const SIGNATURES: &[(Signature, usize, &[u8])] = &[
    (Signature::Luks, 0, b"LUKS\xba\xbe"),
    (Signature::Squashfs, 0, b"hsqs"),
    (Signature::Raid, 0, &RAID_MAGIC),
    (Signature::Ntfs, 3, b"NTFS    "),
    (Signature::Exfat, 3, b"EXFAT   "),
    (Signature::Fat, 54, b"FAT12   "),
    (Signature::Fat, 54, b"FAT16   "),
    (Signature::Fat, 82, b"FAT32   "),
    (Signature::Lvm, 0, b"LABELONE"),
    (Signature::Gpt, 512, b"EFI PART"),
    (Signature::Lvm, 512, b"LABELONE"),
    (Signature::Lvm, 1024, b"LABELONE"),
    (Signature::F2fs, 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    (Signature::Lvm, 1536, b"LABELONE"),
    (Signature::Swap, 4086, b"SWAPSPACE2"),
    (Signature::Swap, 4086, b"SWAP-SPACE"),
    (Signature::Raid, 4096, &RAID_MAGIC),
    (Signature::Bcache, 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    (Signature::Iso9660, 32769, b"CD001"),
];

/// Returns what `device` of `size_bytes` bytes holds. A device shorter than a signature's place has none there.
///
/// # Errors
/// When reading fails; the device is never written to.
pub fn probe(device: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<Content> {
    let head = read_up_to(device, 0, HEAD_BYTES)?;
    if head.starts_with(MAGIC.as_bytes()) {
        let bytes = read_up_to(device, 0, archive::LIMIT_BYTES as u64)?;
        return Ok(Content::Magic(archive::measure(&bytes)));
    }
    let mut found: Vec<Signature> =
        SIGNATURES.iter().filter(|(_, at, bytes)| bytes_at(&head, *at, bytes)).map(|row| row.0).collect();
    let ext = superblock::ext(&head);
    found.extend(ext.as_ref().map(|ext| ext.signature));
    let btrfs = superblock::btrfs(&head);
    found.extend(btrfs.as_ref().map(|_| Signature::Btrfs));
    let xfs = superblock::xfs(&head);
    found.extend(xfs.as_ref().map(|_| Signature::Xfs));
    if has_raid_at_end(device, size_bytes)? {
        found.push(Signature::Raid);
    }
    if has_zfs(device)? {
        found.push(Signature::Zfs);
    }
    // FAT and NTFS have the same mark, and GPT the same table as a guard.
    if found.is_empty() && mbr::is_marked(&head) {
        found.push(Signature::Mbr);
    }
    found.sort();
    found.dedup();
    let filesystem = ext.map(|ext| ext.filesystem).or(btrfs).or(xfs);
    Ok(match (found.as_slice(), filesystem) {
        ([], _) => Content::Unknown,
        ([Signature::Ext | Signature::Btrfs | Signature::Xfs], Some(filesystem)) => {
            Content::Filesystem(filesystem)
        }
        ([one], ..) => Content::Foreign(*one),
        _ => Content::Ambiguous(found),
    })
}

/// A software RAID of metadata 1.0 or 0.90 keeps its superblock at the end: its member looks like a plain file system
/// from the front, and mounting one half of a mirror would tear it.
fn has_raid_at_end(device: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<bool> {
    const KIB_64: u64 = 64 << 10;
    let places = [(size_bytes & !(KIB_64 - 1)).checked_sub(KIB_64), (size_bytes & !4095).checked_sub(8192)];
    for at in places.into_iter().flatten().filter(|&at| at >= HEAD_BYTES) {
        if bytes_at(&read_up_to(device, at, RAID_MAGIC.len() as u64)?, 0, &RAID_MAGIC) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_zfs(device: &mut (impl Read + Seek)) -> io::Result<bool> {
    let blocks = read_up_to(device, ZFS_UBERBLOCKS.start, ZFS_UBERBLOCKS.end - ZFS_UBERBLOCKS.start)?;
    let is_uberblock = |block: &[u8]| {
        block.starts_with(&ZFS_MAGIC.to_le_bytes()) || block.starts_with(&ZFS_MAGIC.to_be_bytes())
    };
    Ok(blocks.chunks(ZFS_STEP).any(is_uberblock))
}

fn bytes_at(head: &[u8], at: usize, bytes: &[u8]) -> bool {
    head.get(at..at + bytes.len()) == Some(bytes)
}

/// Reads `count` bytes at `at`, fewer if the device ends before.
fn read_up_to(device: &mut (impl Read + Seek), at: u64, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    device.seek(SeekFrom::Start(at))?;
    match device.take(count).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        // Some block devices say so instead of returning nothing.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(bytes),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
