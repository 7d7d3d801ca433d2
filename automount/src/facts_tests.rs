//! A made-up `/sys`, `/dev` and `/proc` in a scratch folder.

use super::*;
use crate::model::{Content, Signature};

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write("proc/self/mountinfo", "22 1 8:1 / /mnt/sda1 rw - ext4 /dev/sda1 rw\n");
        machine
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn block(&self, path: &str, sectors: u64) {
        self.write(&format!("sys/block/{path}/size"), &format!("{sectors}\n"));
        let name = path.rsplit('/').next().unwrap();
        self.write(&format!("dev/{name}"), "");
    }
}

#[test]
fn disks_come_before_their_partitions_in_natural_order() {
    let machine = Machine::new();
    for name in
        ["sdaa", "sda", "loop0", "ram1", "zram0", "mmcblk0boot0", "sr0", "nvme0n1", "nvme0c0n1", "vda"]
    {
        machine.block(name, 2048);
    }
    machine.write("sys/block/nvme0c0n1/hidden", "1\n");
    for number in ["10", "2", "1"] {
        machine.block(&format!("sda/sda{number}"), 1024);
        machine.write(&format!("sys/block/sda/sda{number}/partition"), number);
    }
    machine.write("sys/block/sda/ro", "1\n");
    machine.write("sys/block/sda/device/model", "QEMU   HARDDISK \n");
    machine.write("dev/sdaa", "LUKS\u{ba}");
    machine.write("dev/vda", &format!("{}swap", b2d_sys::contract::MAGIC));
    let devices = read_devices(machine.0.path()).unwrap();
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["sda", "sda1", "sda2", "sda10", "sr0", "vda", "sdaa", "nvme0n1"]);
    let sda = &devices[0];
    assert_eq!((sda.size_bytes, sda.read_only, sda.has_partitions), (1 << 20, true, true));
    assert_eq!(sda.model, "QEMU HARDDISK");
    assert_eq!(devices[1].mounted_on.as_deref(), Some("/mnt/sda1"));
    assert_eq!(devices[4].content, Content::Unread);
    assert_eq!(devices[5].content, Content::Magic);
}

#[test]
fn content_is_read_from_the_node() {
    let machine = Machine::new();
    machine.block("sda", 2048);
    machine.block("sdb", 2048);
    machine.write("dev/sda", "XFSB");
    fs::remove_file(machine.0.path().join("dev/sdb")).unwrap();
    let devices = read_devices(machine.0.path()).unwrap();
    assert_eq!(devices[0].content, Content::Foreign(Signature::Xfs));
    assert!(matches!(&devices[1].content, Content::Unreadable(error) if error.contains("No such file")));
}

#[test]
fn machine_without_disks_has_no_devices() {
    assert_eq!(read_devices(Machine::new().0.path()).unwrap(), []);
}

#[test]
fn storage_that_is_not_a_disk_yet_is_seen() {
    let machine = Machine::new();
    let arriving = || read_arriving(machine.0.path()).unwrap();
    assert_eq!(arriving(), Arriving::default());
    machine.write("sys/bus/usb/devices/usb1/idVendor", "1d6b\n");
    machine.write("sys/bus/usb/devices/1-2:1.0/bInterfaceClass", "03\n");
    assert_eq!(arriving(), Arriving { usb_host: true, unfinished: false });
    machine.write("sys/bus/usb/devices/1-1:1.0/bInterfaceClass", "08\n");
    assert_eq!(arriving(), Arriving { usb_host: true, unfinished: true });
    machine.write("sys/bus/usb/devices/1-1:1.0/host2/target2:0:0/2:0:0:0/block/sda/size", "1");
    assert_eq!(arriving(), Arriving { usb_host: true, unfinished: false });
    machine.write("sys/class/nvme/nvme0/state", "new\n");
    assert_eq!(arriving(), Arriving { usb_host: true, unfinished: true });
    machine.write("sys/class/nvme/nvme0/nvme0n1/size", "1");
    assert_eq!(arriving(), Arriving { usb_host: true, unfinished: false });
}
