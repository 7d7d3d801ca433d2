//! Decides which device is the data disk, and says of every other one why it is not.

use std::fmt;

use b2d_sys::contract::MAGIC;

use crate::model::{Content, Device, Filesystem, Signature};
use crate::wanted::Wanted;

/// What was decided about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the data disk.
    Chosen(Filesystem),
    /// It is left alone.
    Refused(Refusal),
}

/// Why a device is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An optical drive.
    Optical,
    /// Another use of the device, or a file system of a kind we do not mount.
    Foreign(Signature),
    /// Two signatures or more.
    Ambiguous(Vec<Signature>),
    /// It asks to be formatted.
    Magic,
    /// Nothing known is on it.
    NoSignature,
    /// Its partitions count, not the disk around them.
    HasPartitions,
    /// A file system, but not the one asked for.
    NotWanted(Wanted),
    /// What was asked for, but writes are refused.
    ReadOnly,
    /// It is in use.
    Mounted(String),
    /// Another device that comes first is the data disk already.
    Second(String),
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(_) => f.write_str("is the data disk"),
            Self::Refused(refusal) => write!(f, "left alone: {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Optical => f.write_str("optical drive"),
            Self::Foreign(Signature::Iso9660) => f.write_str("boot medium or other iso9660"),
            Self::Foreign(signature) => write!(f, "holds {signature}"),
            Self::Ambiguous(_) => f.write_str("more than one signature"),
            Self::Magic => write!(f, "{MAGIC:?} is not honoured by this version, nothing was formatted"),
            Self::NoSignature => f.write_str("no known signature"),
            Self::HasPartitions => f.write_str("its partitions count"),
            Self::NotWanted(wanted) => write!(f, "not {wanted}"),
            Self::ReadOnly => f.write_str("read-only"),
            Self::Mounted(target) => write!(f, "mounted on {target}"),
            Self::Second(first) => write!(f, "{first} comes first"),
            Self::Unreadable(error) => write!(f, "unreadable: {error}"),
        }
    }
}

/// Returns the verdict on each device, in the given order. At most one is chosen, the first that qualifies.
pub fn judge(devices: &[Device], wanted: &Wanted) -> Vec<Verdict> {
    let mut chosen: Option<String> = None;
    let mut verdicts = Vec::with_capacity(devices.len());
    for device in devices {
        verdicts.push(match (qualify(device, wanted), &chosen) {
            (Ok(_), Some(first)) => Verdict::Refused(Refusal::Second(first.clone())),
            (Ok(filesystem), None) => {
                chosen = Some(device.node());
                Verdict::Chosen(filesystem.clone())
            }
            (Err(refusal), _) => Verdict::Refused(refusal),
        });
    }
    verdicts
}

/// Tells whether one of the devices qualifies as data disk.
pub fn is_found(devices: &[Device], wanted: &Wanted) -> bool {
    devices.iter().any(|device| qualify(device, wanted).is_ok())
}

fn qualify<'a>(device: &'a Device, wanted: &Wanted) -> Result<&'a Filesystem, Refusal> {
    let filesystem = match &device.content {
        Content::Unread => return Err(Refusal::Optical),
        Content::Unreadable(error) => return Err(Refusal::Unreadable(error.clone())),
        Content::Magic => return Err(Refusal::Magic),
        Content::Foreign(Signature::Iso9660) => return Err(Refusal::Foreign(Signature::Iso9660)),
        _ if device.has_partitions => return Err(Refusal::HasPartitions),
        Content::Foreign(signature) => return Err(Refusal::Foreign(*signature)),
        Content::Ambiguous(signatures) => return Err(Refusal::Ambiguous(signatures.clone())),
        Content::Unknown => return Err(Refusal::NoSignature),
        Content::Filesystem(filesystem) => filesystem,
    };
    if !wanted.is_met_by(device, filesystem) {
        return Err(Refusal::NotWanted(wanted.clone()));
    }
    if let Some(target) = &device.mounted_on {
        return Err(Refusal::Mounted(target.clone()));
    }
    if device.read_only {
        return Err(Refusal::ReadOnly);
    }
    Ok(filesystem)
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
