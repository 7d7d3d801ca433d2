//! The root's layers: those that the boot loader read, those still to be read from the boot medium, and where each is mounted
//! from in the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::effects::mapping::Mapping;
use b2d_sys::effects::mount::{MountFlags, mount};
use b2d_sys::effects::{clock, console, loopdev};

use crate::facts;
use crate::medium::{Medium, Place};
use crate::sums::{self, Sums};

/// What `b2d.root=` may say.
const VALUES: [&str; 2] = ["ram", "medium"];
/// Where layers from the medium lie in memory. A large page takes less time to be made than as many small ones.
/// Source: Linux Documentation/filesystems/tmpfs.rst.
const COPIES: &str = "/copies";
const COPIES_DATA: [&str; 2] = ["mode=0755,size=90%,huge=within_size", "mode=0755,size=90%"];
/// Less memory than this is little: Docker runs, but loads again and again what was just let go. Unit: KiB of
/// `MemTotal`.
const LITTLE_KIB: u64 = 320 << 10;
/// With `panic=` or `b2d.rescue` the boot medium is waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(60);
/// Reading that takes longer is told, and again after each such time.
const SLOW: Duration = Duration::from_secs(5);

/// The layers of the root.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
    in_memory: BTreeSet<String>,
    sums: Sums,
}

impl Layers {
    /// Reads from the initramfs' `folder` which layers there are.
    ///
    /// # Errors
    /// When it cannot be read or names no layer.
    pub fn read(folder: &Path) -> Result<Self> {
        let listing = || format!("listing the layers in {}", folder.display());
        let mut in_memory = BTreeSet::new();
        for entry in fs::read_dir(folder).with_context(listing)? {
            let name = entry.with_context(listing)?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".squashfs") {
                in_memory.insert(name);
            }
        }
        let list = folder.join(sums::FILE);
        let sums = match fs::read_to_string(&list) {
            Err(_) if !list.exists() => Sums::default(),
            text => Sums::parse(&text.with_context(listing)?)?,
        };
        ensure!(
            !in_memory.is_empty() || sums.iter().next().is_some(),
            "{}: there is no *.squashfs and no {}, so there is no root to go to",
            folder.display(),
            sums::FILE
        );
        Ok(Self { folder: folder.to_owned(), in_memory, sums })
    }

    /// Returns the medium that the layers are to be read from for good; else all of them are in memory then.
    ///
    /// # Errors
    /// When a layer is nowhere else, and the medium cannot be read or is damaged.
    pub fn medium(&self) -> Result<Option<Medium>> {
        let line = KernelCmdline::read(Path::new("/")).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            KernelCmdline::parse("")
        });
        let option = line.get("b2d.root");
        if let Some(other) = option.filter(|value| !VALUES.contains(value)) {
            say(&format!("b2d.root={other}: allowed are {}; programs stay in memory", VALUES.join(", ")));
        }
        let is_wanted = is_wanted(option, facts::memory_kib(Path::new("/")));
        let Some((name, _)) = self.missing().next() else {
            return Ok(if is_wanted { self.medium_if_it_can_be(option.is_some()) } else { None });
        };
        let has_some = self.sums.iter().any(|(name, _)| self.in_memory.contains(name));
        ensure!(!has_some, "the initramfs is cut off: {name} is missing in it");
        // Whoever set one of these wants a machine that does not wait for ever.
        let patience = (line.get("panic").is_some() || line.has("b2d.rescue")).then_some(PATIENCE);
        let medium = self.undamaged_medium(is_wanted, patience)?;
        log::info!("booted from {}", medium.device.display());
        Ok(is_wanted.then_some(medium))
    }

    /// Waits for the medium and has its layers checked, and copied into memory unless they `stay` there. One that is damaged is
    /// told, and another waited for.
    fn undamaged_medium(&self, stay: bool, patience: Option<Duration>) -> Result<Medium> {
        if !stay {
            mount_copies()?;
        }
        let (mut refused, mut damage) = (Vec::new(), None);
        loop {
            let found = Medium::wait_for(&self.sums, &refused, patience, say_that_it_is_missing);
            let medium = match (found, damage.take()) {
                (Ok(medium), _) => medium,
                (Err(_), Some(damage)) => return Err(damage),
                (Err(error), None) => return Err(error),
            };
            let Err(error) = (if stay { self.check(&medium) } else { self.fetch(&medium)? }) else {
                return Ok(medium);
            };
            say(&format!("{error:#}"));
            damage = Some(error);
            refused.push(medium.device);
        }
    }

    /// Mounts every layer below a folder of its own in `target`, and returns where, the lowest first. A layer on the
    /// medium takes no memory any more.
    ///
    /// # Errors
    /// When a layer cannot be mounted.
    pub fn mount(&self, medium: Option<&Medium>, target: &Path) -> Result<Vec<String>> {
        let listed = self.sums.iter().map(|(name, _)| name.to_owned());
        let names: BTreeSet<String> = listed.chain(self.in_memory.iter().cloned()).collect();
        names.iter().map(|name| self.mount_one(name, medium, &target.join(name))).collect()
    }

    fn mount_one(&self, name: &str, medium: Option<&Medium>, target: &Path) -> Result<String> {
        fs::create_dir(target).with_context(|| format!("making {}", target.display()))?;
        let in_initramfs = self.in_memory.contains(name);
        let in_memory = if in_initramfs { self.folder.join(name) } else { Path::new(COPIES).join(name) };
        // What was not on the ISO, but came from the boot loader, is in memory alone.
        let medium = medium.filter(|_| self.sums.of(name).is_some());
        let (device, _keep_until_mounted) = match medium {
            Some(medium) => medium.attach(name)?,
            None => loopdev::attach_read_only(Path::new("/dev"), &in_memory)?,
        };
        mount(&device.to_string_lossy(), target, "squashfs", MountFlags::RDONLY, "")?;
        if medium.is_some() && in_initramfs {
            fs::remove_file(&in_memory).with_context(|| format!("removing {}", in_memory.display()))?;
        }
        Ok(target.to_string_lossy().into_owned())
    }

    /// Returns the layers that the boot loader left on the medium, with their checksums.
    fn missing(&self) -> impl Iterator<Item = (&str, u64)> {
        self.sums.iter().filter(|(name, _)| !self.in_memory.contains(*name))
    }

    /// Copies the missing layers into memory; returns what is wrong with the medium, if so.
    ///
    /// # Errors
    /// When memory has no room: another medium would not help.
    fn fetch(&self, medium: &Medium) -> Result<Result<()>> {
        let mut progress = Progress::new(medium);
        for (name, sum) in self.missing() {
            let path = Path::new(COPIES).join(name);
            // It may be here already from a medium with another layer damaged.
            if path.exists() {
                continue;
            }
            let Place { size, .. } = match medium.place(name) {
                Ok(place) => place,
                Err(error) => return Ok(Err(error)),
            };
            let mut copy = Mapping::create(&path, size)?;
            if let Err(error) =
                medium.read(name, sum, Some(&mut copy), |done, size| progress.tell(name, done, size))
            {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Checks all layers on the medium.
    fn check(&self, medium: &Medium) -> Result<()> {
        let mut progress = Progress::new(medium);
        self.sums.iter().try_for_each(|(name, sum)| {
            medium.read(name, sum, None, |done, size| progress.tell(name, done, size))
        })
    }

    /// Returns the medium if it is here and not damaged; people are told if not and they `asked`.
    fn medium_if_it_can_be(&self, asked: bool) -> Option<Medium> {
        let Some(medium) = Medium::find(&self.sums, &[]) else {
            let line =
                "the ISO that was booted is on no disk that is here by now: its programs stay in memory";
            if asked {
                say(line)
            } else {
                log::info!("{line}")
            }
            return None;
        };
        match self.check(&medium) {
            Ok(()) => Some(medium),
            Err(error) => {
                say(&format!("{error:#}; programs stay in memory"));
                None
            }
        }
    }
}

/// Mounts the place for copies; a kernel without large pages has none there.
fn mount_copies() -> Result<()> {
    fs::create_dir_all(COPIES).with_context(|| format!("making {COPIES}"))?;
    let [large, small] = COPIES_DATA
        .map(|data| move || mount("copies", Path::new(COPIES), "tmpfs", MountFlags::empty(), data));
    large().or_else(|error| {
        log::debug!("{error:#}; small pages will do");
        small()
    })
}

/// Tells people how far a slow medium is read.
struct Progress<'a> {
    medium: &'a Medium,
    told: Duration,
}

impl<'a> Progress<'a> {
    fn new(medium: &'a Medium) -> Self {
        Self { medium, told: clock::since_kernel_start() }
    }

    fn tell(&mut self, name: &str, done: u64, size: u64) {
        if clock::since_kernel_start() >= self.told + SLOW {
            self.told = clock::since_kernel_start();
            let device = self.medium.device.display();
            say(&format!("reading {name} from {device}: {} of {} MiB", done >> 20, size >> 20));
        }
    }
}

/// Tells people on the consoles.
pub fn say(line: &str) {
    log::warn!("{line}");
    console::say(&[line.to_owned()]);
}

/// Tells whether the layers are to be read from the medium for good: as `b2d.root` says, else if there is little memory.
fn is_wanted(option: Option<&str>, memory_kib: Option<u64>) -> bool {
    match option {
        Some("medium") => true,
        Some(_) => false,
        None => memory_kib.is_some_and(|kib| kib < LITTLE_KIB),
    }
}

fn say_that_it_is_missing(devices: &[PathBuf]) {
    let names: Vec<_> = devices.iter().map(|device| device.display().to_string()).collect();
    let seen = if names.is_empty() { "no disk at all".to_owned() } else { names.join(", ") };
    say(&format!("waiting for the CD, stick or disk that was booted: the kernel sees {seen}"));
    say(
        "if the firmware alone can read it (Ventoy, iPXE, memdisk): with BIOS hold Shift while the machine starts and type all, with UEFI hold Esc and choose it",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the layers of a folder with these files.
    fn layers(files: &[(&str, &str)]) -> Result<Layers> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Layers::read(folder.path())
    }

    const SUMS: &str = "0000000000000001  10-base.squashfs\n0000000000000002  50-own.squashfs\n";

    #[test]
    fn what_the_list_names_and_memory_lacks_is_missing() {
        let base = ("10-base.squashfs", "");
        for (files, in_memory, missing) in [
            (vec![base, ("readme", "")], vec!["10-base.squashfs"], vec![]),
            (vec![base, (sums::FILE, SUMS)], vec!["10-base.squashfs"], vec![("50-own.squashfs", 2)]),
            (vec![(sums::FILE, SUMS)], vec![], vec![("10-base.squashfs", 1), ("50-own.squashfs", 2)]),
        ] {
            let layers = layers(&files).unwrap();
            assert_eq!(layers.in_memory.iter().collect::<Vec<_>>(), in_memory, "{files:?}");
            assert_eq!(layers.missing().collect::<Vec<_>>(), missing, "{files:?}");
        }
    }

    #[test]
    fn an_initramfs_without_layers_is_told_in_words() {
        for files in [&[][..], &[("readme", "")], &[(sums::FILE, "")]] {
            let error = layers(files).unwrap_err().to_string();
            let expected = "there is no *.squashfs and no xxh64sums, so there is no root to go to";
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn little_memory_and_the_option_decide() {
        for (option, memory, expected) in [
            (None, Some(250 << 10), true),
            (None, Some(480 << 10), false),
            (None, None, false),
            (Some("medium"), Some(4 << 20), true),
            (Some("ram"), Some(250 << 10), false),
        ] {
            assert_eq!(is_wanted(option, memory), expected, "{option:?} {memory:?}");
        }
    }
}
