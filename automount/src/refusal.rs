//! Why a device is left alone, in words for the console.

use std::fmt;

use crate::model::Signature;
use crate::wanted::Wanted;

/// Why a device is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An optical drive.
    Optical,
    /// What the machine was booted from, or a part of it.
    BootMedium,
    /// Another use of the device, or a file system of a kind we do not mount.
    Foreign(Signature),
    /// Two signatures or more.
    Ambiguous(Vec<Signature>),
    /// It asks to be formatted, but what it brings along could not be kept.
    Archive(&'static str),
    /// Nothing known is on it, but something is.
    NoSignature,
    /// It is blank, but nobody said that it may be used.
    BlankOnBareMetal,
    /// It is blank, but people carry it around.
    BlankAndRemovable,
    /// There is no room for a file system worth the name.
    TooSmall,
    /// Its partitions count, not the disk around them.
    HasPartitions,
    /// A file system, but not the one asked for.
    NotWanted(Wanted),
    /// A file system without a label, in which somebody has other files.
    OtherData,
    /// A file system without a label, in which an operating system lives.
    System,
    /// It is to be formatted, but is a partition.
    NotADisk,
    /// It is to be formatted, and was.
    FormattedAlready,
    /// What was asked for, but writes are refused.
    ReadOnly,
    /// It is in use.
    Mounted(String),
    /// Another device that comes first is the data disk already.
    Second(String),
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Optical => f.write_str("optical drive"),
            Self::BootMedium => f.write_str("boot medium or other iso9660"),
            Self::Foreign(signature) => write!(f, "holds {signature}"),
            Self::Ambiguous(_) => f.write_str("more than one signature"),
            Self::Archive(why) => write!(f, "asks to be formatted, but its archive {why}"),
            Self::NoSignature => f.write_str("not blank, but nothing known is on it"),
            Self::BlankOnBareMetal => {
                f.write_str("blank, but this is no virtual machine; b2d.format=/dev/... formats it")
            }
            Self::BlankAndRemovable => f.write_str("blank, but removable; b2d.format=/dev/... formats it"),
            Self::TooSmall => f.write_str("too small"),
            Self::HasPartitions => f.write_str("its partitions count"),
            Self::NotWanted(wanted) => write!(f, "not {wanted}"),
            Self::OtherData => f.write_str("has no label, and files that are not Docker's"),
            Self::System => f.write_str("has no label, and an operating system lives there"),
            Self::NotADisk => f.write_str("b2d.format takes whole disks only"),
            Self::FormattedAlready => f.write_str("b2d.format has been done before"),
            Self::ReadOnly => f.write_str("read-only"),
            Self::Mounted(target) => write!(f, "in use: {target}"),
            Self::Second(first) => write!(f, "{first} comes first"),
            Self::Unreadable(error) => write!(f, "unreadable: {error}"),
        }
    }
}
