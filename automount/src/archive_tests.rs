//! Archives as clients write them, and what is left of them after an accident.

use b2d_sys::contract::MAGIC;
use tar::{Builder, EntryType, Header};

use super::*;

fn machine(key: &[u8]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let members = [
        (MAGIC, EntryType::Regular, MAGIC.as_bytes()),
        (".ssh", EntryType::Directory, b"".as_slice()),
        (".ssh/authorized_keys", EntryType::Regular, key),
        (".ssh/authorized_keys2", EntryType::Regular, key),
    ];
    for (path, kind, content) in members {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn on_disk(archive: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    bytes.resize(size, 0);
    bytes
}

#[test]
fn archives_are_kept_to_their_end_and_no_further() {
    for (name, key_bytes) in [("RSA-2048", 380), ("RSA-4096", 740), ("a hundred keys", 60_000)] {
        let archive = machine(&vec![b'k'; key_bytes]);
        assert_eq!(measure(&on_disk(&archive, LIMIT_BYTES)), Archive::Whole(archive), "{name}");
    }
}

#[test]
fn what_is_no_whole_archive_is_told() {
    let whole = machine(&[b'k'; 380]);
    let with = |at: usize, byte: u8| {
        let mut bytes = on_disk(&whole, 1 << 16);
        bytes[at] = byte;
        bytes
    };
    let mut alone = MAGIC.as_bytes().to_vec();
    alone.resize(1 << 16, 0);
    let mut over_others = vec![b'x'; 1 << 16];
    over_others[..MAGIC.len()].copy_from_slice(MAGIC.as_bytes());
    let rows = [
        ("the magic alone", alone, Archive::None),
        ("the magic over something else", over_others, Archive::None),
        ("nothing at all", vec![], Archive::None),
        ("a header is overwritten", with(1024, b'x'), Archive::Damaged("is damaged")),
        ("its first header is overwritten", with(100, b'x'), Archive::Damaged("is damaged")),
        (
            "cut by the end of the disk",
            whole[..2048].to_vec(),
            Archive::Damaged("ends behind the end of the disk"),
        ),
        (
            "endless",
            machine(&vec![b'k'; LIMIT_BYTES])[..LIMIT_BYTES].to_vec(),
            Archive::Damaged("is larger than 1 MiB"),
        ),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(measure(&bytes), expected, "{name}");
    }
}

#[test]
fn absurd_size_is_damage_and_no_overflow() {
    let mut header = Header::new_gnu();
    header.set_path(MAGIC).unwrap();
    header.set_size(u64::MAX);
    header.set_mode(0o644);
    header.set_cksum();
    let bytes = on_disk(header.as_bytes(), 4096);
    assert_eq!(measure(&bytes), Archive::Damaged("is damaged"));
}
