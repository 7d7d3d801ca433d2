//! Every signature on images made in memory.

use std::io::Cursor;

use super::*;
use crate::model::{Archive, Filesystem, FilesystemKind};

const MIB: usize = 1 << 20;

fn image(writes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; MIB];
    for (at, content) in writes {
        bytes[*at..at + content.len()].copy_from_slice(content);
    }
    bytes
}

fn probed(bytes: Vec<u8>) -> Content {
    let size_bytes = bytes.len() as u64;
    probe(&mut Cursor::new(bytes), size_bytes).unwrap()
}

/// Returns an ext superblock at its place; features are (compat, incompat, ro_compat).
fn ext(label: &[u8], state: u16, features: (u32, u32, u32)) -> Vec<u8> {
    let mut bytes = image(&[
        (1024 + 4, &1024_u32.to_le_bytes()),
        (1024 + 24, &2_u32.to_le_bytes()),
        (1024 + 56, &0xef53_u16.to_le_bytes()),
        (1024 + 58, &state.to_le_bytes()),
        (1024 + 92, &features.0.to_le_bytes()),
        (1024 + 96, &features.1.to_le_bytes()),
        (1024 + 100, &features.2.to_le_bytes()),
        (1024 + 120, label),
    ]);
    for (at, byte) in (1024 + 104..1024 + 120).zip(0x10_u8..) {
        bytes[at] = byte;
    }
    bytes
}

fn filesystem(kind: FilesystemKind, label: &str, is_dirty: bool) -> Content {
    let uuid = "10111213-1415-1617-1819-1a1b1c1d1e1f".to_owned();
    let size_bytes = if kind == FilesystemKind::Btrfs { 5 << 30 } else { 4 << 20 };
    let needs_check = kind.is_ext(); // made-up superblocks have no checksum
    Content::Filesystem(Filesystem { kind, label: label.to_owned(), uuid, is_dirty, needs_check, size_bytes })
}

/// Writes the checksum that the kernel would into a superblock.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = !crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[1024..1024 + 1020]);
    bytes[1024 + 1020..2048].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn only_a_whole_clean_superblock_with_nothing_to_do_goes_without_a_check() {
    const CSUM: (u32, u32, u32) = (0x3c, 0x2c2, 0x46b);
    let clean = || ext(b"x", 1, CSUM);
    let with = |places: &[usize], value: u8| {
        let mut bytes = clean();
        places.iter().for_each(|at| bytes[1024 + at] = value);
        with_checksum(bytes)
    };
    let broken = |mut bytes: Vec<u8>| {
        bytes[1024 + 80] ^= 1;
        bytes
    };
    let rows = [
        ("clean", with_checksum(clean()), false),
        ("no checksum", clean(), true),
        ("another checksum", broken(with_checksum(clean())), true),
        ("feature off", with_checksum(ext(b"x", 1, (0x3c, 0x2c2, 0x6b))), true),
        ("in use", with_checksum(ext(b"x", 0, CSUM)), true),
        ("errors seen", with_checksum(ext(b"x", 3, CSUM)), true),
        ("journal to replay", with_checksum(ext(b"x", 1, (0x3c, 0x2c6, 0x46b))), true),
        ("orphan file in use", with_checksum(ext(b"x", 1, (0x3c, 0x2c2, 0x1046b))), true),
        ("an orphan", with(&[232], 12), true),
        ("errors counted", with(&[404], 1), true),
        ("mounted as often as it may be", with(&[52, 54], 20), true),
        ("mounted before", with(&[52], 20), false),
        ("due after a time", with(&[68], 1), true),
    ];
    for (name, bytes, expected) in rows {
        let Content::Filesystem(found) = probed(bytes) else { panic!("{name}: no file system") };
        assert_eq!(found.needs_check, expected, "{name}");
    }
}

#[test]
fn ext_kinds_labels_and_states_are_told_apart() {
    const DATA: &[u8] = b"boot2docker-data"; // fills the field: no NUL after it
    let rows = [
        ("ext2", ext(DATA, 1, (0x38, 0x2, 0x3)), filesystem(FilesystemKind::Ext2, "boot2docker-data", false)),
        ("ext3", ext(DATA, 1, (0x3c, 0x2, 0x3)), filesystem(FilesystemKind::Ext3, "boot2docker-data", false)),
        ("ext4", ext(b"x", 1, (0x3c, 0x2c2, 0x46b)), filesystem(FilesystemKind::Ext4, "x", false)),
        ("journal to replay", ext(b"", 1, (0x3c, 0x2c6, 0x46b)), filesystem(FilesystemKind::Ext4, "", true)),
        ("ext2 in use", ext(b"", 0, (0x38, 0x2, 0x3)), filesystem(FilesystemKind::Ext2, "", true)),
        ("errors seen", ext(b"", 3, (0x3c, 0x2c2, 0x46b)), filesystem(FilesystemKind::Ext4, "", true)),
        ("external journal", ext(b"", 1, (0, 0x8, 0)), Content::Foreign(Signature::ExtJournal)),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(probed(bytes), expected, "{name}");
    }
}

#[test]
fn implausible_superblock_is_no_file_system() {
    let mut bytes = ext(b"boot2docker-data", 1, (0x3c, 0x2c2, 0x46b));
    bytes[1024 + 24] = 200;
    assert_eq!(probed(bytes), Content::Unknown);
}

#[test]
fn btrfs_label_and_uuid_are_read() {
    let bytes = image(&[
        (65536 + 64, b"_BHRfS_M"),
        (65536 + 112, &(5_u64 << 30).to_le_bytes()),
        (65536 + 299, b"boot2docker-data"),
        (65536 + 32, &std::array::from_fn::<u8, 16, _>(|at| 0x10 + at as u8)),
    ]);
    assert_eq!(probed(bytes), filesystem(FilesystemKind::Btrfs, "boot2docker-data", false));
}

#[test]
fn xfs_is_read_with_its_short_label() {
    let bytes = image(&[
        (0, b"XFSB"),
        (4, &4096_u32.to_be_bytes()),
        (8, &1024_u64.to_be_bytes()),
        (32, &std::array::from_fn::<u8, 16, _>(|at| 0x10 + at as u8)),
        (108, b"boot2docker-"),
    ]);
    assert_eq!(probed(bytes), filesystem(FilesystemKind::Xfs, "boot2docker-", false));
}

#[test]
fn large_ext4_is_counted_in_64_bits() {
    let mut bytes = ext(b"", 1, (0x3c, 0x2c2, 0x46b));
    bytes[1024 + 336] = 2;
    let Content::Filesystem(filesystem) = probed(bytes) else { panic!("it is an ext4") };
    assert_eq!(filesystem.size_bytes, ((2 << 32) + 1024) * 4096);
}

#[test]
fn boot_sector_alone_is_a_signature_but_a_file_system_counts_more() {
    assert_eq!(probed(image(&[(510, &[0x55, 0xaa])])), Content::Foreign(Signature::Mbr));
    let fat = image(&[(510, &[0x55, 0xaa]), (82, b"FAT32   ")]);
    assert_eq!(probed(fat), Content::Foreign(Signature::Fat));
}

#[test]
fn foreign_signatures_are_named() {
    for (signature, at, bytes) in SIGNATURES {
        assert_eq!(probed(image(&[(*at, bytes)])), Content::Foreign(*signature), "{signature} at {at}");
    }
    let at_end: &[(usize, &str)] = &[(MIB - 65536, "0.90"), (MIB - 8192, "1.0")];
    for (at, version) in at_end {
        assert_eq!(probed(image(&[(*at, &RAID_MAGIC)])), Content::Foreign(Signature::Raid), "{version}");
    }
    let zfs = image(&[(132 << 10, &ZFS_MAGIC.to_le_bytes())]);
    assert_eq!(probed(zfs), Content::Foreign(Signature::Zfs));
}

#[test]
fn half_of_a_mirror_is_no_file_system() {
    let mut bytes = ext(b"boot2docker-data", 1, (0x3c, 0x2c2, 0x46b));
    bytes[MIB - 8192..][..4].copy_from_slice(&RAID_MAGIC);
    assert_eq!(probed(bytes), Content::Ambiguous(vec![Signature::Ext, Signature::Raid]));
}

#[test]
fn magic_counts_at_the_first_byte_only() {
    assert_eq!(probed(image(&[(0, MAGIC.as_bytes())])), Content::Magic(Archive::None));
    assert_eq!(probed(image(&[(1, MAGIC.as_bytes())])), Content::Unknown);
}

#[test]
fn short_or_empty_device_holds_nothing() {
    for size in [0, 1, 512, 1024 + 57, 4096] {
        assert_eq!(probed(vec![0; size]), Content::Unknown, "{size} bytes");
    }
}
