//! What a block device is and holds. Values only: nothing here reads or decides.

use std::fmt;

/// A disk or partition the kernel shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Kernel name: `sda`, `sda1`, `nvme0n1p1`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The kernel refuses writes to it.
    pub read_only: bool,
    /// Vendor's name of the disk; empty if unknown.
    pub model: String,
    /// Serial number of the disk; empty if unknown.
    pub serial: String,
    /// The disk has partitions the kernel knows. Always false for a partition.
    pub has_partitions: bool,
    /// Where it is mounted, if it is.
    pub mounted_on: Option<String>,
    /// What its bytes say.
    pub content: Content,
}

impl Device {
    /// Returns the path of the device node.
    pub fn node(&self) -> String {
        format!("/dev/{}", self.name)
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
    /// The disk asks to be formatted: [`b2d_sys::contract::MAGIC`] is at its start.
    Magic,
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
            Self::Magic => f.write_str("asks to be formatted"),
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
}

impl FilesystemKind {
    /// Returns the name mount(2) and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
        }
    }

    /// Tells whether `e2fsck` checks it.
    pub fn is_ext(self) -> bool {
        !matches!(self, Self::Btrfs)
    }
}

/// Signatures we know; see [`crate::probe`] for the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signature {
    /// ext2, ext3 or ext4.
    Ext,
    /// Journal of an ext file system on another device.
    ExtJournal,
    /// btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// squashfs.
    Squashfs,
    /// ISO 9660: an optical medium, or a disk one was copied to.
    Iso9660,
    /// Swap space.
    Swap,
    /// LUKS encryption, version 1 or 2.
    Luks,
    /// LVM physical volume.
    Lvm,
    /// Member of a Linux software RAID.
    Raid,
    /// ZFS pool member.
    Zfs,
    /// NTFS.
    Ntfs,
    /// exFAT.
    Exfat,
    /// FAT.
    Fat,
    /// F2FS.
    F2fs,
    /// bcache.
    Bcache,
    /// GUID partition table.
    Gpt,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext => "ext",
            Self::ExtJournal => "ext journal",
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
            Self::Squashfs => "squashfs",
            Self::Iso9660 => "iso9660",
            Self::Swap => "swap",
            Self::Luks => "LUKS",
            Self::Lvm => "LVM",
            Self::Raid => "RAID member",
            Self::Zfs => "ZFS",
            Self::Ntfs => "NTFS",
            Self::Exfat => "exFAT",
            Self::Fat => "FAT",
            Self::F2fs => "f2fs",
            Self::Bcache => "bcache",
            Self::Gpt => "GPT",
        })
    }
}
