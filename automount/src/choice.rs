//! Decides which device is the data disk and what is done with it, and says of every other one why it is not. Pure.

use std::fmt;

use crate::facts::Facts;
use crate::geometry::SMALLEST_DISK;
use crate::model::{Archive, Content, Device, Filesystem, FilesystemKind, Inside, Signature};
pub use crate::refusal::Refusal;
use crate::wanted::is_old_label;

/// What was decided about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the data disk.
    Chosen(Choice),
    /// It is left alone.
    Refused(Refusal),
}

/// What a device qualifies for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Why; of several devices the one with the least of these is chosen.
    pub reason: Reason,
    /// What has to be done before it can be mounted.
    pub work: Work,
}

/// Why a device is the data disk, the best reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// `b2d.data=` asks for it.
    Asked,
    /// It has our label.
    Label,
    /// It is ours, but the writing of its partition table was cut off.
    CutOff,
    /// `b2d.format=` names it.
    Ordered,
    /// It asks for it with the magic.
    Magic,
    /// It is laid out as before version 1.0.
    OldLayout,
    /// It holds Docker's or our data, and has no label.
    OldData,
    /// It is an empty file system without a label, as people attached in 2013.
    EmptyFilesystem,
    /// It was never used.
    Blank,
}

/// What has to be done before a device can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing; it holds this.
    None(Filesystem),
    /// Its partition table must be written again from the second copy.
    FinishTable,
    /// All of it.
    Format,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "b2d.data names it",
            Self::Label => "found by its label",
            Self::CutOff => "found by its label, its partition table was not finished",
            Self::Ordered => "b2d.format names it",
            Self::Magic => "it asks to be formatted",
            Self::OldLayout => "it has the folder vm, as before version 1.0",
            Self::OldData => "no label, but it holds Docker's data",
            Self::EmptyFilesystem => "no label, but an empty file system",
            Self::Blank => "a blank disk in a virtual machine that has no other",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(Choice { reason, work: Work::None(_) }) => write!(f, "is the data disk: {reason}"),
            Self::Chosen(Choice { reason, work: Work::FinishTable }) => {
                write!(f, "becomes the data disk, its partition table is mended: {reason}")
            }
            Self::Chosen(Choice { reason, work: Work::Format }) => write!(f, "is formatted: {reason}"),
            Self::Refused(refusal) => write!(f, "left alone: {refusal}"),
        }
    }
}

/// Returns the verdict on each device, in the given order. At most one is chosen: the first of those with the best
/// reason.
pub fn judge(facts: &Facts) -> Vec<Verdict> {
    let qualified: Vec<_> = facts.devices.iter().map(|device| qualify(device, facts)).collect();
    let reasons =
        qualified.iter().enumerate().filter_map(|(at, choice)| Some((choice.as_ref().ok()?.reason, at)));
    let best = reasons.min();
    let verdict = |(at, choice): (usize, Result<Choice, Refusal>)| match (choice, best) {
        (Err(refusal), _) => Verdict::Refused(refusal),
        (Ok(_), Some((_, first))) if first != at => {
            Verdict::Refused(Refusal::Second(facts.devices[first].node()))
        }
        (Ok(choice), _) => Verdict::Chosen(choice),
    };
    qualified.into_iter().enumerate().map(verdict).collect()
}

/// Tells whether waiting for more disks makes no sense: none can be better than what is there.
pub fn is_found(facts: &Facts) -> bool {
    let best = facts
        .devices
        .iter()
        .filter_map(|device| qualify(device, facts).ok())
        .map(|choice| choice.reason)
        .min();
    best.is_some_and(|reason| reason <= Reason::CutOff)
}

fn qualify(device: &Device, facts: &Facts) -> Result<Choice, Refusal> {
    let choice = match &device.content {
        Content::Unread => return Err(Refusal::Optical),
        Content::Unreadable(error) => return Err(Refusal::Unreadable(error.clone())),
        _ if device.is_boot_medium && !is_behind_the_boot_image(device) => return Err(Refusal::BootMedium),
        _ if facts.asked.format.as_ref() == Some(&device.name) => ordered(device)?,
        Content::Magic(archive) => magic(device, archive, facts)?,
        _ if device.has_partitions => return Err(Refusal::HasPartitions),
        _ if is_cut_off(device) => cut_off(facts)?,
        Content::Foreign(signature) => return Err(Refusal::Foreign(*signature)),
        Content::Ambiguous(signatures) => return Err(Refusal::Ambiguous(signatures.clone())),
        Content::Unknown => blank(device, facts)?,
        Content::Filesystem(filesystem) => filesystem_choice(device, filesystem, facts)?,
    };
    if let Some(target) = &device.mounted_on {
        return Err(Refusal::Mounted(target.clone()));
    }
    if device.read_only {
        return Err(Refusal::ReadOnly);
    }
    Ok(choice)
}

/// Tells whether this is a partition with our label, as `iso-builder write --data` makes it behind the ISO: the rest of
/// a boot medium is never touched.
fn is_behind_the_boot_image(device: &Device) -> bool {
    device.partition.is_some()
        && matches!(&device.content, Content::Filesystem(filesystem) if filesystem.label == b2d_sys::contract::DATA_LABEL)
}

fn is_cut_off(device: &Device) -> bool {
    device.table.as_ref().is_some_and(|table| table.is_cut_off)
}

fn cut_off(facts: &Facts) -> Result<Choice, Refusal> {
    if !facts.asked.wanted.is_default() {
        return Err(Refusal::NotWanted(facts.asked.wanted.clone()));
    }
    Ok(Choice { reason: Reason::CutOff, work: Work::FinishTable })
}

fn ordered(device: &Device) -> Result<Choice, Refusal> {
    if device.partition.is_some() {
        return Err(Refusal::NotADisk);
    }
    // The option may stay on the command line for ever; it must not cost the data at the second boot.
    if matches!(&device.content, Content::Filesystem(filesystem) if filesystem.label == b2d_sys::contract::DATA_LABEL)
    {
        return Err(Refusal::FormattedAlready);
    }
    large_enough(device)?;
    Ok(Choice { reason: Reason::Ordered, work: Work::Format })
}

fn magic(device: &Device, archive: &Archive, facts: &Facts) -> Result<Choice, Refusal> {
    let wanted = &facts.asked.wanted;
    if !wanted.is_default() && !wanted.names(device) {
        return Err(Refusal::NotWanted(wanted.clone()));
    }
    if device.has_partitions {
        return Err(Refusal::HasPartitions);
    }
    if let Archive::Damaged(why) = archive {
        // The table overwrites the archive, which lies in the new file system by then.
        let refusal = Refusal::Archive(why);
        return if is_cut_off(device) { cut_off(facts) } else { Err(refusal) };
    }
    large_enough(device)?;
    Ok(Choice { reason: Reason::Magic, work: Work::Format })
}

fn blank(device: &Device, facts: &Facts) -> Result<Choice, Refusal> {
    let wanted = &facts.asked.wanted;
    if device.partition.is_some() || !device.is_blank {
        return Err(Refusal::NoSignature);
    }
    if !wanted.is_default() && !wanted.names(device) {
        return Err(Refusal::NotWanted(wanted.clone()));
    }
    if !facts.is_virtual {
        return Err(Refusal::BlankOnBareMetal);
    }
    if device.is_removable {
        return Err(Refusal::BlankAndRemovable);
    }
    large_enough(device)?;
    Ok(Choice { reason: Reason::Blank, work: Work::Format })
}

fn large_enough(device: &Device) -> Result<(), Refusal> {
    if device.size_bytes < SMALLEST_DISK { Err(Refusal::TooSmall) } else { Ok(()) }
}

fn filesystem_choice(device: &Device, filesystem: &Filesystem, facts: &Facts) -> Result<Choice, Refusal> {
    let wanted = &facts.asked.wanted;
    let choose = |reason| Ok(Choice { reason, work: Work::None(filesystem.clone()) });
    if wanted.is_met_by(device, filesystem) {
        return choose(if wanted.is_default() { Reason::Label } else { Reason::Asked });
    }
    if !wanted.is_default() || !is_old_label(&filesystem.label) || filesystem.kind == FilesystemKind::Xfs {
        return Err(Refusal::NotWanted(wanted.clone()));
    }
    match &device.inside {
        Inside::NotLooked => Err(Refusal::NotWanted(wanted.clone())),
        Inside::Unreadable(error) => Err(Refusal::Unreadable(error.clone())),
        Inside::Seen(seen) if seen.is_system => Err(Refusal::System),
        Inside::Seen(seen) if seen.has_vm => choose(Reason::OldLayout),
        Inside::Seen(seen) if seen.has_data => choose(Reason::OldData),
        Inside::Seen(seen) if seen.is_empty => choose(Reason::EmptyFilesystem),
        Inside::Seen(_) => Err(Refusal::OtherData),
    }
}

/// Tells whether a refusal of this device is no news to anybody.
pub fn is_trivial(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Optical
            | Refusal::BootMedium
            | Refusal::HasPartitions
            | Refusal::Foreign(Signature::Swap)
            | Refusal::Mounted(_)
    )
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
