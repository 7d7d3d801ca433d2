//! One row per kind of disk a machine may have, and per pair of disks that compete.

use super::*;
use crate::facts::Asked;
use crate::inside::Seen;
use crate::model::Partition;
use crate::table::{Scheme, Table};
use crate::wanted::Wanted;

#[path = "choice_asked_tests.rs"]
mod asked;

const GIB: u64 = 1 << 30;

fn device(name: &str, content: Content) -> Device {
    let number = name.strip_prefix("sda").or(name.strip_prefix("sdb")).and_then(|rest| rest.parse().ok());
    let partition = number.map(|number| Partition { disk: name[..3].to_owned(), number });
    Device { content, partition, ..Device::new(name, 20 * GIB) }
}

fn ext4(label: &str) -> Filesystem {
    Filesystem {
        kind: FilesystemKind::Ext4,
        label: label.to_owned(),
        uuid: "0a-0b".to_owned(),
        is_dirty: false,
        needs_check: true,
        size_bytes: 20 * GIB,
    }
}

fn holding(name: &str, label: &str, inside: Seen) -> Device {
    Device { inside: Inside::Seen(inside), ..device(name, Content::Filesystem(ext4(label))) }
}

fn data(name: &str) -> Device {
    holding(name, "boot2docker-data", Seen { has_data: true, ..Seen::default() })
}

fn magic(name: &str, archive: Archive) -> Device {
    device(name, Content::Magic(archive))
}

fn blank(name: &str) -> Device {
    Device { is_blank: true, ..device(name, Content::Unknown) }
}

fn cut_off_disk(content: Content) -> Device {
    let table = Table { scheme: Scheme::Gpt, partitions: vec![], is_visible: false, is_cut_off: true };
    Device { table: Some(table), ..device("sda", content) }
}

fn machine(devices: Vec<Device>) -> Facts {
    Facts { devices, asked: Asked::default(), is_virtual: true, memory_bytes: GIB }
}

fn asking(devices: Vec<Device>, data: Option<&str>, format: Option<&str>) -> Facts {
    let asked = Asked { wanted: Wanted::parse(data).unwrap(), format: format.map(str::to_owned) };
    Facts { asked, ..machine(devices) }
}

/// What a row expects: the choice in words, or the refusal.
#[derive(Debug, PartialEq)]
enum Expected {
    Mounted(Reason),
    Mended,
    Formatted(Reason),
    Left(Refusal),
}
use Expected::{Formatted, Left, Mended, Mounted};

fn outcome(verdict: &Verdict) -> Expected {
    match verdict {
        Verdict::Chosen(Choice { reason, work: Work::None(_) }) => Mounted(*reason),
        Verdict::Chosen(Choice { work: Work::FinishTable, .. }) => Mended,
        Verdict::Chosen(Choice { reason, work: Work::Format }) => Formatted(*reason),
        Verdict::Refused(refusal) => Left(refusal.clone()),
    }
}

fn assert_rows(rows: Vec<(&str, Facts, Vec<Expected>)>) {
    for (name, facts, expected) in rows {
        let outcomes: Vec<Expected> = judge(&facts).iter().map(outcome).collect();
        assert_eq!(outcomes, expected, "{name}");
    }
}

fn not_wanted() -> Expected {
    Left(Refusal::NotWanted(Wanted::default()))
}

#[test]
fn file_systems_are_adopted_or_refused() {
    let nothing = Seen::default();
    let [vm, old] = [Seen { has_vm: true, ..nothing }, Seen { has_data: true, ..nothing }];
    let (empty, system) = (Seen { is_empty: true, ..nothing }, Seen { is_system: true, ..old });
    let one = |device| machine(vec![device]);
    let unreadable =
        Device { inside: Inside::Unreadable("EIO".into()), ..device("sda1", Content::Filesystem(ext4(""))) };
    let xfs = Filesystem { kind: FilesystemKind::Xfs, ..ext4("") };
    assert_rows(vec![
        ("labelled partition", one(data("sda1")), vec![Mounted(Reason::Label)]),
        ("labelled whole disk", one(data("nvme0n1")), vec![Mounted(Reason::Label)]),
        (
            "labelled with the old layout",
            one(holding("sda1", "boot2docker-data", vm)),
            vec![Mounted(Reason::Label)],
        ),
        ("label in other case", one(holding("sda1", "Boot2Docker-Data", old)), vec![not_wanted()]),
        ("somebody's label", one(holding("sda1", "photos", empty)), vec![not_wanted()]),
        (
            "the label of 2013",
            one(holding("sda1", "boot2docker", empty)),
            vec![Mounted(Reason::EmptyFilesystem)],
        ),
        ("before 1.0", one(holding("sda1", "", vm)), vec![Mounted(Reason::OldLayout)]),
        ("no label, our data", one(holding("sda1", "", old)), vec![Mounted(Reason::OldData)]),
        ("no label, empty", one(holding("sda", "", empty)), vec![Mounted(Reason::EmptyFilesystem)]),
        ("no label, other files", one(holding("sda1", "", nothing)), vec![Left(Refusal::OtherData)]),
        (
            "no label, a whole system with Docker",
            one(holding("sda1", "", system)),
            vec![Left(Refusal::System)],
        ),
        (
            "no label, vm on a system's disk",
            one(holding("sda1", "", Seen { is_system: true, ..vm })),
            vec![Left(Refusal::System)],
        ),
        ("no label, nobody looked", one(device("sda1", Content::Filesystem(ext4("")))), vec![not_wanted()]),
        ("no label, cannot be read", one(unreadable), vec![Left(Refusal::Unreadable("EIO".into()))]),
        (
            "xfs without label",
            one(Device { inside: Inside::Seen(empty), ..device("sda1", Content::Filesystem(xfs)) }),
            vec![not_wanted()],
        ),
        ("write-protected", one(Device { read_only: true, ..data("sda1") }), vec![Left(Refusal::ReadOnly)]),
        (
            "in use",
            one(Device { mounted_on: Some("/mnt/x".into()), ..data("sda1") }),
            vec![Left(Refusal::Mounted("/mnt/x".into()))],
        ),
        (
            "around partitions",
            one(Device { has_partitions: true, ..data("sda") }),
            vec![Left(Refusal::HasPartitions)],
        ),
        (
            "behind the boot image",
            one(Device { is_boot_medium: true, ..data("sda3") }),
            vec![Mounted(Reason::Label)],
        ),
        (
            "on the boot medium, with another label",
            one(Device {
                is_boot_medium: true,
                ..holding("sda3", "", Seen { has_data: true, ..Seen::default() })
            }),
            vec![Left(Refusal::BootMedium)],
        ),
        (
            "the boot medium as a whole",
            one(Device { is_boot_medium: true, ..data("sda") }),
            vec![Left(Refusal::BootMedium)],
        ),
    ]);
}

#[test]
fn everything_foreign_is_refused() {
    let mut rows = vec![
        ("optical", machine(vec![device("sr0", Content::Unread)]), vec![Left(Refusal::Optical)]),
        (
            "broken",
            machine(vec![device("sda", Content::Unreadable("EIO".into()))]),
            vec![Left(Refusal::Unreadable("EIO".into()))],
        ),
        (
            "boot stick",
            machine(vec![Device { is_boot_medium: true, ..blank("sdb") }]),
            vec![Left(Refusal::BootMedium)],
        ),
    ];
    for signature in [
        Signature::ExtJournal,
        Signature::Squashfs,
        Signature::Swap,
        Signature::Luks,
        Signature::Lvm,
        Signature::Raid,
        Signature::Zfs,
        Signature::Ntfs,
        Signature::Exfat,
        Signature::Fat,
        Signature::F2fs,
        Signature::Bcache,
        Signature::Gpt,
        Signature::Mbr,
    ] {
        let facts = machine(vec![device("sda", Content::Foreign(signature))]);
        rows.push(("foreign", facts, vec![Left(Refusal::Foreign(signature))]));
    }
    let two = vec![Signature::Ext, Signature::Luks];
    rows.push((
        "leftover",
        machine(vec![device("sda", Content::Ambiguous(two.clone()))]),
        vec![Left(Refusal::Ambiguous(two))],
    ));
    assert_rows(rows);
}

#[test]
fn disks_that_ask_for_it_are_formatted() {
    let whole = || Archive::Whole(vec![0; 1024]);
    let damaged = || Archive::Damaged("is damaged");
    let one = |device| machine(vec![device]);
    let tiny = Device { size_bytes: GIB / 32, ..magic("sda", Archive::None) };
    assert_rows(vec![
        ("with keys", one(magic("sda", whole())), vec![Formatted(Reason::Magic)]),
        ("without files", one(magic("sda", Archive::None)), vec![Formatted(Reason::Magic)]),
        (
            "on a PC",
            Facts { is_virtual: false, ..one(magic("sda", whole())) },
            vec![Formatted(Reason::Magic)],
        ),
        (
            "removable",
            one(Device { is_removable: true, ..magic("sda", whole()) }),
            vec![Formatted(Reason::Magic)],
        ),
        (
            "keys that cannot be kept",
            one(magic("sda", damaged())),
            vec![Left(Refusal::Archive("is damaged"))],
        ),
        ("cut off in the table", one(cut_off_disk(Content::Magic(damaged()))), vec![Mended]),
        (
            "cut off before the table",
            one(cut_off_disk(Content::Magic(whole()))),
            vec![Formatted(Reason::Magic)],
        ),
        ("cut off while growing", one(cut_off_disk(Content::Foreign(Signature::Gpt))), vec![Mended]),
        (
            "cut off, but read-only",
            one(Device { read_only: true, ..cut_off_disk(Content::Foreign(Signature::Gpt)) }),
            vec![Left(Refusal::ReadOnly)],
        ),
        ("too small", one(tiny), vec![Left(Refusal::TooSmall)]),
        (
            "write-protected",
            one(Device { read_only: true, ..magic("sda", whole()) }),
            vec![Left(Refusal::ReadOnly)],
        ),
        (
            "with partitions",
            one(Device { has_partitions: true, ..magic("sda", whole()) }),
            vec![Left(Refusal::HasPartitions)],
        ),
    ]);
}

#[test]
fn blank_disks_are_formatted_only_where_nothing_can_be_lost() {
    let one = |device| machine(vec![device]);
    let part = Device { partition: Some(Partition { disk: "sda".into(), number: 1 }), ..blank("sda1") };
    assert_rows(vec![
        ("virtual machine", one(blank("vda")), vec![Formatted(Reason::Blank)]),
        ("PC", Facts { is_virtual: false, ..one(blank("sda")) }, vec![Left(Refusal::BlankOnBareMetal)]),
        (
            "removable",
            one(Device { is_removable: true, ..blank("sda") }),
            vec![Left(Refusal::BlankAndRemovable)],
        ),
        ("a byte somewhere", one(device("sda", Content::Unknown)), vec![Left(Refusal::NoSignature)]),
        ("partition", one(part), vec![Left(Refusal::NoSignature)]),
        ("too small", one(Device { size_bytes: 1 << 20, ..blank("sda") }), vec![Left(Refusal::TooSmall)]),
        ("write-protected", one(Device { read_only: true, ..blank("sda") }), vec![Left(Refusal::ReadOnly)]),
        (
            "two of them",
            machine(vec![blank("vda"), blank("vdb")]),
            vec![Formatted(Reason::Blank), Left(Refusal::Second("/dev/vda".into()))],
        ),
    ]);
}

#[test]
fn of_several_disks_the_best_reason_wins_then_the_first() {
    let empty = Seen { is_empty: true, ..Seen::default() };
    let second = |node: &str| Left(Refusal::Second(node.into()));
    let ask = || magic("vdb", Archive::None);
    assert_rows(vec![
        (
            "two labels",
            machine(vec![data("sda1"), data("sdb1")]),
            vec![Mounted(Reason::Label), second("/dev/sda1")],
        ),
        (
            "label before magic",
            machine(vec![magic("vda", Archive::None), data("vdb")]),
            vec![second("/dev/vdb"), Mounted(Reason::Label)],
        ),
        (
            "label before blank",
            machine(vec![blank("vda"), data("vdb")]),
            vec![second("/dev/vdb"), Mounted(Reason::Label)],
        ),
        (
            "mending before magic",
            machine(vec![ask(), cut_off_disk(Content::Foreign(Signature::Gpt))]),
            vec![second("/dev/sda"), Mended],
        ),
        (
            "magic before no label",
            machine(vec![holding("vda", "", empty), ask()]),
            vec![second("/dev/vdb"), Formatted(Reason::Magic)],
        ),
        (
            "magic before blank",
            machine(vec![blank("vda"), ask()]),
            vec![second("/dev/vdb"), Formatted(Reason::Magic)],
        ),
        (
            "no label before blank",
            machine(vec![blank("vda"), holding("vdb", "", empty)]),
            vec![second("/dev/vdb"), Mounted(Reason::EmptyFilesystem)],
        ),
        (
            "data before empty",
            machine(vec![holding("vda", "", empty), holding("vdb", "", Seen { has_data: true, ..empty })]),
            vec![second("/dev/vdb"), Mounted(Reason::OldData)],
        ),
        (
            "blank beside foreign",
            machine(vec![device("vda", Content::Foreign(Signature::Luks)), blank("vdb")]),
            vec![Left(Refusal::Foreign(Signature::Luks)), Formatted(Reason::Blank)],
        ),
    ]);
}
