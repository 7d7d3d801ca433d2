//! Decides the steps that make the data directories: on the data disk, or in RAM without one. Pure.

use std::path::{Path, PathBuf};

use crate::choice::{self, Choice, Verdict, Work};
use crate::facts::Facts;
use crate::geometry::{self, geometry};
use crate::layout;
use crate::model::{Archive, Content, Device, Filesystem, FilesystemKind, Inside};
pub use crate::step::{Formatting, Mount, Policy, Source, Step, Store, Summary};
use crate::swap_plan;
use crate::table::{Extent, Scheme};

/// Directory the disk is mounted in, under its partition's name; users' scripts contain `/mnt/sda1`.
const MNT: &str = "/mnt";
/// Where the data lies without a disk.
const RAM_MOUNT: &str = "/mnt/ram";
/// Share of the memory that data may take without a disk: when it is full, the daemons still have what they need.
const RAM_OPTIONS: &str = "mode=0755,size=75%";

/// Verdicts and steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each device with what was decided about it.
    pub verdicts: Vec<(Device, Verdict)>,
    /// What will be made.
    pub store: Store,
    /// What the kernel is told to swap to, whatever becomes of the data.
    pub swap: Vec<Step>,
}

/// Returns what to do about the data disk.
pub fn plan(facts: &Facts) -> Plan {
    let verdicts = choice::judge(facts);
    let chosen = verdicts.iter().zip(&facts.devices).find_map(|(verdict, device)| match verdict {
        Verdict::Chosen(choice) => Some((device, choice)),
        Verdict::Refused(_) => None,
    });
    let store = match chosen {
        Some((device, choice)) => disk(device, choice, facts),
        None => ram(format!("no usable disk with {}", facts.asked.wanted)),
    };
    let swap = match chosen {
        Some((device, Choice { work: Work::Format | Work::FinishTable, .. })) => {
            swap_plan::on_new_disk(facts, device)
        }
        _ => swap_plan::steps(facts, chosen.map(|(device, _)| device)),
    };
    Plan { verdicts: facts.devices.iter().cloned().zip(verdicts).collect(), store, swap }
}

fn disk(device: &Device, choice: &Choice, facts: &Facts) -> Store {
    let reason = choice.reason.to_string();
    match &choice.work {
        Work::None(filesystem) => existing(device, filesystem, facts, reason),
        Work::FinishTable => {
            let first = device.table.as_ref().and_then(|table| table.partitions.first());
            let step = Step::FinishTable { disk: Box::new(device.clone()) };
            on_first_partition(device, vec![step, Step::Check(part(device))], first.copied(), reason)
        }
        Work::Format => {
            let Some(made) = geometry(device.size_bytes) else {
                return ram(format!("{} is too small", device.node()));
            };
            let archive = match &device.content {
                Content::Magic(Archive::Whole(bytes)) => Some(bytes.clone()),
                _ => None,
            };
            let step = Step::Format(Box::new(Formatting {
                disk: device.clone(),
                geometry: made,
                archive,
                reason: reason.clone(),
            }));
            on_first_partition(device, vec![step], Some(made.data), reason)
        }
    }
}

fn part(disk: &Device) -> String {
    format!("/dev/{}", Device::partition_name(&disk.name, 1))
}

/// Returns the steps for a data file system on partition 1, which is ext4 of our own making.
fn on_first_partition(disk: &Device, mut steps: Vec<Step>, extent: Option<Extent>, reason: String) -> Store {
    let device =
        Device::new(&Device::partition_name(&disk.name, 1), extent.map_or(0, |extent| extent.length));
    steps.push(mount(&device, FilesystemKind::Ext4));
    finish_store(&device, FilesystemKind::Ext4, steps, false, reason)
}

fn existing(device: &Device, filesystem: &Filesystem, facts: &Facts, reason: String) -> Store {
    let mut steps = Vec::new();
    let needs_check = filesystem.kind.is_ext() && filesystem.needs_check;
    steps.extend(needs_check.then(|| Step::Check(device.node())));
    let grown = grown_partition(device, facts);
    let length = grown.as_ref().map_or(device.size_bytes, |(_, extent)| extent.length);
    steps.extend(grown.map(|(disk, extent)| Step::GrowPartition { disk: Box::new(disk.clone()), extent }));
    steps.push(mount(device, filesystem.kind));
    // The image has no program that grows an XFS.
    if filesystem.kind != FilesystemKind::Xfs && geometry::has_room(filesystem.size_bytes, length) {
        let mountpoint = Path::new(MNT).join(&device.name);
        steps.push(Step::GrowFilesystem { device: device.node(), mountpoint, kind: filesystem.kind });
    }
    let is_old_layout = matches!(device.inside, Inside::Seen(seen) if seen.has_vm);
    finish_store(device, filesystem.kind, steps, is_old_layout, reason)
}

/// Returns disk and new extent of a partition that has room behind it.
fn grown_partition<'a>(device: &Device, facts: &'a Facts) -> Option<(&'a Device, Extent)> {
    // Its tables are those of the ISO, which BIOS and UEFI start by; they are not ours to write.
    if device.is_boot_medium {
        return None;
    }
    let place = device.partition.as_ref()?;
    let disk = facts.devices.iter().find(|disk| disk.name == place.disk)?;
    let table = disk.table.as_ref()?;
    let extent = *table.partitions.iter().find(|extent| extent.number == place.number)?;
    let grown = geometry::grown(extent, &table.partitions, disk.size_bytes)?;
    // The BIOS's table counts sectors in 32 bits.
    let fits = table.scheme == Scheme::Gpt || grown.end() / disk.sector_bytes <= u64::from(u32::MAX);
    (fits && !disk.read_only).then_some((disk, grown))
}

fn mount(device: &Device, kind: FilesystemKind) -> Step {
    Step::Mount(Mount {
        source: device.node(),
        target: Path::new(MNT).join(&device.name),
        fstype: kind.name().to_owned(),
        options: String::new(),
    })
}

fn finish_store(
    device: &Device,
    kind: FilesystemKind,
    mut steps: Vec<Step>,
    is_old: bool,
    reason: String,
) -> Store {
    let mountpoint = Path::new(MNT).join(&device.name);
    steps.extend(layout::steps(&mountpoint, is_old));
    let summary = Summary {
        device: device.node(),
        mountpoint,
        fstype: kind.name().to_owned(),
        source: Source::Disk,
        reason,
    };
    Store { summary, steps }
}

/// Returns how to keep the data in RAM, so that everything works until the machine is switched off. A file system of
/// its own, because overlay2 cannot lie on the overlay that is our root.
pub fn ram(reason: String) -> Store {
    let (tmpfs, mountpoint) = ("tmpfs".to_owned(), PathBuf::from(RAM_MOUNT));
    let mut steps = vec![Step::Mount(Mount {
        source: tmpfs.clone(),
        target: mountpoint.clone(),
        fstype: tmpfs.clone(),
        options: RAM_OPTIONS.to_owned(),
    })];
    steps.extend(layout::steps(&mountpoint, false));
    Store {
        summary: Summary { device: tmpfs.clone(), mountpoint, fstype: tmpfs, source: Source::Ram, reason },
        steps,
    }
}

impl Plan {
    /// Returns a line per device.
    pub fn findings(&self) -> Vec<String> {
        self.verdicts.iter().map(|(device, verdict)| format!("{device}: {verdict}")).collect()
    }

    /// Returns what people at the console should know of the outcome: which disks were refused, unless that is no
    /// news while there is a data disk.
    pub fn announcement(&self, outcome: &Summary) -> Vec<String> {
        let is_news = |verdict: &Verdict| match verdict {
            Verdict::Chosen(_) => outcome.source == Source::Ram,
            Verdict::Refused(refusal) => outcome.source == Source::Ram || !choice::is_trivial(refusal),
        };
        let told = self.verdicts.iter().filter(|(_, verdict)| is_news(verdict));
        let mut lines: Vec<String> = told.map(|(device, verdict)| format!("{device}: {verdict}")).collect();
        lines.push(outcome.to_string());
        lines
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.findings().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{}", self.store.summary)?;
        self.store.steps.iter().chain(&self.swap).try_for_each(|step| writeln!(f, "  {step}"))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
