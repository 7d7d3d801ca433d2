use std::os::unix::fs::symlink;

use super::*;
use std::fs;

/// A `/sys`, `/proc` and `/run` with one disk of 1 GiB that has one partition.
fn machine(bus: &str, removable: &str, mountinfo: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sys/devices").join(bus).join("block/sdb");
    let files = [
        ("dev", "8:16"),
        ("size", "2097152"),
        ("removable", removable),
        ("ro", "0"),
        ("device/vendor", "SanDisk "),
        ("device/model", "Ultra Fit       "),
        ("sdb1/partition", "1"),
        ("sdb1/dev", "8:17"),
        ("sdb1/size", "1048576"),
    ];
    for (name, content) in files {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), format!("{content}\n")).unwrap();
    }
    for (name, content) in [
        ("proc/self/mountinfo", mountinfo),
        ("proc/swaps", "Filename Type Size\n"),
        ("run/udev/data/b8:16", "E:ID_SERIAL_SHORT=4C53\n"),
        ("run/udev/data/b8:17", "S:disk/by-label/x\nE:ID_FS_LABEL=PHOTOS\nE:ID_FS_TYPE=vfat\n"),
    ] {
        fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
        fs::write(root.path().join(name), content).unwrap();
    }
    (root, folder)
}

fn disk(bus: &str, removable: &str, mountinfo: &str) -> Disk {
    let (root, folder) = machine(bus, removable, mountinfo);
    Disk::device(root.path(), Path::new("/dev/sdb"), &folder).unwrap()
}

const STICK: &str = "pci0/usb2/2-1";
const MOUNTED: &str = "36 35 8:17 / /media/photos rw,relatime - vfat /dev/sdb1 rw\n";

#[test]
fn a_stick_is_shown_with_what_is_on_it() {
    let text = disk(STICK, "1", MOUNTED).to_string();
    let expected = "/dev/sdb  1024.0 MiB  SanDisk Ultra Fit  removable  serial 4C53\n  \
                    sdb1  512.0 MiB  vfat `PHOTOS`  used by /media/photos";
    assert_eq!(text, expected);
}

#[test]
fn disks_that_must_not_be_written_are_refused_and_force_overrules_some() {
    let own = disk("pci0/ata1", "0", "");
    let read_only = Disk { is_read_only: true, ..disk(STICK, "1", "") };
    let partition = Disk { is_partition: true, ..disk(STICK, "1", "") };
    let large = 2 << 30;
    let force = " (--force writes all the same)";
    for (name, disk, needed, refused, forced) in [
        ("stick", disk(STICK, "1", ""), 1, None, None),
        ("usb hard disk says 0", disk(STICK, "0", ""), 1, None, None),
        (
            "mounted",
            disk(STICK, "1", MOUNTED),
            1,
            Some(format!("sdb1 is used by /media/photos{force}")),
            None,
        ),
        ("built in", own, 1, Some(format!("it is not removable{force}")), None),
        (
            "small",
            disk(STICK, "1", ""),
            large,
            Some("it is too small: 2048.0 MiB are needed".into()),
            Some("it is too small: 2048.0 MiB are needed"),
        ),
        ("locked", read_only, 1, Some("it is write-protected".into()), Some("it is write-protected")),
        (
            "partition",
            partition,
            1,
            Some("it is a partition; name the whole disk".into()),
            Some("it is a partition; name the whole disk"),
        ),
    ] {
        let said = |force| refusal::check(&disk, needed, force).err().map(|error| error.to_string());
        let full = |reason: &str| format!("writing /dev/sdb: {reason}");
        assert_eq!(said(false), refused.as_deref().map(full), "{name}");
        assert_eq!(said(true), forced.map(full), "{name}, forced");
    }
}

#[test]
fn swap_and_drivers_on_top_are_users() {
    let (root, folder) = machine(STICK, "1", "");
    fs::write(root.path().join("proc/swaps"), "Filename Type\n/dev/sdb1 partition 1 0 -2\n").unwrap();
    fs::create_dir_all(folder.join("holders")).unwrap();
    symlink("../../dm-0", folder.join("holders/dm-0")).unwrap();
    let disk = Disk::device(root.path(), Path::new("/dev/sdb"), &folder).unwrap();
    let users: Vec<_> = disk.parts.iter().map(|part| (part.name.as_str(), part.users.clone())).collect();
    assert_eq!(users, [("sdb", vec!["dm-0".to_owned()]), ("sdb1", vec!["swap".to_owned()])]);
}

#[test]
fn a_foreign_iso_and_a_thing_that_is_no_disk_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.iso");
    let mut bytes = vec![0; 40 * 1024];
    bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
    bytes[0x8028..0x8048].copy_from_slice(b"SOMETHING ELSE                  ");
    fs::write(&foreign, bytes).unwrap();
    let error = format!("{:#}", open_iso(&foreign).unwrap_err());
    assert!(error.ends_with("its label is `SOMETHING ELSE`; it is no boot2docker ISO"), "{error}");
    let error = format!("{:#}", Disk::read(Path::new("/"), folder.path()).unwrap_err());
    assert!(error.ends_with("it is neither a disk nor a file; name a disk such as /dev/sdX"), "{error}");
}

#[test]
fn what_the_disk_lost_is_found_when_it_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("iso"), vec![7; 5 << 20]).unwrap();
    fs::write(path("disk"), vec![0; 6 << 20]).unwrap();
    let iso = File::open(path("iso")).unwrap();
    let disk = File::options().read(true).write(true).open(path("disk")).unwrap();
    let ui = Progress::new();
    copy(&iso, &disk, 5 << 20, ui).unwrap();
    verify(&iso, &disk, 5 << 20, ui).unwrap();
    disk.write_all_at(&[1], 4_500_000).unwrap();
    let error = verify(&iso, &disk, 5 << 20, ui).unwrap_err().to_string();
    assert_eq!(error, "byte 4500000 is not what was written; the disk is broken");
}
