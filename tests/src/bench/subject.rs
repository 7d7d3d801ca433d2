//! The systems that are compared, each with the ways to start it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b2d_sys::contract::DATA_LABEL;
use iso_builder::digest::{self, KeyBuilder};
use iso_builder::project::Project;
use iso_builder::qemu::{Boot, Bus};
use iso_builder::step;
use serde::Serialize;

use super::ext4::{FileSystem, New};
use super::guest::{FOLDER, GuestFiles, IMAGE_ARCHIVE};
use super::machine::{Running, Start};
use super::measure::{FLOOR, OURS, PEER};
use super::peer::{self, Peer};
use crate::iso9660::Iso;
use crate::{Deadline, Lab};

/// Size of our data disk; the file is sparse, and as large as the peer's disk.
const DATA_BYTES: u64 = 8 << 30;

/// Starts the probe; it leaves at once when it runs already.
const PROFILE: &str = "/var/lib/boot2docker/bench/probe </dev/null >/dev/null 2>&1 &\n";

/// Machines unless the user asks for others.
pub const DEFAULT_SIZE: Size = Size { memory_mib: 2048, cpus: 2 };

/// Memory and processors of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Unit: MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
}

/// A system, and what starts it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name in tables.
    pub name: String,
    /// Measure of power-on to API, and the way to start that it is about; the one without boot loader comes first.
    pub ways: Vec<(&'static str, Start)>,
    /// Console text that ends the measure for a system without the probe.
    pub ready: Option<String>,
}

/// What our ISO is made of, as files of the host.
#[derive(Debug)]
pub struct Ours {
    /// The ISO.
    pub iso: PathBuf,
    /// Its digest.
    pub sha256: String,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: PathBuf,
    /// What of it the ISO's boot loaders read.
    pub stage0: PathBuf,
    /// Its kernel command line.
    pub append: String,
}

impl Subject {
    /// Returns the way to start it without boot loader.
    #[must_use]
    pub fn direct(&self) -> &Start {
        &self.ways[0].1
    }

    /// Returns the way that people start it in, with a boot loader if there is one, and its measure.
    #[must_use]
    pub fn usual(&self) -> (&'static str, &Start) {
        let (measure, start) = self.ways.get(1).unwrap_or(&self.ways[0]);
        (measure, start)
    }
}

impl Ours {
    /// Takes kernel, initramfs and command line out of the ISO under test.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub fn extract(project: &Project, lab: &Lab) -> Result<Self> {
        let path = lab.iso();
        let sha256 = digest::of_file(&path)?;
        let folder = step::latest(&project.target_folder("bench/iso")?, &sha256, |part| {
            let iso = Iso::open(&path)?;
            for (entry, name) in [
                ("/boot/vmlinuz64", "kernel"),
                ("/boot/initrd.img", "initrd"),
                ("/boot/stage0.img", "stage0"),
                ("/boot/isolinux/isolinux.cfg", "menu"),
            ] {
                let found = iso.entries()?.into_iter().find(|known| known.path == entry);
                let found = found.with_context(|| format!("finding {entry} in {}", path.display()))?;
                step::write_atomically(&part.join(name), &iso.content(found.extent)?)?;
            }
            Ok(())
        })?;
        let menu = fs::read_to_string(folder.join("menu")).context("reading isolinux.cfg")?;
        let append = append(&menu).context("finding the kernel command line in isolinux.cfg")?;
        let [kernel, initrd, stage0] = ["kernel", "initrd", "stage0"].map(|name| folder.join(name));
        Ok(Self { iso: path, sha256, kernel, initrd, stage0, append })
    }

    /// Returns our system with a data disk that has the probe on it.
    #[must_use]
    pub fn subject(&self, disk: &Path, size: Size) -> Subject {
        let direct = Boot::Kernel {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            append: self.append.clone(),
        };
        let start = |boot, is_uefi| start(boot, is_uefi, Some(disk), size);
        Subject {
            name: OURS.to_owned(),
            ways: vec![
                ("power-on-kernel", start(direct, false)),
                ("power-on-cd", start(Boot::Cd(self.iso.clone()), false)),
                ("power-on-disk", start(Boot::Disk(self.iso.clone(), Bus::Virtio), false)),
                ("power-on-uefi", start(Boot::Cd(self.iso.clone()), true)),
            ],
            ready: None,
        }
    }

    /// Returns the floor: the same kernel and root, started by a shell script.
    #[must_use]
    pub fn floor(&self, initrd: &Path, disk: &Path, size: Size) -> Subject {
        let boot = Boot::Kernel {
            kernel: self.kernel.clone(),
            initrd: initrd.to_path_buf(),
            append: self.append.clone(),
        };
        let ways = vec![("power-on-kernel", start(boot, false, Some(disk), size))];
        Subject { name: FLOOR.to_owned(), ways, ready: None }
    }
}

/// Returns the arguments of the first `append` line.
fn append(menu: &str) -> Option<String> {
    let line = menu.lines().map(str::trim).find_map(|line| line.strip_prefix("append "))?;
    let words = line.split_whitespace().filter(|word| !word.starts_with("initrd="));
    Some(words.collect::<Vec<_>>().join(" "))
}

/// Returns the peer as a subject.
#[must_use]
pub fn of_peer(peer: &Peer, size: Size) -> Subject {
    let direct = Boot::Kernel {
        kernel: peer.kernel.clone(),
        initrd: peer.initrd.clone(),
        append: peer::APPEND.to_owned(),
    };
    let disk = Boot::Disk(peer.disk.clone(), Bus::Virtio);
    Subject {
        name: PEER.to_owned(),
        ways: vec![
            ("power-on-kernel", start(direct, false, Some(&peer.disk), size)),
            ("power-on-disk", start(disk, false, None, size)),
        ],
        ready: None,
    }
}

/// Returns the way to start a machine whose writes are forgotten.
#[must_use]
pub fn start(boot: Boot, is_uefi: bool, disk: Option<&Path>, size: Size) -> Start {
    let Size { memory_mib, cpus } = size;
    Start {
        boot,
        is_uefi,
        disk: disk.map(Path::to_path_buf),
        is_counted: false,
        keeps_writes: false,
        memory_mib,
        cpus,
    }
}

/// How far a disk has come before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it was made: the next boot is the first one.
    New,
    /// Booted once, so that first-boot work is done, and holding the image for containers.
    Settled,
}

impl State {
    /// Returns a name for folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Settled => "settled",
        }
    }

    /// Brings the new disk of `subject` into this state.
    ///
    /// # Errors
    /// When the system does not come up, cannot load the image, or does not end in order.
    pub fn reach(self, lab: &Lab, subject: &Subject) -> Result<()> {
        if self == Self::New {
            return Ok(());
        }
        eprintln!("bench: booting {} for the first time", subject.name);
        let start = Start { keeps_writes: true, ..subject.direct().clone() };
        let mut machine = Running::start(lab, &start)?;
        machine.event("container", Deadline::boot())?;
        machine.run_ok(&format!("docker load -q -i {IMAGE_ARCHIVE}"))?;
        machine.event("ssh", Deadline::boot())?;
        machine.power_off().map(drop)
    }
}

/// Returns a data disk for our system with the probe on it, made unless it is there.
///
/// # Errors
/// When a tool fails, or as [`State::reach`].
pub fn data_disk(
    project: &Project,
    lab: &Lab,
    ours: &Ours,
    files: &GuestFiles,
    state: State,
) -> Result<PathBuf> {
    let key = KeyBuilder::new("bench-data", 1).text(&ours.sha256).text(&files.key()).text(PROFILE).finish();
    let folder = project.target_folder(&format!("bench/data-{}", state.name()))?;
    let folder = step::latest(&folder, &key, |part| {
        let image = part.join("disk.img");
        write_data_disk(lab, files, &image)?;
        state.reach(lab, &ours.subject(&image, DEFAULT_SIZE))
    })?;
    Ok(folder.join("disk.img"))
}

fn write_data_disk(lab: &Lab, files: &GuestFiles, image: &Path) -> Result<()> {
    File::create(image)
        .and_then(|file| file.set_len(DATA_BYTES))
        .with_context(|| format!("creating {}", image.display()))?;
    let system = FileSystem { image, start: 0, length: DATA_BYTES, label: DATA_LABEL };
    system.make(lab.tools(), None)?;
    let folders = ["/var", "/var/lib", "/var/lib/boot2docker", FOLDER];
    let mut new: Vec<_> = folders.iter().map(|&path| New::Folder(path.to_owned())).collect();
    new.extend(files.list());
    new.push(New::text("/var/lib/boot2docker/profile", PROFILE));
    system.add(lab.tools(), &new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_from_the_boot_menu_without_the_initramfs() {
        let menu = "default boot2docker\nlabel boot2docker\n  kernel /boot/vmlinuz64\n  append initrd=/boot/initrd.img a=b c\n";
        assert_eq!(append(menu), Some("a=b c".to_owned()));
        assert_eq!(append("label x"), None);
    }
}
