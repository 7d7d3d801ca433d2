//! What the kernel command line asks for, and for which disks a machine waits.

use super::*;

#[test]
fn command_line_decides_otherwise() {
    let other = || device("vdb", Content::Filesystem(ext4("other")));
    let wanted = |text: &str| Left(Refusal::NotWanted(Wanted::parse(Some(text)).unwrap()));
    let luks = || device("vdb", Content::Foreign(Signature::Luks));
    let two = || vec![data("sda1"), other()];
    let vdb = Some("vdb");
    let part = device("sda1", Content::Unknown);
    assert_rows(vec![
        (
            "LABEL=",
            asking(two(), Some("LABEL=other"), None),
            vec![wanted("LABEL=other"), Mounted(Reason::Asked)],
        ),
        (
            "UUID=",
            asking(two(), Some("UUID=0A-0B"), None),
            vec![Mounted(Reason::Asked), Left(Refusal::Second("/dev/sda1".into()))],
        ),
        ("node", asking(two(), Some("/dev/vdb"), None), vec![wanted("/dev/vdb"), Mounted(Reason::Asked)]),
        ("absent node", asking(two(), Some("/dev/sdz"), None), vec![wanted("/dev/sdz"), wanted("/dev/sdz")]),
        ("none", asking(two(), Some("none"), None), vec![wanted("none"), wanted("none")]),
        (
            "none beside magic",
            asking(vec![magic("vda", Archive::None), blank("vdb")], Some("none"), None),
            vec![wanted("none"), wanted("none")],
        ),
        (
            "node with magic",
            asking(vec![magic("vdb", Archive::None)], Some("/dev/vdb"), None),
            vec![Formatted(Reason::Magic)],
        ),
        (
            "node that is foreign",
            asking(vec![luks()], Some("/dev/vdb"), None),
            vec![Left(Refusal::Foreign(Signature::Luks))],
        ),
        (
            "mending is not asked for",
            asking(vec![cut_off_disk(Content::Foreign(Signature::Gpt))], Some("none"), None),
            vec![wanted("none")],
        ),
        ("format anything", asking(vec![luks()], None, vdb), vec![Formatted(Reason::Ordered)]),
        (
            "format with partitions",
            asking(vec![Device { has_partitions: true, ..luks() }], None, vdb),
            vec![Formatted(Reason::Ordered)],
        ),
        (
            "format on a PC",
            Facts { is_virtual: false, ..asking(vec![blank("vdb")], None, vdb) },
            vec![Formatted(Reason::Ordered)],
        ),
        (
            "format beside data",
            asking(vec![data("sda1"), luks()], None, vdb),
            vec![Mounted(Reason::Label), Left(Refusal::Second("/dev/sda1".into()))],
        ),
        (
            "format what was formatted",
            asking(vec![data("vdb")], None, vdb),
            vec![Left(Refusal::FormattedAlready)],
        ),
        ("format a partition", asking(vec![part], None, Some("sda1")), vec![Left(Refusal::NotADisk)]),
        (
            "format what is in use",
            asking(vec![Device { mounted_on: Some("/".into()), ..luks() }], None, vdb),
            vec![Left(Refusal::Mounted("/".into()))],
        ),
        (
            "format the boot medium",
            asking(vec![Device { is_boot_medium: true, ..luks() }], None, vdb),
            vec![Left(Refusal::BootMedium)],
        ),
        (
            "format what is write-protected",
            asking(vec![Device { read_only: true, ..luks() }], None, vdb),
            vec![Left(Refusal::ReadOnly)],
        ),
    ]);
}

#[test]
fn waiting_ends_only_for_a_disk_that_no_other_could_beat() {
    let empty = Seen { is_empty: true, ..Seen::default() };
    let rows = [
        ("label", machine(vec![data("sda1")]), true),
        ("asked", asking(vec![data("vdb")], Some("/dev/vdb"), None), true),
        ("magic", machine(vec![magic("sda", Archive::None)]), false),
        ("empty", machine(vec![holding("sda1", "", empty)]), false),
        ("blank", machine(vec![blank("sda")]), false),
        ("nothing", machine(vec![]), false),
    ];
    for (name, facts, expected) in rows {
        assert_eq!(is_found(&facts), expected, "{name}");
    }
}
