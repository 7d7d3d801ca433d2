//! Whole plans, as people read them.

use super::*;
use crate::model::{Content, FilesystemKind, Signature};
use crate::wanted::Wanted;

fn facts(kind: FilesystemKind) -> Facts {
    let filesystem =
        Filesystem { kind, label: "boot2docker-data".into(), uuid: "0a-0b".into(), is_dirty: true };
    let device = |name: &str, content| Device {
        name: name.to_owned(),
        size_bytes: 512 << 20,
        read_only: false,
        model: "QEMU HARDDISK".into(),
        serial: String::new(),
        has_partitions: name == "sda",
        mounted_on: None,
        content,
    };
    let devices = vec![
        device("sda", Content::Foreign(Signature::Gpt)),
        device("sda1", Content::Filesystem(filesystem)),
        device("sda2", Content::Foreign(Signature::Swap)),
    ];
    Facts { devices, wanted: Wanted::default() }
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
    assert_golden("ext4-disk", &plan(&facts(FilesystemKind::Ext4)));
}

#[test]
fn btrfs_disk_is_not_given_to_e2fsck() {
    let plan = plan(&facts(FilesystemKind::Btrfs));
    assert!(!plan.store.steps.iter().any(|step| matches!(step, Step::Check(_))));
}

#[test]
fn without_a_disk_data_is_kept_in_ram() {
    assert_golden("no-disk", &plan(&Facts { devices: vec![], wanted: Wanted::default() }));
}

#[test]
fn record_is_one_line_a_key() {
    let record = ram("first\nsecond".into()).summary.record();
    let expected = "DEVICE=tmpfs\nMOUNTPOINT=/mnt/ram\nFSTYPE=tmpfs\nSOURCE=ram\nREASON=first; second\n";
    assert_eq!(record, expected);
}

#[test]
fn refusals_are_announced_only_without_a_disk() {
    let plan = plan(&facts(FilesystemKind::Ext4));
    assert_eq!(plan.announcement(&plan.store.summary).len(), 1);
    let lines = plan.announcement(&ram("broken".into()).summary);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3], "running from RAM, everything is lost at power-off: broken");
}
