//! Takes the power away at random moments and looks what is left: QEMU is killed during first format, boot,
//! `docker load`, container writes and shutdown. One boot checks what the last cut left and suffers the next one.
//!
//! What the guest has handed to its disk is there afterwards, what is in its memory is not. A disk that loses its own cache is
//! another matter and not tried here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::{DOCKER_READY, USERDATA};
use iso_builder::qemu::{Boot, Bus};

use crate::archive::docker_archive;
use crate::direct::direct;
use crate::disk::Image;
use crate::random::Random;
use crate::slot::Slot;
use crate::ssh::{Ssh, make_rsa_key};
use crate::{Deadline, Lab, Vm, foreign, userdata};

/// The log goes to the console: it tells when the formatting begins.
const APPEND: &str = "console=ttyS0 loglevel=7";
/// What the guest says when it is about to write to a disk that asks for it.
const FORMATTING: &str = "automount: formatting";
/// What the guest says when a data disk is mounted.
const MOUNTED: &str = "automount: data disk";
/// Size of the data disk.
const DISK_BYTES: u64 = 1 << 30;
/// Makes an image worth cutting into.
const FILLING_BYTES: usize = 3 << 20;
/// Cuts into one disk.
pub const ROUND_CUTS: usize = 10;
/// What the cuts into one disk fall into. The first two are into its formatting, as long as that has not come to its
/// end; another disk begins anew, so that first formats are cut, too, and checks stay short.
const ROUND: [Moment; ROUND_CUTS] = [
    Moment::Format,
    Moment::Format,
    Moment::Load,
    Moment::Boot,
    Moment::Load,
    Moment::Write,
    Moment::Load,
    Moment::Shutdown,
    Moment::Boot,
    Moment::Write,
];
/// A container that never stops writing.
const WRITER: &str = "docker rm -f writer >/dev/null 2>&1; docker run -d --name writer IMAGE /bin/busybox sh -c \
    'i=0; while :; do i=$((i+1)); busybox dd if=/dev/zero of=/data$((i%4)) bs=64k count=8 conv=fsync; done'";

/// Loads an image and waits until it is on the disk. Docker answers before: it renames its files without waiting for
/// their folder, so an image can be gone that was loaded less than ext4's commit interval, 5 s, before the cut.
const LOAD: &str = "docker load && sync";

/// What the machine does while the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It formats a disk that asks for it.
    Format,
    /// It boots from a disk in use.
    Boot,
    /// It loads an image.
    Load,
    /// A container writes.
    Write,
    /// It shuts down.
    Shutdown,
}

/// What came of the cuts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cuts made and survived, by moment.
    pub survived: BTreeMap<Moment, usize>,
    /// Images whose loading was acknowledged: each ran after the next cut, and again after the last one.
    pub images: usize,
    /// How long it took; of rounds side by side, the sum.
    pub elapsed: Duration,
}

impl Tally {
    /// Returns the number of cuts survived.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.survived.values().sum()
    }

    /// Adds what came of another round.
    pub fn add(&mut self, other: &Self) {
        for (moment, count) in &other.survived {
            *self.survived.entry(*moment).or_default() += count;
        }
        self.images += other.images;
        self.elapsed += other.elapsed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cuts, seconds) = (self.cuts(), self.elapsed.as_secs());
        write!(f, "{cuts} cuts survived, {} images acknowledged, {seconds} s", self.images)?;
        self.survived.iter().try_for_each(|(moment, count)| write!(f, "; {moment:?} {count}"))
    }
}

/// Cuts ten times into the life of one disk, in the folder of `lab`; `tell` hears of each cut.
///
/// # Errors
/// At the first cut that costs something: the text says which, and `seed` repeats it as far as timing allows.
pub fn round(lab: &Lab, slot: &Arc<Slot>, seed: u64, mut tell: impl FnMut(&str)) -> Result<Tally> {
    let started = Instant::now();
    let mut bench = Bench::new(lab, slot, seed)?;
    let mut tally = Tally::default();
    for (cut, moment) in ROUND.into_iter().enumerate() {
        let what = bench.cut(moment).with_context(|| format!("seed {seed}, cut {} ({moment:?})", cut + 1))?;
        *tally.survived.entry(moment).or_default() += 1;
        let seconds = started.elapsed().as_secs();
        tell(&format!("seed {seed}, cut {}: {moment:?}, {what} ({seconds} s)", cut + 1));
    }
    bench.last_look().with_context(|| format!("seed {seed}, looking after the last cut"))?;
    tally.images = bench.images.len();
    tally.elapsed = started.elapsed();
    Ok(tally)
}

struct Bench<'a> {
    lab: &'a Lab,
    /// Held for all machines: waiting for another at each cut would take hours on a busy host.
    slot: &'a Arc<Slot>,
    random: Random,
    boot: Boot,
    key: PathBuf,
    archive: Vec<u8>,
    disk: Image,
    foreign: Vec<(Image, String)>,
    busybox: Vec<u8>,
    /// Images on the disk that must run.
    images: Vec<String>,
    /// How many of them ran after a cut.
    seen: usize,
    /// The archive has been seen on the formatted disk.
    is_formatted: bool,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab, slot: &'a Arc<Slot>, seed: u64) -> Result<Self> {
        let key = make_rsa_key(lab.tools(), lab.folder())?;
        let archive = userdata::archive(&fs::read(key.with_extension("pub"))?)?;
        let with_hash =
            |(_, image): (&str, Image)| Ok((image.hash()?, image)).map(|(hash, image)| (image, hash));
        let foreign: Result<Vec<_>> = foreign::disks(lab)?.into_iter().take(2).map(with_hash).collect();
        let disk = Image::with_bytes(lab, "data", DISK_BYTES, &[(0, &archive)])?;
        Ok(Self {
            slot,
            random: Random::new(seed),
            boot: direct(lab, APPEND)?,
            foreign: foreign?,
            busybox: Vec::new(),
            images: Vec::new(),
            seen: 0,
            is_formatted: false,
            lab,
            key,
            archive,
            disk,
        })
    }

    /// Boots, checks what the cut before left, and cuts.
    fn cut(&mut self, moment: Moment) -> Result<String> {
        let mut vm = self.start()?;
        let what = match moment {
            Moment::Format => self.cut_into_format(&mut vm)?,
            Moment::Boot => {
                vm.console().await_in_this_boot(MOUNTED, Deadline::boot())?;
                self.pause(6000)
            }
            Moment::Load => self.cut_into_load(&mut vm)?,
            Moment::Write => {
                let ssh = self.check(&mut vm)?;
                let image = self.some_image(&ssh)?;
                ssh.run(&WRITER.replace("IMAGE", &image))?;
                self.pause(4000)
            }
            Moment::Shutdown => {
                self.check(&mut vm)?;
                vm.qmp().press_power_button()?;
                self.pause(5000)
            }
        };
        vm.cut_power();
        self.look_at_disks()?;
        Ok(what)
    }

    fn cut_into_format(&mut self, vm: &mut Vm) -> Result<String> {
        // A disk whose formatting came to its end at the last cut is mounted instead.
        let deadline = Deadline::boot();
        let console = vm.console();
        while console.await_in_this_boot(FORMATTING, Deadline::host(Duration::from_millis(200))).is_err() {
            if console.await_in_this_boot(MOUNTED, Deadline::host(Duration::from_millis(200))).is_ok() {
                return Ok("already formatted".to_owned());
            }
            ensure!(
                deadline.remaining().is_some(),
                "neither {FORMATTING:?} nor {MOUNTED:?}:\n{}",
                console.tail()
            );
        }
        Ok(self.pause(2500))
    }

    fn cut_into_load(&mut self, vm: &mut Vm) -> Result<String> {
        let ssh = self.check(vm)?;
        self.fetch_busybox(&ssh)?;
        let name = format!("cut-{}", self.random.below(1 << 30));
        let filling = self.random.bytes(FILLING_BYTES);
        let archive = docker_archive(&name, &self.busybox, &filling)?;
        let (sender, receiver) = mpsc::channel();
        // Detached: when the machine is gone, its ssh ends by itself.
        thread::spawn(move || drop(sender.send(ssh.output(LOAD, &archive))));
        let limit = Duration::from_millis(self.random.below(15_000) as u64);
        let Ok(loaded) = receiver.recv_timeout(limit) else {
            return Ok(format!("{name} in the middle after {} ms", limit.as_millis()));
        };
        let loaded = loaded?;
        ensure!(loaded.status.success(), "docker load: {}", String::from_utf8_lossy(&loaded.stderr));
        // Acknowledged: from now on it must be there whatever happens.
        self.images.push(name.clone());
        Ok(format!("{name} acknowledged"))
    }

    /// Waits for Docker, and checks that the key, and every image that was acknowledged since the last look, is there
    /// and works.
    fn check(&mut self, vm: &mut Vm) -> Result<Ssh> {
        vm.console().await_in_this_boot(DOCKER_READY, Deadline::boot())?;
        let ssh = vm.ssh_with_key(&self.key)?;
        let mounts = ssh.run("cat /proc/mounts")?;
        ensure!(mounts.contains("/dev/vda1 /mnt/vda1 ext4 rw"), "the data disk is not mounted:\n{mounts}");
        let kept = ssh.run_bytes(&format!("cat {USERDATA}"))?;
        let (is, was) = (kept.len(), self.archive.len());
        ensure!(kept == self.archive, "userdata.tar has {is} bytes instead of {was}");
        self.is_formatted = true;
        run_each(&ssh, &self.images[self.seen..])?;
        self.seen = self.images.len();
        Ok(ssh)
    }

    /// Returns an image that is there; the first of a disk is loaded for this.
    fn some_image(&mut self, ssh: &Ssh) -> Result<String> {
        if self.images.is_empty() {
            self.fetch_busybox(ssh)?;
            let name = format!("first-{}", self.random.below(1 << 30));
            let loaded = ssh.output(LOAD, &docker_archive(&name, &self.busybox, b"")?)?;
            ensure!(loaded.status.success(), "docker load: {}", String::from_utf8_lossy(&loaded.stderr));
            self.images.push(name);
        }
        Ok(self.images[0].clone())
    }

    fn fetch_busybox(&mut self, ssh: &Ssh) -> Result<()> {
        if self.busybox.is_empty() {
            self.busybox = ssh.run_bytes("cat /bin/busybox")?;
        }
        Ok(())
    }

    /// Looks at the disks from outside: a copy of the data disk is clean after the repair that the next boot does, and
    /// the others are as they were.
    fn look_at_disks(&self) -> Result<()> {
        for (image, hash) in &self.foreign {
            ensure!(image.hash()? == *hash, "{} was changed", image.path().display());
        }
        // A disk whose formatting was cut has no table yet, or one that the guest will finish.
        let Ok(data) = Image::formatted(self.disk.path()) else { return Ok(()) };
        let is_ours = data.label().is_ok_and(|label| label == b2d_sys::contract::DATA_LABEL);
        if self.is_formatted || is_ours {
            data.copy_data(&self.lab.folder().join("copy.img"))?.preen_and_check(self.lab)?;
        }
        Ok(())
    }

    /// Boots once more without a cut: nothing may have gone that was there after an earlier one.
    fn last_look(&mut self) -> Result<()> {
        let mut vm = self.start()?;
        self.seen = 0;
        self.check(&mut vm)?;
        vm.press_power_button()?;
        Image::formatted(self.disk.path())?.check(self.lab)
    }

    fn start(&self) -> Result<Vm> {
        let mut plan =
            Vm::plan(self.lab).in_slot(self.slot).boot(self.boot.clone()).disk(&self.disk, Bus::Virtio);
        for (image, _) in &self.foreign {
            plan = plan.disk(image, Bus::Virtio);
        }
        plan.start()
    }

    /// Lets a random time pass, at most `most_ms`: what is cut is a moment, not an event that could be awaited.
    fn pause(&mut self, most_ms: usize) -> String {
        let pause = Duration::from_millis(self.random.below(most_ms) as u64);
        let (_never, silence) = mpsc::channel::<()>();
        // The sender lives on, so this ends by its limit alone.
        let Err(mpsc::RecvTimeoutError::Timeout) = silence.recv_timeout(pause) else {
            unreachable!("nobody sends")
        };
        format!("after {} ms", pause.as_millis())
    }
}

/// Runs each image; it says its name.
fn run_each(ssh: &Ssh, images: &[String]) -> Result<()> {
    let run = |image| format!("docker run --rm --network none {image} && echo && ");
    let script: String = images.iter().map(run).collect();
    let expected: String = images.iter().map(|image| format!("{image}\n")).collect();
    let said = ssh.run(&format!("{script} true")).context("running what was acknowledged")?;
    ensure!(said == expected, "images say {said:?} instead of {expected:?}");
    Ok(())
}
