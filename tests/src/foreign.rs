//! Disks of other people: what identifies them, at its true place, and content that must survive us.

use anyhow::Result;

use crate::Lab;
use crate::disk::Image;
use crate::random::Random;

/// Size of such a disk.
const SIZE_BYTES: u64 = 96 << 20;
/// Somebody's files: far from either end, where no signature is.
const CONTENT: (u64, &[u8]) = (40 << 20, b"the only copy of somebody's thesis");

/// Bytes and where they lie.
type Part<'a> = (u64, &'a [u8]);

/// Returns a disk for each use that is not ours, with its name.
///
/// # Errors
/// When a file cannot be written.
pub fn disks(lab: &Lab) -> Result<Vec<(&'static str, Image)>> {
    // A database on a raw disk, or a disk encrypted without header: noise, but not from the start on.
    let noise = Random::new(1).bytes(4 << 20);
    let uberblocks: Vec<u8> = 0x00ba_b10c_u64.to_le_bytes().repeat(2);
    let rows: [(&str, Vec<Part<'_>>); 7] = [
        ("ntfs", vec![(3, b"NTFS    "), (510, &[0x55, 0xaa])]),
        ("luks", vec![(0, b"LUKS\xba\xbe\x00\x02")]),
        ("lvm", vec![(512, b"LABELONE"), (536, b"LVM2 001")]),
        ("zfs", vec![(132 << 10, &uberblocks), (SIZE_BYTES - (512 << 10) + (132 << 10), &uberblocks)]),
        ("raid", vec![(4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0])]),
        ("bootsector", vec![(0, &[0xeb, 0x3c, 0x90]), (510, &[0x55, 0xaa])]),
        ("unknown", vec![(9 << 20, &noise)]),
    ];
    let make = |(name, mut parts): (&'static str, Vec<Part<'_>>)| {
        parts.push(CONTENT);
        Ok((name, Image::with_bytes(lab, name, SIZE_BYTES, &parts)?))
    };
    rows.into_iter().map(make).collect()
}
