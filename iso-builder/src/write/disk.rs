//! What the kernel and udev know of a disk. Reads below a root path and decides nothing.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::size;

/// Unit of `/sys/class/block/*/size`, whatever the disk's own sectors are.
const SYSFS_SECTOR_BYTES: u64 = 512;

/// A disk, or the image of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// As the user named it.
    pub path: PathBuf,
    /// The kernel's name, or the file's.
    pub name: String,
    /// Whether it is a block device.
    pub is_device: bool,
    /// Whether it is part of a disk only.
    pub is_partition: bool,
    pub size_bytes: u64,
    pub model: Option<String>,
    pub serial: Option<String>,
    /// Whether it can be taken out, or hangs on USB.
    pub is_removable: bool,
    pub is_read_only: bool,
    /// The disk itself, when it has a file system, and its partitions.
    pub parts: Vec<Part>,
}

/// Something on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    pub size_bytes: u64,
    /// File system and label, where udev has looked.
    pub content: Option<String>,
    /// Who uses it: a mount point, swap, another driver.
    pub users: Vec<String>,
}

impl Disk {
    /// Reads what is known of `path`, with `/sys`, `/proc` and `/run` below `root`.
    ///
    /// # Errors
    /// When there is nothing, or it is neither a disk nor a regular file.
    pub(super) fn read(root: &Path, path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
        if metadata.is_file() {
            return Ok(Self::image(path, metadata.len()));
        }
        if !metadata.file_type().is_block_device() {
            bail!(
                "looking at {}: it is neither a disk nor a file; name a disk such as /dev/sdX",
                path.display()
            );
        }
        let number =
            format!("{}:{}", nix::sys::stat::major(metadata.rdev()), nix::sys::stat::minor(metadata.rdev()));
        let folder = root.join("sys/dev/block").join(&number);
        let folder = fs::canonicalize(&folder).with_context(|| format!("reading {}", folder.display()))?;
        Self::device(root, path, &folder)
    }

    fn image(path: &Path, size_bytes: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_device: false,
            is_partition: false,
            size_bytes,
            model: None,
            serial: None,
            is_removable: true,
            is_read_only: false,
            parts: Vec::new(),
        }
    }

    /// Reads what the kernel shows of the disk in `folder`, which is below `/sys/devices`.
    pub(super) fn device(root: &Path, path: &Path, folder: &Path) -> Result<Self> {
        let own = part(root, folder);
        let mut parts: Vec<_> = fs::read_dir(folder)
            .with_context(|| format!("listing {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|entry| entry.join("partition").is_file())
            .map(|entry| part(root, &entry))
            .collect();
        parts.sort_by(|one, other| (one.name.len(), &one.name).cmp(&(other.name.len(), &other.name)));
        let (name, size_bytes) = (own.name.clone(), own.size_bytes);
        if own.content.is_some() || !own.users.is_empty() {
            parts.insert(0, own);
        }
        let properties = udev(root, folder);
        let is_usb =
            folder.components().any(|component| component.as_os_str().to_string_lossy().starts_with("usb"));
        Ok(Self {
            path: path.to_path_buf(),
            name,
            is_device: true,
            is_partition: folder.join("partition").is_file(),
            size_bytes,
            model: model(folder),
            serial: text(&folder.join("device/serial")).or(property(&properties, "ID_SERIAL_SHORT")),
            is_removable: is_usb || text(&folder.join("removable")).as_deref() == Some("1"),
            is_read_only: text(&folder.join("ro")).as_deref() == Some("1"),
            parts,
        })
    }

    /// Returns what tells this disk from another in the same place.
    pub(super) fn identity(&self) -> (&str, u64, Option<&str>, Option<&str>) {
        (&self.name, self.size_bytes, self.model.as_deref(), self.serial.as_deref())
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.path.display(), size(self.size_bytes))?;
        let kind = match (self.is_device, self.is_removable) {
            (false, _) => "image file",
            (true, true) => "removable",
            (true, false) => "not removable",
        };
        write!(f, "  {}  {kind}", self.model.as_deref().unwrap_or("no model name"))?;
        if let Some(serial) = &self.serial {
            write!(f, "  serial {serial}")?;
        }
        for Part { name, size_bytes, content, users } in &self.parts {
            write!(
                f,
                "\n  {name}  {}  {}",
                size(*size_bytes),
                content.as_deref().unwrap_or("unknown content")
            )?;
            if !users.is_empty() {
                write!(f, "  used by {}", users.join(", "))?;
            }
        }
        Ok(())
    }
}

fn part(root: &Path, folder: &Path) -> Part {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sectors = text(&folder.join("size")).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let properties = udev(root, folder);
    let kind = property(&properties, "ID_FS_TYPE");
    let content = kind.map(|kind| match property(&properties, "ID_FS_LABEL") {
        Some(label) => format!("{kind} `{label}`"),
        None => kind,
    });
    Part { size_bytes: sectors * SYSFS_SECTOR_BYTES, content, users: users(root, folder, &name), name }
}

/// Returns who uses the device `name`: mounts by its number, swap by its path, and drivers stacked on it.
fn users(root: &Path, folder: &Path, name: &str) -> Vec<String> {
    let number = text(&folder.join("dev")).unwrap_or_default();
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    let mut users: Vec<_> = mounts
        .lines()
        .filter_map(|line| {
            // Source: proc(5), mountinfo: third field the device's number, fifth the mount point.
            let mut fields = line.split(' ').skip(2);
            (fields.next() == Some(&number)).then(|| fields.nth(1).unwrap_or_default().to_owned())
        })
        .collect();
    let device = format!("/dev/{name}");
    if swaps.lines().any(|line| line.split_whitespace().next() == Some(&device)) {
        users.push("swap".into());
    }
    let holders = fs::read_dir(folder.join("holders")).into_iter().flatten();
    users.extend(holders.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())));
    users.sort();
    users
}

/// Returns the lines that udev keeps of a device. Source: systemd, sd-device, `/run/udev/data/bMAJOR:MINOR`.
fn udev(root: &Path, folder: &Path) -> String {
    let number = text(&folder.join("dev")).unwrap_or_default();
    fs::read_to_string(root.join("run/udev/data").join(format!("b{number}"))).unwrap_or_default()
}

fn property(lines: &str, name: &str) -> Option<String> {
    let value = lines.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='));
    value.map(str::to_owned)
}

fn model(folder: &Path) -> Option<String> {
    let words = ["device/vendor", "device/model"].map(|file| text(&folder.join(file)));
    // virtio disks have a number for a vendor and no model.
    let [vendor, model] = words;
    let model = model?;
    Some(vendor.map_or_else(|| model.clone(), |vendor| format!("{vendor} {model}")))
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
