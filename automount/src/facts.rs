//! Reads which block devices there are and what they hold, below a root path. Decides nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b2d_sys::effects::files::read_optional;
use b2d_sys::mountinfo;

use crate::model::{Content, Device};
use crate::patience::Arriving;
use crate::probe::probe;
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

/// All that the plan decides upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Disks, each before its partitions, in the order of their names.
    pub devices: Vec<Device>,
    /// What is looked for.
    pub wanted: Wanted,
}

/// Reads the block devices below `root`, probing each one's content.
///
/// # Errors
/// When sysfs or the mount table cannot be read. A device that cannot be read is a fact, not an error.
pub fn read_devices(root: &Path) -> Result<Vec<Device>> {
    let mounts_path = root.join("proc/self/mountinfo");
    let mounts =
        fs::read_to_string(&mounts_path).with_context(|| format!("reading {}", mounts_path.display()))?;
    let mounts: Vec<(String, String)> = mountinfo::parse(&mounts)?
        .into_iter()
        .map(|mount| (mount.source, mount.target.display().to_string()))
        .collect();
    let mut devices = Vec::new();
    for disk_dir in children(&root.join("sys/block"))? {
        let Some(disk) = Disk::read(root, &disk_dir) else { continue };
        let partitions = disk.partition_dirs()?;
        devices.push(disk.device(&disk_dir, !partitions.is_empty()));
        devices.extend(partitions.iter().map(|dir| disk.device(dir, false)));
    }
    for device in &mut devices {
        device.mounted_on =
            mounts.iter().find(|(source, _)| *source == device.node()).map(|mount| mount.1.clone());
    }
    Ok(devices)
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
        let model = attribute(dir, "device/model");
        let mut serial = String::new();
        for file in ["serial", "device/serial", "device/wwid"] {
            if serial.is_empty() {
                serial = attribute(dir, file);
            }
        }
        Some(Self { root, dir, model, serial })
    }

    fn partition_dirs(&self) -> Result<Vec<PathBuf>> {
        let mut dirs = children(self.dir)?;
        dirs.retain(|dir| dir.join("partition").exists());
        Ok(dirs)
    }

    fn device(&self, dir: &Path, has_partitions: bool) -> Device {
        let name = file_name(dir).to_owned();
        let sectors: u64 = attribute(dir, "size").parse().unwrap_or(0);
        let size_bytes = sectors.saturating_mul(SECTOR_BYTES);
        let content = match name.starts_with(OPTICAL) {
            true => Content::Unread,
            false => read_content(&self.root.join("dev").join(&name), size_bytes),
        };
        Device {
            name,
            size_bytes,
            read_only: attribute(dir, "ro") == "1",
            model: self.model.clone(),
            serial: self.serial.clone(),
            has_partitions,
            mounted_on: None,
            content,
        }
    }
}

fn read_content(node: &Path, size_bytes: u64) -> Content {
    let probed = File::open(node).and_then(|mut file| probe(&mut file, size_bytes));
    probed.unwrap_or_else(|error| Content::Unreadable(error.to_string()))
}

/// Returns the entries of a directory in the order `sda`, `sdb`, `sdaa`, `sda2`, `sda10`; none if it does not exist.
fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = match read() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Vec::new()
        }
        paths => paths.with_context(|| format!("listing {}", dir.display()))?,
    };
    paths.sort_by_key(|path| (file_name(path).len(), file_name(path).to_owned()));
    Ok(paths)
}

fn has_descendant(dir: &Path, name: &str, depth: usize) -> Result<bool> {
    // Links lead to parents and siblings, never down.
    for child in children(dir)?.iter().filter(|child| child.is_dir() && !child.is_symlink()) {
        if file_name(child) == name || depth > 1 && has_descendant(child, name, depth - 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns a sysfs attribute with single blanks between its words; empty if it does not exist or has no value now.
fn attribute(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    let bytes = read_optional(&path).unwrap_or_else(|error| {
        log::debug!("reading {}: {error}", path.display());
        None
    });
    String::from_utf8_lossy(&bytes.unwrap_or_default()).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
