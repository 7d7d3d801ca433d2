//! Superblocks of the file systems we mount: little-endian fields at fixed places.

use crc::{CRC_32_ISCSI, Crc};

use crate::model::{Filesystem, FilesystemKind, Signature};

/// Place of an ext superblock.
const EXT_AT: usize = 1024;
/// The byte after it.
pub const EXT_END: usize = 2048;
/// Place of a btrfs superblock.
pub const BTRFS_AT: usize = 64 << 10;
const BTRFS_MAGIC: &[u8] = b"_BHRfS_M";

/// Features, by field. Source: Linux `fs/ext4/ext4.h`.
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_64BIT: u32 = 0x80;
/// All an ext3 may have: filetype, recover, meta_bg.
const INCOMPAT_OF_EXT3: u32 = 0x2 | INCOMPAT_RECOVER | 0x10;
/// All an ext3 may have: sparse_super, large_file, btree_dir.
const RO_COMPAT_OF_EXT3: u32 = 0x1 | 0x2 | 0x4;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x10000;
/// Place of the superblock's own checksum, which covers what is before it.
const EXT_CHECKSUM_AT: usize = 1020;
/// State bit "was unmounted cleanly"; state bit "errors were seen".
const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
/// A file system of 128 TiB has so many groups of blocks.
const MOST_GROUPS: u64 = 1 << 20;
/// Block sizes run from 1 KiB to 64 KiB: the size is 1024 shifted by 0 to 6.
const LARGEST_BLOCK_SHIFT: u32 = 6;

/// Place of the label in an XFS superblock, and its length: too short for the data disk's.
const XFS_LABEL: std::ops::Range<usize> = 108..120;
/// An XFS superblock fits into the smallest sector.
const XFS_BYTES: usize = 512;

/// An ext superblock: a file system, or the journal of one elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext {
    /// [`Signature::Ext`] or [`Signature::ExtJournal`].
    pub signature: Signature,
    /// Kind, label, UUID and state.
    pub filesystem: Filesystem,
}

/// Returns the ext superblock in the first bytes of a device, or None if there is no plausible one.
///
/// Source: Linux `fs/ext4/ext4.h`, `struct ext4_super_block`.
pub fn ext(head: &[u8]) -> Option<Ext> {
    let block = head.get(EXT_AT..EXT_AT + 1024)?;
    let is_plausible =
        u16_at(block, 56) == 0xef53 && u32_at(block, 4) != 0 && u32_at(block, 24) <= LARGEST_BLOCK_SHIFT;
    if !is_plausible {
        return None;
    }
    let (compat, incompat, ro_compat) = (u32_at(block, 92), u32_at(block, 96), u32_at(block, 100));
    let kind = match compat & COMPAT_HAS_JOURNAL {
        _ if incompat & !INCOMPAT_OF_EXT3 != 0 || ro_compat & !RO_COMPAT_OF_EXT3 != 0 => FilesystemKind::Ext4,
        0 => FilesystemKind::Ext2,
        _ => FilesystemKind::Ext3,
    };
    let state = u16_at(block, 58);
    let is_dirty = state & STATE_CLEAN == 0 || state & STATE_ERRORS != 0 || incompat & INCOMPAT_RECOVER != 0;
    let signature = if incompat & INCOMPAT_JOURNAL_DEV == 0 { Signature::Ext } else { Signature::ExtJournal };
    // With the feature 64bit the upper half is valid, and zero on any disk below 16 TiB.
    let upper = if incompat & INCOMPAT_64BIT == 0 { 0 } else { u32_at(block, 336) };
    let blocks = u64::from(u32_at(block, 4)) | u64::from(upper) << 32;
    let filesystem = Filesystem {
        kind,
        label: text(&block[120..136]),
        uuid: uuid(&block[104..120]),
        is_dirty,
        needs_check: is_dirty || !is_ext_well(block),
        size_bytes: blocks.saturating_mul(1024 << u32_at(block, 24)),
    };
    Some(Ext { signature, filesystem })
}

/// Tells whether a superblock that says "clean" is whole and speaks of nothing else that `e2fsck -p` would act on: then that
/// looks no further either. Without checksum nobody knows whether it is whole.
///
/// Source: e2fsprogs, `e2fsck/unix.c`, `check_if_skip`; Linux `fs/ext4/super.c`, `ext4_superblock_csum`.
fn is_ext_well(block: &[u8]) -> bool {
    let ro_compat = u32_at(block, 100);
    let checksum = !Crc::<u32>::new(&CRC_32_ISCSI).checksum(&block[..EXT_CHECKSUM_AT]);
    let (mounts, most_mounts) = (u16_at(block, 52), u16_at(block, 54).cast_signed());
    let is_check_due = most_mounts > 0 && mounts >= most_mounts.unsigned_abs() || u32_at(block, 68) != 0;
    let (first_orphan, errors) = (u32_at(block, 232), u32_at(block, 404));
    ro_compat & RO_COMPAT_METADATA_CSUM != 0
        && checksum == u32_at(block, EXT_CHECKSUM_AT)
        && ro_compat & RO_COMPAT_ORPHAN_PRESENT == 0
        && (first_orphan, errors) == (0, 0)
        && !is_check_due
}

/// Tells whether the ext superblock in these first bytes describes a file system that a device of `size_bytes` can hold.
pub fn is_ext_credible(head: &[u8], size_bytes: u64) -> bool {
    let (Some(ext), Some(block)) = (ext(head), head.get(EXT_AT..EXT_END)) else { return false };
    let block_bytes = 1024_u64 << u32_at(block, 24);
    // A group has a bitmap of one block, and at least 256 blocks. Source: e2fsprogs misc/mke2fs.c, option -g.
    let group_blocks = u64::from(u32_at(block, 32));
    let is_group = (256..=8 * block_bytes).contains(&group_blocks);
    // Without the feature 64bit the kernel ignores the upper half; not every reader does.
    let is_small = u32_at(block, 336) == 0 || u32_at(block, 96) & INCOMPAT_64BIT != 0;
    let filesystem_bytes = ext.filesystem.size_bytes;
    is_group
        && is_small
        && filesystem_bytes <= size_bytes
        && filesystem_bytes / (block_bytes * group_blocks) < MOST_GROUPS
        && u64::from(u32_at(block, 40)) <= 8 * block_bytes
}

/// Returns the btrfs file system whose superblock is in the first bytes of a device.
///
/// Source: Linux `uapi/linux/btrfs_tree.h`, `struct btrfs_super_block`.
pub fn btrfs(head: &[u8]) -> Option<Filesystem> {
    let block = head.get(BTRFS_AT..BTRFS_AT + 4096)?;
    (block.get(64..72)? == BTRFS_MAGIC).then(|| Filesystem {
        kind: FilesystemKind::Btrfs,
        label: text(&block[299..299 + 256]),
        uuid: uuid(&block[32..48]),
        is_dirty: false,
        needs_check: false,
        size_bytes: u64_at(block, 112),
    })
}

/// Returns the XFS file system whose superblock is in the first bytes of a device.
///
/// Source: Linux `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dsb`.
pub fn xfs(head: &[u8]) -> Option<Filesystem> {
    let block = head.get(..XFS_BYTES).filter(|block| block.starts_with(b"XFSB"))?;
    let be32 = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let blocks = u64::from(be32(8)) << 32 | u64::from(be32(12));
    Some(Filesystem {
        kind: FilesystemKind::Xfs,
        label: text(&block[XFS_LABEL]),
        uuid: uuid(&block[32..48]),
        is_dirty: false,
        needs_check: false,
        size_bytes: blocks.saturating_mul(be32(4).into()),
    })
}

fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from(u32_at(block, at)) | u64::from(u32_at(block, at + 4)) << 32
}

/// Returns the text before the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
