//! Decides the steps that make the data directories: on the data disk, or in RAM without one. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use b2d_sys::contract::{DOCKER_DIR, STATE_DIR};
use log::Level;

use crate::choice::{self, Verdict};
use crate::facts::Facts;
use crate::model::{Device, Filesystem};

/// Directory the disk is mounted in, under its partition's name; users' scripts contain `/mnt/sda1`.
const MNT: &str = "/mnt";
/// Where the data lies without a disk.
const RAM_MOUNT: &str = "/mnt/ram";
/// Share of the memory that data may take without a disk; the root's own overlay has the same limit.
const RAM_OPTIONS: &str = "mode=0755,size=90%";
/// Directories of the data disk with their permission bits.
const LAYOUT: &[(&str, u32)] = &[
    ("var/lib/docker", 0o710),
    ("var/lib/boot2docker", 0o755),
    ("var/lib/boot2docker/etc", 0o755),
    ("var/lib/boot2docker/log", 0o755),
];
/// Permission bits of `/tmp`.
const TMP_MODE: u32 = 0o1777;

/// Verdicts and steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each device with what was decided about it.
    pub verdicts: Vec<(Device, Verdict)>,
    /// What will be made.
    pub store: Store,
}

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

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Repair the ext file system on a device, as far as that is safe.
    Check(String),
    /// Mount.
    Mount {
        /// Device node or `tmpfs`.
        source: String,
        /// Mount point, made if missing.
        target: PathBuf,
        /// Type for mount(2).
        fstype: String,
        /// The file system's own options.
        options: String,
    },
    /// Make a directory with these permission bits.
    Dir(PathBuf, u32),
    /// Make a directory anew: what was there is deleted, a link there is not followed.
    FreshDir(PathBuf, u32),
    /// Let the second path be a link to the first.
    Link(PathBuf, PathBuf),
    /// Tell the other programs.
    Record,
}

/// Returns what to do about the data disk.
pub fn plan(facts: &Facts) -> Plan {
    let verdicts = choice::judge(&facts.devices, &facts.wanted);
    let chosen = verdicts.iter().zip(&facts.devices).find_map(|(verdict, device)| match verdict {
        Verdict::Chosen(filesystem) => Some((device, filesystem)),
        Verdict::Refused(_) => None,
    });
    let store = match chosen {
        Some((device, filesystem)) => disk(device, filesystem, format!("found by {}", facts.wanted)),
        None => ram(format!("no usable disk with {}", facts.wanted)),
    };
    Plan { verdicts: facts.devices.iter().cloned().zip(verdicts).collect(), store }
}

fn disk(device: &Device, filesystem: &Filesystem, reason: String) -> Store {
    let kind = filesystem.kind;
    let mountpoint = Path::new(MNT).join(&device.name);
    let mount = Step::Mount {
        source: device.node(),
        target: mountpoint.clone(),
        fstype: kind.name().to_owned(),
        options: String::new(),
    };
    let mut steps = Vec::new();
    steps.extend(kind.is_ext().then(|| Step::Check(device.node())));
    steps.push(mount);
    steps.extend(layout(&mountpoint));
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
    let mut steps = vec![Step::Mount {
        source: tmpfs.clone(),
        target: mountpoint.clone(),
        fstype: tmpfs.clone(),
        options: RAM_OPTIONS.to_owned(),
    }];
    steps.extend(layout(&mountpoint));
    Store {
        summary: Summary { device: tmpfs.clone(), mountpoint, fstype: tmpfs, source: Source::Ram, reason },
        steps,
    }
}

fn layout(mountpoint: &Path) -> Vec<Step> {
    let mut steps: Vec<Step> =
        LAYOUT.iter().map(|(path, mode)| Step::Dir(mountpoint.join(path), *mode)).collect();
    let tmp = mountpoint.join("tmp");
    steps.push(Step::FreshDir(tmp.clone(), TMP_MODE));
    for link in [DOCKER_DIR, STATE_DIR] {
        steps.push(Step::Link(mountpoint.join(link.trim_start_matches('/')), link.into()));
    }
    steps.push(Step::Link(tmp, "/tmp".into()));
    steps.push(Step::Record);
    steps
}

impl Plan {
    /// Returns a line per device.
    pub fn findings(&self) -> Vec<String> {
        self.verdicts.iter().map(|(device, verdict)| format!("{device}: {verdict}")).collect()
    }

    /// Returns what people at the console should know of the outcome: without a disk, also why each one was refused.
    pub fn announcement(&self, outcome: &Summary) -> Vec<String> {
        let mut lines = if outcome.source == Source::Ram { self.findings() } else { Vec::new() };
        lines.push(outcome.to_string());
        lines
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(device) => write!(f, "check {device}"),
            Self::Mount { source, target, fstype, options } => {
                write!(f, "mount {source} on {} type {fstype} ({options})", target.display())
            }
            Self::Dir(path, mode) => write!(f, "dir {} {mode:04o}", path.display()),
            Self::FreshDir(path, mode) => write!(f, "fresh dir {} {mode:04o}", path.display()),
            Self::Link(target, link) => write!(f, "link {} -> {}", link.display(), target.display()),
            Self::Record => f.write_str("record"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{}", self.store.summary)?;
        self.store.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
