//! Reads which block devices there are and what they hold, below a root path. Decides nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::mountinfo;

use crate::look::look;
use crate::model::{Content, Device, Partition, Signature};
use crate::patience::Arriving;
use crate::sysfs::{attribute, children, file_name, has_descendant};
use crate::wanted::Wanted;

/// The kernel counts device sizes in these units, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;
/// Name starts of disks that can hold data: SCSI, SATA and USB; virtio; Xen; old IDE; NVMe; MMC and SD cards.
const DISKS: &[&str] = &["sd", "vd", "xvd", "hd", "nvme", "mmcblk"];
/// Name start of optical drives.
const OPTICAL: &str = "sr";
/// Parts of an eMMC chip that are for firmware.
const FIRMWARE_PARTS: &[&str] = &["boot0", "boot1", "rpmb"];
/// USB interface class of storage. Source: USB-IF defined class codes.
const USB_MASS_STORAGE: &str = "08";
/// Directories between a USB interface and its disk: host, target, logical unit.
const USB_DISK_DEPTH: usize = 4;
/// Processor flag that only a hypervisor sets. Source: Linux `arch/x86/include/asm/cpufeatures.h`.
const HYPERVISOR: &str = "hypervisor";

/// All that the plan decides upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Disks, each before its partitions, in the order of their names.
    pub devices: Vec<Device>,
    /// What people asked for.
    pub asked: Asked,
    /// This is a virtual machine.
    pub is_virtual: bool,
    /// The memory there is. Unit: bytes.
    pub memory_bytes: u64,
}

/// What the kernel command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What is looked for.
    pub wanted: Wanted,
    /// Kernel name of the disk to format whatever it holds.
    pub format: Option<String>,
}

impl Asked {
    /// Returns what a kernel command line asks for. What makes no sense is said in the log and ignored.
    pub fn read(cmdline: &KernelCmdline) -> Self {
        let wanted = Wanted::parse(cmdline.get("b2d.data")).unwrap_or_else(|error| {
            log::error!("{error}; looking for {}", Wanted::default());
            Wanted::default()
        });
        let format = cmdline.get("b2d.format").and_then(|value| match value.strip_prefix("/dev/") {
            Some(name) if !name.is_empty() => Some(name.to_owned()),
            _ => {
                log::error!("b2d.format={value}: allowed is /dev/...; nothing will be formatted for it");
                None
            }
        });
        Self { wanted, format }
    }
}

/// Reads whether this is a virtual machine.
pub fn read_is_virtual(root: &Path) -> bool {
    let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == HYPERVISOR))
}

/// Reads how much memory there is; 0 if the kernel does not say.
pub fn read_memory_bytes(root: &Path) -> u64 {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Reads the block devices below `root`, probing each one's content.
///
/// # Errors
/// When sysfs or the mount table cannot be read. A device that cannot be read is a fact, not an error.
pub fn read_devices(root: &Path) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for disk_dir in children(&root.join("sys/block"))? {
        let Some(disk) = Disk::read(root, &disk_dir) else { continue };
        let partitions = disk.partition_dirs()?;
        let first = devices.len();
        devices.push(disk.device(&disk_dir, !partitions.is_empty()));
        devices.extend(partitions.iter().map(|dir| disk.device(dir, false)));
        let is_boot_medium = devices[first..].iter().any(is_iso9660);
        devices[first..].iter_mut().for_each(|device| device.is_boot_medium = is_boot_medium);
    }
    let in_use = in_use(root)?;
    for device in &mut devices {
        device.mounted_on =
            in_use.iter().find(|(source, _)| *source == device.node()).map(|place| place.1.clone());
    }
    Ok(devices)
}

fn is_iso9660(device: &Device) -> bool {
    match &device.content {
        Content::Foreign(signature) => *signature == Signature::Iso9660,
        Content::Ambiguous(signatures) => signatures.contains(&Signature::Iso9660),
        _ => false,
    }
}

/// Returns the devices that are mounted or swapped to, with where.
fn in_use(root: &Path) -> Result<Vec<(String, String)>> {
    let path = root.join("proc/self/mountinfo");
    let mounts = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut in_use: Vec<(String, String)> = mountinfo::parse(&mounts)?
        .into_iter()
        .map(|mount| (mount.source, mount.target.display().to_string()))
        .collect();
    // A kernel without swap has no such file.
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    let devices = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    in_use.extend(devices.map(|device| (device.to_owned(), "swap".to_owned())));
    Ok(in_use)
}

/// Reads what below `root` may still turn into a disk.
///
/// # Errors
/// When a directory of sysfs cannot be read.
pub fn read_arriving(root: &Path) -> Result<Arriving> {
    let usb = children(&root.join("sys/bus/usb/devices"))?;
    let usb_host = usb.iter().any(|dir| file_name(dir).starts_with("usb"));
    let mut unfinished = false;
    for dir in &usb {
        let is_storage = attribute(dir, "bInterfaceClass") == USB_MASS_STORAGE;
        unfinished |= is_storage && !has_descendant(dir, "block", USB_DISK_DEPTH)?;
    }
    for dir in children(&root.join("sys/class/nvme"))? {
        let has_namespace = children(&dir)?.iter().any(|child| file_name(child).starts_with(file_name(&dir)));
        unfinished |= !has_namespace;
    }
    Ok(Arriving { usb_host, unfinished })
}

struct Disk<'a> {
    root: &'a Path,
    dir: &'a Path,
    model: String,
    serial: String,
    sector_bytes: u64,
    is_removable: bool,
}

impl<'a> Disk<'a> {
    /// Returns None for what is no disk: loop devices, RAM disks, the hidden paths of a multipath NVMe disk.
    fn read(root: &'a Path, dir: &'a Path) -> Option<Self> {
        let name = file_name(dir);
        let is_disk = DISKS.iter().any(|prefix| name.starts_with(prefix)) || name.starts_with(OPTICAL);
        let is_firmware = FIRMWARE_PARTS.iter().any(|part| name.ends_with(part));
        if !is_disk || is_firmware || attribute(dir, "hidden") == "1" {
            return None;
        }
        let first_of = |files: &[&str]| {
            files.iter().map(|file| attribute(dir, file)).find(|value| !value.is_empty()).unwrap_or_default()
        };
        let model = first_of(&["device/model", "device/name"]);
        let serial = first_of(&["serial", "device/serial", "device/vpd_pg80", "device/wwid"]);
        let sector_bytes = attribute(dir, "queue/logical_block_size").parse().unwrap_or(SECTOR_BYTES);
        Some(Self {
            root,
            dir,
            model,
            serial,
            sector_bytes,
            is_removable: attribute(dir, "removable") == "1",
        })
    }

    fn partition_dirs(&self) -> Result<Vec<PathBuf>> {
        let mut dirs = children(self.dir)?;
        dirs.retain(|dir| dir.join("partition").exists());
        Ok(dirs)
    }

    fn device(&self, dir: &Path, has_partitions: bool) -> Device {
        let name = file_name(dir);
        let sectors: u64 = attribute(dir, "size").parse().unwrap_or(0);
        let number = attribute(dir, "partition").parse().ok();
        let mut device = Device {
            read_only: attribute(dir, "ro") == "1",
            sector_bytes: self.sector_bytes,
            is_removable: self.is_removable,
            model: self.model.clone(),
            serial: self.serial.clone(),
            partition: number.map(|number| Partition { disk: file_name(self.dir).to_owned(), number }),
            has_partitions,
            content: Content::Unread,
            ..Device::new(name, sectors.saturating_mul(SECTOR_BYTES))
        };
        if !name.starts_with(OPTICAL) {
            let node = self.root.join("dev").join(name);
            let looked = File::open(&node).and_then(|file| look(&mut device, file, 0));
            if let Err(error) = looked {
                device.content = Content::Unreadable(error.to_string());
            }
        }
        device
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
