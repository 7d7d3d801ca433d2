//! One action after the other: the language between deciding and doing. Values only.

use std::fmt;
use std::path::PathBuf;

use log::Level;

use crate::geometry::Geometry;
use crate::model::{Device, FilesystemKind};
use crate::table::Extent;

/// Where the data lies, and the steps to get there, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// For people and for the other programs.
    pub summary: Summary,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// `/dev/sda1`, or `tmpfs`.
    pub device: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// File system type.
    pub fstype: String,
    /// Whether data outlives the machine.
    pub source: Source,
    /// Why it is this one.
    pub reason: String,
}

/// Whether data outlives the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It does.
    Disk,
    /// It does not.
    Ram,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Device node or `tmpfs`.
    pub source: String,
    /// Mount point, made if missing.
    pub target: PathBuf,
    /// Type for mount(2).
    pub fstype: String,
    /// The file system's own options.
    pub options: String,
}

/// All about a disk that is formatted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatting {
    /// The disk as it was when this was decided.
    pub disk: Device,
    /// Where data and swap will lie.
    pub geometry: Geometry,
    /// The user's files, to be kept.
    pub archive: Option<Vec<u8>>,
    /// Why it is formatted.
    pub reason: String,
}

/// What the failure of a step means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The disk cannot be used.
    Essential,
    /// It is told, and the next step follows.
    Optional,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make partitions, file system and swap space on a disk.
    Format(Box<Formatting>),
    /// Write both copies of a disk's partition table again from the one that is whole.
    FinishTable {
        /// The disk as it was when this was decided.
        disk: Box<Device>,
    },
    /// Repair the ext file system on a device, as far as that is safe.
    Check(String),
    /// Make a partition reach to the end of its disk.
    GrowPartition {
        /// The disk as it was when this was decided.
        disk: Box<Device>,
        /// The partition as it will be.
        extent: Extent,
    },
    /// Mount.
    Mount(Mount),
    /// Let a mounted file system take all of its partition.
    GrowFilesystem {
        /// Its device.
        device: String,
        /// Where it is mounted.
        mountpoint: PathBuf,
        /// Its kind.
        kind: FilesystemKind,
    },
    /// Make a directory with these permission bits.
    Dir(PathBuf, u32),
    /// Make a directory for temporary files anew: what was there is deleted, a link there is not followed.
    EmptyTmp(PathBuf, u32),
    /// Let the second path be a link to the first.
    Link(PathBuf, PathBuf),
    /// Let the second path be a link to the first, if that is a directory.
    LinkTmp(PathBuf, PathBuf),
    /// Tell the other programs.
    Record,
    /// Swap to a device, with this priority.
    SwapOn(String, u16),
    /// Swap to compressed memory that may hold so many bytes, with this priority.
    Zram(u64, u16),
}

impl Step {
    /// Returns what its failure means.
    pub fn policy(&self) -> Policy {
        match self {
            Self::GrowPartition { .. }
            | Self::GrowFilesystem { .. }
            | Self::EmptyTmp(..)
            | Self::LinkTmp(..)
            | Self::SwapOn(..)
            | Self::Zram(..) => Policy::Optional,
            _ => Policy::Essential,
        }
    }
}

impl Summary {
    /// Returns how loud it is: data in RAM is worth a warning.
    pub fn level(&self) -> Level {
        match self.source {
            Source::Disk => Level::Info,
            Source::Ram => Level::Warn,
        }
    }

    /// Returns the `KEY=value` lines for the other programs.
    pub fn record(&self) -> String {
        let source = match self.source {
            Source::Disk => "disk",
            Source::Ram => "ram",
        };
        let (device, mountpoint, fstype) = (&self.device, self.mountpoint.display(), &self.fstype);
        let reason = self.reason.replace('\n', "; ");
        format!(
            "DEVICE={device}\nMOUNTPOINT={mountpoint}\nFSTYPE={fstype}\nSOURCE={source}\nREASON={reason}\n"
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, fstype, reason, .. } = self;
        let mountpoint = self.mountpoint.display();
        match self.source {
            Source::Disk => write!(f, "data disk {device} ({fstype}) on {mountpoint}: {reason}"),
            Source::Ram => write!(f, "running from RAM, everything is lost at power-off: {reason}"),
        }
    }
}

impl fmt::Display for Formatting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (swap, data) = (self.geometry.swap.length >> 20, self.geometry.data.length >> 20);
        let files = match &self.archive {
            Some(archive) => format!(", keeping {} bytes of files", archive.len()),
            None => String::new(),
        };
        write!(f, "format {}, swap {swap} MiB, data {data} MiB{files}", self.disk.node())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(formatting) => write!(f, "{formatting}"),
            Self::FinishTable { disk } => write!(f, "write the partition table of {} again", disk.node()),
            Self::Check(device) => write!(f, "check {device}"),
            Self::GrowPartition { disk, extent } => {
                write!(
                    f,
                    "grow partition {} of {} to {} MiB",
                    extent.number,
                    disk.node(),
                    extent.length >> 20
                )
            }
            Self::Mount(Mount { source, target, fstype, options }) => {
                write!(f, "mount {source} on {} type {fstype} ({options})", target.display())
            }
            Self::GrowFilesystem { device, .. } => write!(f, "grow the file system on {device}"),
            Self::Dir(path, mode) => write!(f, "dir {} {mode:04o}", path.display()),
            Self::EmptyTmp(path, mode) => write!(f, "fresh dir {} {mode:04o}", path.display()),
            Self::Link(target, link) | Self::LinkTmp(target, link) => {
                write!(f, "link {} -> {}", link.display(), target.display())
            }
            Self::Record => f.write_str("record"),
            Self::SwapOn(device, priority) => write!(f, "swap on {device}, priority {priority}"),
            Self::Zram(bytes, priority) => {
                write!(f, "swap on compressed memory, {} MiB, priority {priority}", bytes >> 20)
            }
        }
    }
}
