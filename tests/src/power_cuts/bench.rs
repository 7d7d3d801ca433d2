//! A disk, the machines that boot from it one after the other, and what must be on it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use b2d_sys::contract::{DATA_LABEL, DOCKER_READY, USERDATA};
use iso_builder::qemu::{Boot, Bus};

use super::Moment;
use super::requests::{Kept, Requests};
use crate::archive::sha256;
use crate::console::Console;
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
/// Disks of other people beside it.
const FOREIGN: usize = 2;

/// Most milliseconds from an event to the cut: the time that what is cut takes on a machine with nothing else to do.
const FORMAT_MS: usize = 2500;
const BOOT_MS: usize = 6000;
const REQUESTS_MS: usize = 12_000;
const WRITE_MS: usize = 4000;
const SHUTDOWN_MS: usize = 5000;
/// The same for cuts that wait for Docker's answer: long before ext4 would write its journal by itself, after 5 s.
const AFTER_ANSWER_MS: usize = 2000;

/// Longer than any answer takes: ssh has a limit of its own.
const NO_LIMIT_MS: usize = 3_600_000;

/// Says 1 if the data disk is mounted.
const IS_MOUNTED: &str = "grep -c '^/dev/vda1 /mnt/vda1 ext4 rw' /proc/mounts";
/// A container that never stops writing.
const WRITER: &str = "{ docker rm -f writer >/dev/null 2>&1; docker run -d --name writer IMAGE /bin/busybox sh -c \
    'i=0; while :; do i=$((i+1)); busybox dd if=/dev/zero of=/data$((i%4)) bs=64k count=8 conv=fsync; done'; }";

/// All of that.
pub struct Bench<'a> {
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
    pub kept: Vec<Kept>,
    /// How many of them ran after a cut.
    seen: usize,
    /// Cuts at most [`AFTER_ANSWER_MS`] after Docker's last answer.
    pub right_after: usize,
    /// The archive has been seen on the formatted disk.
    is_formatted: bool,
}

impl<'a> Bench<'a> {
    /// Makes the disks.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn new(lab: &'a Lab, slot: &'a Arc<Slot>, seed: u64) -> Result<Self> {
        let key = make_rsa_key(lab.tools(), lab.folder())?;
        let archive = userdata::archive(&fs::read(key.with_extension("pub"))?)?;
        let with_hash =
            |(_, image): (&str, Image)| Ok((image.hash()?, image)).map(|(hash, image)| (image, hash));
        let foreign: Result<Vec<_>> = foreign::disks(lab)?.into_iter().take(FOREIGN).map(with_hash).collect();
        let disk = Image::with_bytes(lab, "data", DISK_BYTES, &[(0, &archive)])?;
        Ok(Self {
            slot,
            random: Random::new(seed),
            boot: direct(lab, APPEND)?,
            foreign: foreign?,
            busybox: Vec::new(),
            kept: Vec::new(),
            seen: 0,
            right_after: 0,
            is_formatted: false,
            lab,
            key,
            archive,
            disk,
        })
    }

    /// Boots, checks what the cuts before have left if Docker starts this time, and cuts. Returns what it has cut into:
    /// there may be nothing left to format.
    ///
    /// # Errors
    /// When something was lost.
    pub fn cut(&mut self, wanted: Moment) -> Result<(Moment, String)> {
        let mut vm = self.start()?;
        let moment = if wanted == Moment::Format { await_format(vm.console())? } else { wanted };
        let what = match moment {
            Moment::Format => self.pause(FORMAT_MS),
            Moment::Boot => {
                vm.console().await_in_this_boot(MOUNTED, Deadline::boot())?;
                self.pause(BOOT_MS)
            }
            Moment::Load => return Ok((moment, self.cut_into_requests(vm)?)),
            Moment::Write => {
                self.start_writer(&mut vm)?;
                self.pause(WRITE_MS)
            }
            Moment::Shutdown => {
                vm.console().await_in_this_boot(DOCKER_READY, Deadline::boot())?;
                vm.qmp().press_power_button()?;
                self.pause(SHUTDOWN_MS)
            }
        };
        vm.cut_power();
        self.look_at_disks()?;
        Ok((moment, what))
    }

    /// Every second cut waits for Docker's last answer, and comes soon after it.
    fn cut_into_requests(&mut self, mut vm: Vm) -> Result<String> {
        let ssh = self.fetch_busybox(&mut vm)?;
        let requests = match self.kept.as_slice() {
            [] => Requests::first(&mut self.random, &self.busybox)?,
            kept => Requests::two(&mut self.random, &self.busybox, kept)?,
        };
        let (script, archives) = requests.command()?;
        let (sender, answer) = mpsc::channel();
        // When the machine is gone, its ssh ends by itself, and tells what it was told.
        thread::spawn(move || drop(sender.send(ssh.output(&script, &archives))));
        let most_ms = if self.random.below(2) == 0 { NO_LIMIT_MS } else { self.random.below(REQUESTS_MS) };
        let (output, when) = match answer.recv_timeout(Duration::from_millis(most_ms as u64)) {
            // All of it was answered, or the connection has failed.
            Ok(output) => {
                let output = output?;
                let when = self.pause(AFTER_ANSWER_MS);
                vm.cut_power();
                ensure!(
                    output.status.success(),
                    "docker: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                self.right_after += 1;
                (output, format!("{when} of the last answer"))
            }
            Err(_) => {
                vm.cut_power();
                let output = answer.recv().context("waiting for the end of ssh")??;
                (output, format!("after {most_ms} ms of the requests"))
            }
        };
        let kept = requests.acknowledged(&output)?;
        let names: Vec<_> = kept.iter().map(|image| image.name.as_str()).collect();
        self.kept.extend_from_slice(kept);
        self.look_at_disks()?;
        Ok(format!("{when}, acknowledged: {names:?}"))
    }

    /// Waits for Docker, and checks that the key, and every image that was acknowledged since the last look, is there
    /// and works. Then runs `more`, over the same connection, as each costs an emulated guest a second; returns what that says.
    fn check(&mut self, vm: &mut Vm, more: &str) -> Result<(Ssh, Vec<u8>)> {
        vm.console().await_in_this_boot(DOCKER_READY, Deadline::boot())?;
        let ssh = vm.ssh_with_key(&self.key)?;
        let images = &self.kept[self.seen..];
        let runs = images.iter().map(|image| format!("docker run --rm --network none {} && ", image.name));
        let script = format!("{IS_MOUNTED}; sha256sum < {USERDATA} && {}{more}", runs.collect::<String>());
        let mut said = ssh.run_bytes(&script).context("looking for what was acknowledged")?;
        let says: String = images.iter().map(|image| format!("{}\n", image.says)).collect();
        let expected = format!("1\n{}  -\n{says}", sha256(&self.archive));
        let is_there = said.starts_with(expected.as_bytes());
        ensure!(is_there, "the guest says {:?} instead of {expected:?}", String::from_utf8_lossy(&said));
        self.is_formatted = true;
        self.seen = self.kept.len();
        Ok((ssh, said.split_off(expected.len())))
    }

    /// Starts a container that writes, of the first image that is there; if there is none, one is loaded.
    fn start_writer(&mut self, vm: &mut Vm) -> Result<()> {
        let writer = |image: &Kept| WRITER.replace("IMAGE", &image.name);
        if let Some(image) = self.kept.first() {
            let script = writer(image);
            return self.check(vm, &script).map(drop);
        }
        let ssh = self.fetch_busybox(vm)?;
        let requests = Requests::first(&mut self.random, &self.busybox)?;
        let (script, archives) = requests.command()?;
        let output = ssh.output(&script, &archives)?;
        self.kept.extend_from_slice(requests.acknowledged(&output)?);
        ssh.run(&writer(self.kept.first().context("the connection was lost")?)).map(drop)
    }

    /// Checks, and takes the guest's `busybox` along if it is not there yet.
    fn fetch_busybox(&mut self, vm: &mut Vm) -> Result<Ssh> {
        let is_there = !self.busybox.is_empty();
        let (ssh, bytes) = self.check(vm, if is_there { "true" } else { "cat /bin/busybox" })?;
        if !is_there {
            self.busybox = bytes;
        }
        Ok(ssh)
    }

    /// Looks at the disks from outside: a copy of the data disk is clean after the repair that the next boot does, and
    /// the others are as they were.
    fn look_at_disks(&self) -> Result<()> {
        for (image, hash) in &self.foreign {
            ensure!(image.hash()? == *hash, "{} was changed", image.path().display());
        }
        // A disk whose formatting was cut has no table yet, or one that the guest will finish.
        let Ok(data) = Image::formatted(self.disk.path()) else {
            ensure!(!self.is_formatted, "{} has no table any more", self.disk.path().display());
            return Ok(());
        };
        let is_ours = data.label().is_ok_and(|label| label == DATA_LABEL);
        if self.is_formatted || is_ours {
            data.copy_data(&self.lab.folder().join("copy.img"))?.preen_and_check(self.lab)?;
        }
        Ok(())
    }

    /// Boots once more without a cut: nothing may have gone that was there after an earlier one.
    ///
    /// # Errors
    /// When something was lost.
    pub fn last_look(&mut self) -> Result<()> {
        let mut vm = self.start()?;
        self.seen = 0;
        self.check(&mut vm, "true")?;
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

    /// Lets a random time pass, less than `most_ms`: what is cut is a moment, not an event that could be awaited.
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

/// Waits for the formatting. A disk whose formatting came to its end at the last cut is mounted instead.
fn await_format(console: &mut Console) -> Result<Moment> {
    let deadline = Deadline::boot();
    let glance = || Deadline::host(Duration::from_millis(200));
    while deadline.remaining().is_some() {
        if console.await_in_this_boot(FORMATTING, glance()).is_ok() {
            return Ok(Moment::Format);
        }
        if console.await_in_this_boot(MOUNTED, glance()).is_ok() {
            return Ok(Moment::Boot);
        }
    }
    bail!("neither {FORMATTING:?} nor {MOUNTED:?}:\n{}", console.tail())
}
