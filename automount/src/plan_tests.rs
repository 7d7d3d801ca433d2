//! Whole plans, as people read them.

use super::*;
use crate::choice::Refusal;
use crate::facts::Asked;
use crate::inside::Seen;
use crate::model::{Partition, Signature};
use crate::table::Table;

const MIB: u64 = 1 << 20;

fn filesystem(kind: FilesystemKind, label: &str, size_bytes: u64) -> Content {
    let (label, uuid) = (label.to_owned(), "0a-0b".to_owned());
    Content::Filesystem(Filesystem { kind, label, uuid, is_dirty: true, needs_check: true, size_bytes })
}

/// Returns a disk of our own making, on a disk that may have become larger since.
fn formatted(kind: FilesystemKind, disk_mib: u64) -> Facts {
    let made = geometry(4096 * MIB).unwrap();
    let table = Table {
        scheme: Scheme::Gpt,
        partitions: vec![made.data, made.swap],
        is_visible: true,
        is_cut_off: false,
    };
    let disk = Device {
        model: "QEMU HARDDISK".into(),
        content: Content::Foreign(Signature::Gpt),
        table: Some(table),
        has_partitions: true,
        ..Device::new("sda", disk_mib * MIB)
    };
    let part = |number, length, content| Device {
        partition: Some(Partition { disk: "sda".into(), number }),
        content,
        ..Device::new(&format!("sda{number}"), length)
    };
    let data = part(1, made.data.length, filesystem(kind, "boot2docker-data", made.data.length));
    let swap = part(2, made.swap.length, Content::Foreign(Signature::Swap));
    machine(vec![disk, data, Device { swap_label: "boot2dockerswap".into(), ..swap }])
}

fn machine(devices: Vec<Device>) -> Facts {
    Facts { devices, asked: Asked::default(), is_virtual: true, memory_bytes: 2048 * MIB }
}

/// `UPDATE_GOLDEN=1 cargo test` rewrites the file instead; the diff is to be reviewed.
fn assert_golden(name: &str, plan: &Plan) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, plan.to_string()).unwrap();
    }
    assert_eq!(plan.to_string(), std::fs::read_to_string(&path).unwrap(), "{path}");
}

#[test]
fn ext4_disk_is_checked_and_mounted() {
    assert_golden("ext4-disk", &plan(&formatted(FilesystemKind::Ext4, 4096)));
}

#[test]
fn enlarged_disk_is_grown_after_the_check() {
    assert_golden("grown-disk", &plan(&formatted(FilesystemKind::Ext4, 8192)));
}

#[test]
fn disk_with_the_magic_is_formatted_with_its_files() {
    let content = Content::Magic(Archive::Whole(vec![0; 4608]));
    let disk = Device { content, serial: "VB1".into(), ..Device::new("nvme0n1", 20_000 * MIB) };
    assert_golden("magic", &plan(&machine(vec![disk])));
}

#[test]
fn cut_off_table_is_finished() {
    let mut facts = formatted(FilesystemKind::Ext4, 4096);
    facts.devices.truncate(1);
    facts.devices[0].has_partitions = false;
    facts.devices[0].table.as_mut().unwrap().is_cut_off = true;
    assert_golden("cut-off", &plan(&facts));
}

#[test]
fn disk_of_before_version_1_is_docker_s_root() {
    let inside = Inside::Seen(Seen { has_vm: true, ..Seen::default() });
    let content = filesystem(FilesystemKind::Ext4, "", 4096 * MIB);
    let disk = Device { content, inside, ..Device::new("sda", 4096 * MIB) };
    assert_golden("old-layout", &plan(&machine(vec![disk])));
}

#[test]
fn only_ext_is_given_to_e2fsck_and_xfs_is_not_grown() {
    let steps = |kind| plan(&formatted(kind, 8192)).store.steps;
    let is_check = |step: &Step| matches!(step, Step::Check(_));
    let is_growth = |step: &Step| matches!(step, Step::GrowFilesystem { .. });
    let rows = [
        (FilesystemKind::Ext2, true, true),
        (FilesystemKind::Btrfs, false, true),
        (FilesystemKind::Xfs, false, false),
    ];
    for (kind, is_checked, is_grown) in rows {
        let steps = steps(kind);
        assert_eq!(
            (steps.iter().any(is_check), steps.iter().any(is_growth)),
            (is_checked, is_grown),
            "{kind:?}"
        );
    }
}

#[test]
fn partition_is_not_grown_beyond_what_its_table_can_say() {
    let mut facts = formatted(FilesystemKind::Ext4, 4 << 20);
    facts.devices[0].table.as_mut().unwrap().scheme = Scheme::Mbr;
    let plan = plan(&facts);
    assert!(!plan.store.steps.iter().any(|step| matches!(step, Step::GrowPartition { .. })));
}

#[test]
fn the_tables_of_the_boot_medium_are_not_written() {
    let mut facts = formatted(FilesystemKind::Ext4, 16 << 10);
    let grows =
        |facts: &Facts| plan(facts).store.steps.iter().any(|step| matches!(step, Step::GrowPartition { .. }));
    assert!(grows(&facts));
    facts.devices.iter_mut().for_each(|device| device.is_boot_medium = true);
    assert!(!grows(&facts));
}

#[test]
fn without_a_disk_data_is_kept_in_ram() {
    assert_golden("no-disk", &plan(&machine(vec![])));
}

#[test]
fn record_is_one_line_a_key() {
    let record = ram("first\nsecond".into()).summary.record();
    let expected = "DEVICE=tmpfs\nMOUNTPOINT=/mnt/ram\nFSTYPE=tmpfs\nSOURCE=ram\nREASON=first; second\n";
    assert_eq!(record, expected);
}

#[test]
fn refusals_are_announced_unless_they_are_no_news() {
    let mut facts = formatted(FilesystemKind::Ext4, 4096);
    let luks = Device { content: Content::Foreign(Signature::Luks), ..Device::new("sdb", 1 << 30) };
    facts.devices.extend([luks, Device { content: Content::Unread, ..Device::new("sr0", 1 << 29) }]);
    let plan = plan(&facts);
    assert_eq!(plan.verdicts[3].1, Verdict::Refused(Refusal::Foreign(Signature::Luks)));
    let lines = plan.announcement(&plan.store.summary);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "/dev/sdb (LUKS, 1024 MiB): left alone: holds LUKS");
    let lines = plan.announcement(&ram("broken".into()).summary);
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[5], "running from RAM, everything is lost at power-off: broken");
}
