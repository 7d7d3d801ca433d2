//! Archives as Docker Machine writes them, and hostile ones.

use tar::{Builder, Header};

use super::*;

/// Appends a member whose name is written as it is, as no well-behaved writer would.
fn append(tar: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn archive(members: &[(&str, EntryType, u32, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, kind, mode, content) in members {
        append(&mut tar, name, *kind, *mode, content);
    }
    tar.into_inner().unwrap()
}

fn machine(key: &[u8]) -> Vec<u8> {
    archive(&[
        (MAGIC, EntryType::Regular, 0o644, MAGIC.as_bytes()),
        (".ssh", EntryType::Directory, 0o700, b""),
        (".ssh/authorized_keys", EntryType::Regular, 0o644, key),
        (".ssh/authorized_keys2", EntryType::Regular, 0o644, key),
    ])
}

fn file(path: &str, content: &[u8]) -> Member {
    Member { path: path.into(), mode: 0o644, content: Some(content.to_vec()) }
}

#[test]
fn archive_of_docker_machine_is_read_without_the_magic() {
    let ssh = Member { path: ".ssh".into(), mode: 0o700, content: None };
    let keys = [file(".ssh/authorized_keys", b"ssh-rsa A"), file(".ssh/authorized_keys2", b"ssh-rsa A")];
    let whole = read(&machine(b"ssh-rsa A")).unwrap();
    assert_eq!(whole, Userdata { members: vec![ssh, keys[0].clone(), keys[1].clone()], is_cut: false });
}

#[test]
fn archive_cut_at_4096_bytes_gives_its_whole_members() {
    let rows = [
        ("short key: only the end-of-archive zeros are cut", 380, 3, false),
        ("long key: the second copy is cut", 700, 2, true),
    ];
    for (name, key_bytes, members, is_cut) in rows {
        let mut bytes = machine(&vec![b'k'; key_bytes]);
        bytes.truncate(KEPT_BYTES);
        let userdata = read(&bytes).unwrap();
        assert_eq!((userdata.members.len(), userdata.is_cut), (members, is_cut), "{name}");
    }
}

#[test]
fn archive_cut_anywhere_else_is_refused_whole() {
    let whole = machine(&[b'k'; 700]);
    for length in [1100, 2000, 3000, 4095, 4097] {
        let result = read(&whole[..length]);
        assert!(
            matches!(result, Err(UserdataError::Cut | UserdataError::Format { .. })),
            "{length}: {result:?}"
        );
    }
}

#[test]
fn hostile_archive_is_refused_whole() {
    let good = (".ssh", EntryType::Directory, 0o700, b"".as_slice());
    let escape = |path: &str| UserdataError::Escape { path: path.into() };
    let kind = |path: &str| UserdataError::Kind { path: path.into() };
    let rows = [
        ("/etc/passwd", EntryType::Regular, escape("/etc/passwd")),
        ("../../etc/passwd", EntryType::Regular, escape("../../etc/passwd")),
        (".ssh/../../x", EntryType::Directory, escape(".ssh/../../x")),
        ("link", EntryType::Symlink, kind("link")),
        ("hard", EntryType::Link, kind("hard")),
        ("null", EntryType::Char, kind("null")),
        ("disk", EntryType::Block, kind("disk")),
        ("pipe", EntryType::Fifo, kind("pipe")),
    ];
    for (name, entry_type, expected) in rows {
        assert_eq!(read(&archive(&[good, (name, entry_type, 0o644, b"")])), Err(expected), "{name}");
    }
}

#[test]
fn junk_is_no_archive() {
    assert!(matches!(read(&[b'x'; 2048]), Err(UserdataError::Format { .. })));
    assert_eq!(read(&vec![0; LIMIT_BYTES + 1]), Err(UserdataError::TooLarge));
    assert_eq!(read(&[0; 4096]), Ok(Userdata::default()));
    assert_eq!(read(b""), Ok(Userdata::default()));
}

#[test]
fn size_beyond_the_archive_is_a_cut_not_a_hang() {
    let mut header = Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(u64::from(u32::MAX));
    header.set_mode(0o644);
    header.set_cksum();
    assert_eq!(read(header.as_bytes()), Err(UserdataError::Cut));
}

#[test]
fn dangerous_mode_bits_are_dropped() {
    let bytes = archive(&[("./bin/x", EntryType::Regular, 0o6777, b"#!/bin/sh")]);
    let expected = Member { path: "bin/x".into(), mode: 0o755, content: Some(b"#!/bin/sh".to_vec()) };
    assert_eq!(read(&bytes).unwrap().members, [expected]);
}
