//! A made-up `/sys`, `/dev` and `/proc` in a scratch folder.

use super::*;
use crate::model::{Archive, Content, FilesystemKind, Signature};
use crate::wanted::Wanted;
use std::io::Write;

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
        let node = self.0.path().join("dev").join(name);
        fs::create_dir_all(node.parent().unwrap()).unwrap();
        File::create(node).unwrap().set_len(sectors * 512).unwrap();
    }

    /// Writes over the start of a node, whose size stays.
    fn put(&self, name: &str, content: &[u8]) {
        let node = fs::OpenOptions::new().write(true).open(self.0.path().join("dev").join(name));
        node.unwrap().write_all(content).unwrap();
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
    machine.put("vda", &format!("{}swap", b2d_sys::contract::MAGIC).into_bytes());
    machine.put("sdaa", &[1]);
    machine.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
    let devices = read_devices(machine.0.path()).unwrap();
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["sda", "sda1", "sda2", "sda10", "sr0", "vda", "sdaa", "nvme0n1"]);
    let sda = &devices[0];
    assert_eq!((sda.size_bytes, sda.read_only, sda.has_partitions), (1 << 20, true, true));
    assert_eq!(sda.model, "QEMU HARDDISK");
    assert_eq!(devices[1].mounted_on.as_deref(), Some("/mnt/sda1"));
    assert_eq!(devices[4].content, Content::Unread);
    assert_eq!(devices[2].mounted_on.as_deref(), Some("swap"));
    assert_eq!(devices[3].partition, Some(Partition { disk: "sda".into(), number: 10 }));
    assert_eq!(devices[5].content, Content::Magic(Archive::None));
    assert_eq!((devices[6].is_blank, devices[7].is_blank), (false, true));
}

#[test]
fn content_is_read_from_the_node() {
    let machine = Machine::new();
    machine.block("sda", 2048);
    machine.block("sdb", 2048);
    machine.put("sda", b"XFSB");
    fs::remove_file(machine.0.path().join("dev/sdb")).unwrap();
    let devices = read_devices(machine.0.path()).unwrap();
    assert!(matches!(&devices[0].content, Content::Filesystem(fs) if fs.kind == FilesystemKind::Xfs));
    assert!(matches!(&devices[1].content, Content::Unreadable(error) if error.contains("No such file")));
}

#[test]
fn boot_medium_is_marked_with_all_its_partitions() {
    let machine = Machine::new();
    machine.block("sda", 2048);
    for part in ["sda/sda1", "sda/sda2"] {
        machine.block(part, 1024);
        machine.write(&format!("sys/block/{part}/partition"), &part[7..]);
    }
    machine.block("sdb", 2048);
    let mut image = vec![0; 40 << 10];
    image[32769..32774].copy_from_slice(b"CD001");
    machine.put("sda", &image);
    let devices = read_devices(machine.0.path()).unwrap();
    let marked: Vec<bool> = devices.iter().map(|device| device.is_boot_medium).collect();
    assert_eq!(marked, [true, true, true, false]);
    assert_eq!(devices[0].content, Content::Foreign(Signature::Iso9660));
}

#[test]
fn command_line_memory_and_hypervisor_are_read() {
    let asked = |line: &str| Asked::read(&KernelCmdline::parse(line));
    let expected = Asked { wanted: Wanted::Nothing, format: Some("sdb".into()) };
    assert_eq!(asked("b2d.data=none b2d.format=/dev/sdb"), expected);
    assert_eq!(asked("b2d.data=nonsense b2d.format=sdb"), Asked::default());
    let machine = Machine::new();
    assert_eq!((read_is_virtual(machine.0.path()), read_memory_bytes(machine.0.path())), (false, 0));
    machine.write("proc/cpuinfo", "processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm\n");
    machine.write("proc/meminfo", "MemTotal:        2016520 kB\nMemFree: 1 kB\n");
    assert_eq!(
        (read_is_virtual(machine.0.path()), read_memory_bytes(machine.0.path())),
        (true, 2_016_520 << 10)
    );
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
