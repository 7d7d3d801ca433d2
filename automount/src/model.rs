//! What a block device is and holds. Values only: nothing here reads or decides.

use std::fmt;

pub use crate::archive::Archive;
pub use crate::inside::Inside;
pub use crate::signature::Signature;
pub use crate::table::Table;

/// A disk or partition the kernel shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Kernel name: `sda`, `sda1`, `nvme0n1p1`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The disk's logical sectors, in which partition tables count. Unit: bytes.
    pub sector_bytes: u64,
    /// The kernel refuses writes to it.
    pub read_only: bool,
    /// People take the medium out while the machine runs.
    pub is_removable: bool,
    /// It is what the machine was booted from, or a partition of that.
    pub is_boot_medium: bool,
    /// Vendor's name of the disk; empty if unknown.
    pub model: String,
    /// Serial number of the disk; empty if unknown.
    pub serial: String,
    /// Where it lies, if it is a partition.
    pub partition: Option<Partition>,
    /// The disk has partitions the kernel knows. Always false for a partition.
    pub has_partitions: bool,
    /// Where it is mounted or swapped to, if it is.
    pub mounted_on: Option<String>,
    /// What its bytes say.
    pub content: Content,
    /// It holds nothing but zeros wherever we looked; see [`crate::blank`].
    pub is_blank: bool,
    /// The partition table of a disk, if there is one that can be read.
    pub table: Option<Table>,
    /// Label of the swap space on it; empty if it has none.
    pub swap_label: String,
    /// What lies in its file system.
    pub inside: Inside,
}

/// Where a partition lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name of its disk.
    pub disk: String,
    /// Its number, from 1.
    pub number: u32,
}

impl Device {
    /// Returns a writable fixed disk of nothing known.
    pub fn new(name: &str, size_bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            size_bytes,
            sector_bytes: 512,
            read_only: false,
            is_removable: false,
            is_boot_medium: false,
            model: String::new(),
            serial: String::new(),
            partition: None,
            has_partitions: false,
            mounted_on: None,
            content: Content::Unknown,
            is_blank: false,
            table: None,
            swap_label: String::new(),
            inside: Inside::NotLooked,
        }
    }

    /// Returns the path of the device node.
    pub fn node(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Returns the name of partition `number` of the disk `disk`: a disk whose name ends in a digit needs a `p` between.
    pub fn partition_name(disk: &str, number: u32) -> String {
        let separator = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{disk}{separator}{number}")
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {} MiB", self.node(), self.content, self.size_bytes >> 20)?;
        for (key, value) in [("model", &self.model), ("serial", &self.serial)] {
            if !value.is_empty() {
                write!(f, ", {key} {value}")?;
            }
        }
        f.write_str(")")
    }
}

/// What the bytes of a device say it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Exactly one file system, of a kind we mount.
    Filesystem(Filesystem),
    /// Exactly one signature of another kind.
    Foreign(Signature),
    /// More than one signature: a leftover of an earlier use, and no telling which one counts.
    Ambiguous(Vec<Signature>),
    /// The disk asks to be formatted: [`b2d_sys::contract::MAGIC`] is at its start, with an archive behind it or none.
    Magic(Archive),
    /// No signature known to us.
    Unknown,
    /// Reading failed; the text is the system's.
    Unreadable(String),
    /// Not looked at: an optical drive, where a read may take seconds.
    Unread,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filesystem(filesystem) => write!(f, "{filesystem}"),
            Self::Foreign(signature) => write!(f, "{signature}"),
            Self::Ambiguous(signatures) => {
                let names: Vec<_> = signatures.iter().map(ToString::to_string).collect();
                write!(f, "{}", names.join(" and "))
            }
            Self::Magic(archive) => write!(f, "asks to be formatted, {archive}"),
            Self::Unknown => f.write_str("no known signature"),
            Self::Unreadable(error) => write!(f, "unreadable: {error}"),
            Self::Unread => f.write_str("not read"),
        }
    }
}

/// A file system we mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its kind.
    pub kind: FilesystemKind,
    /// Its label; empty if it has none.
    pub label: String,
    /// Its UUID in the usual spelling, lower case.
    pub uuid: String,
    /// It was not unmounted, or errors were seen: a check has work to do.
    pub is_dirty: bool,
    /// Whether a check would look further than at the superblock; only ext has a check.
    pub needs_check: bool,
    /// How much of the device it uses. Unit: bytes.
    pub size_bytes: u64,
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        if !self.label.is_empty() {
            write!(f, " {:?}", self.label)?;
        }
        if self.is_dirty { f.write_str(", not cleanly unmounted") } else { Ok(()) }
    }
}

/// Kinds of file system we mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesystemKind {
    /// ext without a journal.
    Ext2,
    /// ext with a journal and nothing newer.
    Ext3,
    /// ext with extents or another feature of ext4.
    Ext4,
    /// btrfs on this one device.
    Btrfs,
    /// XFS with its log on this device.
    Xfs,
}

impl FilesystemKind {
    /// Returns the name mount(2) and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
        }
    }

    /// Tells whether `e2fsck` checks it.
    pub fn is_ext(self) -> bool {
        matches!(self, Self::Ext2 | Self::Ext3 | Self::Ext4)
    }
}
