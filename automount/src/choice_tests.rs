//! One row per kind of disk a machine may have.

use super::*;
use crate::model::FilesystemKind;

fn device(name: &str, content: Content) -> Device {
    Device {
        name: name.to_owned(),
        size_bytes: 1 << 30,
        read_only: false,
        model: String::new(),
        serial: String::new(),
        has_partitions: false,
        mounted_on: None,
        content,
    }
}

fn filesystem(label: &str) -> Filesystem {
    let uuid = "0a-0b".to_owned();
    Filesystem { kind: FilesystemKind::Ext4, label: label.to_owned(), uuid, is_dirty: false }
}

fn data() -> Content {
    Content::Filesystem(filesystem("boot2docker-data"))
}

fn refused(refusal: Refusal) -> Verdict {
    Verdict::Refused(refusal)
}

#[test]
fn each_device_is_chosen_or_refused_for_its_reason() {
    let label = Wanted::default();
    let not_wanted = refused(Refusal::NotWanted(label.clone()));
    let two = vec![Signature::Ext, Signature::Luks];
    let rows: [(&str, Device, Verdict); 15] = [
        ("labelled", device("sda1", data()), Verdict::Chosen(filesystem("boot2docker-data"))),
        ("whole disk", device("nvme0n1", data()), Verdict::Chosen(filesystem("boot2docker-data"))),
        ("no label", device("sda1", Content::Filesystem(filesystem(""))), not_wanted.clone()),
        (
            "label in other case",
            device("sda1", Content::Filesystem(filesystem("Boot2Docker-Data"))),
            not_wanted,
        ),
        (
            "swap",
            device("sda2", Content::Foreign(Signature::Swap)),
            refused(Refusal::Foreign(Signature::Swap)),
        ),
        (
            "luks",
            device("sda", Content::Foreign(Signature::Luks)),
            refused(Refusal::Foreign(Signature::Luks)),
        ),
        (
            "boot stick",
            device("sdb", Content::Foreign(Signature::Iso9660)),
            refused(Refusal::Foreign(Signature::Iso9660)),
        ),
        ("leftover", device("sda", Content::Ambiguous(two.clone())), refused(Refusal::Ambiguous(two))),
        ("magic", device("sda", Content::Magic), refused(Refusal::Magic)),
        ("blank", device("sda", Content::Unknown), refused(Refusal::NoSignature)),
        ("optical", device("sr0", Content::Unread), refused(Refusal::Optical)),
        (
            "broken",
            device("sda", Content::Unreadable("EIO".into())),
            refused(Refusal::Unreadable("EIO".into())),
        ),
        (
            "partitioned",
            Device { has_partitions: true, ..device("sda", data()) },
            refused(Refusal::HasPartitions),
        ),
        ("write-protected", Device { read_only: true, ..device("sda1", data()) }, refused(Refusal::ReadOnly)),
        (
            "in use",
            Device { mounted_on: Some("/mnt/x".into()), ..device("sda1", data()) },
            refused(Refusal::Mounted("/mnt/x".into())),
        ),
    ];
    for (name, device, expected) in rows {
        assert_eq!(judge(std::slice::from_ref(&device), &label), vec![expected.clone()], "{name}");
        assert_eq!(is_found(&[device], &label), matches!(expected, Verdict::Chosen(_)), "{name}");
    }
}

#[test]
fn first_of_two_labelled_disks_is_chosen() {
    let verdicts = judge(&[device("sda1", data()), device("sdb1", data())], &Wanted::default());
    assert_eq!(verdicts[0], Verdict::Chosen(filesystem("boot2docker-data")));
    assert_eq!(verdicts[1], refused(Refusal::Second("/dev/sda1".into())));
    assert_eq!(verdicts[1].to_string(), "left alone: /dev/sda1 comes first");
}

#[test]
fn command_line_names_another_disk() {
    let devices = [device("sda1", data()), device("vdb", Content::Filesystem(filesystem("other")))];
    let rows = [
        (Wanted::Label("other".into()), [false, true]),
        (Wanted::Uuid("0A-0B".into()), [true, false]),
        (Wanted::Node("vdb".into()), [false, true]),
        (Wanted::Node("sdz".into()), [false, false]),
        (Wanted::Nothing, [false, false]),
    ];
    for (wanted, expected) in rows {
        let verdicts = judge(&devices, &wanted);
        let chosen: Vec<bool> = verdicts.iter().map(|v| matches!(v, Verdict::Chosen(_))).collect();
        assert_eq!(chosen, expected, "{wanted}");
    }
}

#[test]
fn option_does_not_open_foreign_disks() {
    let device = device("sda", Content::Foreign(Signature::Luks));
    assert_eq!(
        judge(&[device], &Wanted::Node("sda".into())),
        vec![refused(Refusal::Foreign(Signature::Luks))]
    );
}
