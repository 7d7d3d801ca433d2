//! A virtual machine that runs the ISO, and dies with the test.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use b2d_sys::contract::{CLEAN_END, DOCKER_READY, DOCKER_TLS_PORT, SHUT_DOWN, SSH_READY};
use iso_builder::qemu::{
    Accelerator, Boot, Bus, Disk, Firmware, Forward, Machine, Nic, NicModel, Serial, accelerator,
};
use serde_json::json;
use tempfile::TempDir;

use crate::console::Console;
use crate::disk::Image;
use crate::docker::{Certificates, Docker};
use crate::qemu::Qemu;
use crate::qmp::Qmp;
use crate::second_console::SecondConsole;
use crate::slot::{SLOTS, Slot};
use crate::ssh::Ssh;
use crate::{Deadline, Lab};

/// Port of sshd in the guest.
const SSH_PORT: u16 = 22;

/// Memory of a machine unless a test says otherwise. Unit: MiB.
const MEMORY_MIB: u32 = 2048;

/// Virtual CPUs of a machine, where the host has processors enough for all machines side by side. More than it has cost
/// a quarter of the time: they wait for each other while they wait for a processor.
const CPUS: u32 = 2;

/// VirtualBox's usual host-only network.
const HOST_ONLY_NETWORK: &str = "192.168.99.0/24";

/// What a guest that did not end in order is asked for last; it goes to `guest.log` in the test's folder. A serial port is
/// slow, and a log may be one line of many megabytes.
const LAST_WORDS: &str = "sudo tail -c 20000 /boot.log /var/log/*.log /var/lib/boot2docker/log/*; \
    ps; cat /proc/mounts; df; ip addr; ss -tln";

/// How boot2docker-cli fetches the client's certificates.
const FETCH_CERTIFICATES: &str = "tar c /home/docker/.docker/*.pem";

/// A machine that has not been started.
#[derive(Debug)]
pub struct VmPlan {
    lab: Lab,
    machine: Machine,
    is_uefi: bool,
    second_console: Option<SecondConsole>,
    slot: Option<Arc<Slot>>,
}

impl VmPlan {
    /// Lets UEFI firmware start it.
    #[must_use]
    pub fn uefi(mut self) -> Self {
        self.is_uefi = true;
        self
    }

    /// Boots it from something else than a CD.
    #[must_use]
    pub fn boot(mut self, boot: Boot) -> Self {
        self.machine.boot = boot;
        self
    }

    /// Boots it from the ISO written to a disk.
    #[must_use]
    pub fn boot_from_disk(self, bus: Bus) -> Self {
        let iso = self.lab.iso();
        self.boot(Boot::Disk(iso, bus))
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk(self, image: &Image, bus: Bus) -> Self {
        self.attach(image, bus, false)
    }

    /// Adds a disk that refuses writes.
    #[must_use]
    pub fn read_only_disk(self, image: &Image, bus: Bus) -> Self {
        self.attach(image, bus, true)
    }

    fn attach(mut self, image: &Image, bus: Bus, is_read_only: bool) -> Self {
        let serial = format!("b2d-{}", self.machine.disks.len());
        self.machine.disks.push(Disk { path: image.path().to_path_buf(), bus, serial, is_read_only });
        self
    }

    /// Runs it in a slot that is held already, for many machines one after the other.
    #[must_use]
    pub fn in_slot(mut self, slot: &Arc<Slot>) -> Self {
        self.slot = Some(Arc::clone(slot));
        self
    }

    /// Gives it that much memory. Unit: MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.machine.memory_mib = memory_mib;
        self
    }

    /// Gives it several processors, however few the host has.
    #[must_use]
    pub fn with_several_cpus(mut self) -> Self {
        self.machine.cpus = CPUS;
        self
    }

    /// Lets the processor look like a PC's.
    #[must_use]
    pub fn bare_metal(mut self) -> Self {
        self.machine.is_bare_metal = true;
        self
    }

    /// Makes the first network card lead to the guest's TCP port `guest` as well.
    #[must_use]
    pub fn forward(mut self, guest: u16) -> Self {
        self.machine.nics[0].forwards.push(Forward { host: 0, guest });
        self
    }

    /// Gives it the cards that Docker Machine gives a VirtualBox machine: NAT with the forwards, and host-only.
    #[must_use]
    pub fn with_host_only_network(mut self) -> Self {
        let network = Some(HOST_ONLY_NETWORK.to_owned());
        self.machine.nics.push(Nic { network, is_isolated: true, ..Nic::default() });
        for nic in &mut self.machine.nics {
            nic.model = NicModel::E1000;
        }
        self
    }

    /// Adds a network card.
    #[must_use]
    pub fn nic(mut self, nic: Nic) -> Self {
        self.machine.nics.push(nic);
        self
    }

    /// Gives it a second console besides the serial port.
    #[must_use]
    pub fn with_second_console(mut self, kind: SecondConsole) -> Self {
        self.second_console = Some(kind);
        self
    }

    /// Lets its clock go by the work it does, where that is emulated: a busy host makes nothing take longer then.
    #[must_use]
    pub fn counted(mut self) -> Self {
        if self.machine.accelerator == Accelerator::Tcg {
            self.machine.accelerator = Accelerator::Counted;
        }
        self
    }

    /// Takes all network cards out.
    #[must_use]
    pub fn without_nic(mut self) -> Self {
        self.machine.nics.clear();
        self
    }

    /// Starts it once a slot is free.
    ///
    /// # Errors
    /// When QEMU does not start, with its words.
    pub fn start(self) -> Result<Vm> {
        let slot = match self.slot {
            Some(slot) => slot,
            None => Arc::new(Slot::acquire(&self.lab.slots())?),
        };
        // A socket's path has 108 bytes at most; a checkout may lie deeper.
        let sockets = tempfile::tempdir().context("creating a folder for sockets")?;
        let listen = |name: &str| {
            let path = sockets.path().join(name);
            UnixListener::bind(&path)
                .map(|socket| (socket, path))
                .with_context(|| format!("making the socket {name}"))
        };
        let (console, console_path) = listen("console")?;
        let (qmp, qmp_path) = listen("qmp")?;
        let (second, second_path) = listen("second-console")?;
        let mut machine =
            Machine { serial: Serial::Socket(console_path), qmp: Some(qmp_path), ..self.machine };
        if self.is_uefi {
            machine.firmware = Firmware::Uefi { variables: copy_variables(&self.lab)? };
        }
        let more = self.second_console.map(|kind| kind.argv(&second_path)).unwrap_or_default();
        let mut qemu = Qemu::spawn_with(&self.lab, &machine, &more)?;
        let console = Console::new(qemu.accept(&console)?, &self.lab.folder().join("console.log"))?;
        let qmp = qemu.accept(&qmp)?;
        let qmp =
            Qmp::new(qmp).with_context(|| format!("starting the machine: QEMU says {:?}", qemu.words()))?;
        let log = self.lab.folder().join("second-console.log");
        let second = self.second_console.map(|_| qemu.accept(&second)).transpose()?;
        let second_console = second.map(|stream| Console::new(stream, &log)).transpose()?;
        Ok(Vm {
            qemu,
            console,
            second_console,
            qmp,
            lab: self.lab,
            has_ended: false,
            _slot: slot,
            _sockets: sockets,
        })
    }
}

/// A running machine.
#[derive(Debug)]
pub struct Vm {
    qemu: Qemu,
    console: Console,
    second_console: Option<Console>,
    qmp: Qmp,
    lab: Lab,
    has_ended: bool,
    _slot: Arc<Slot>,
    _sockets: TempDir,
}

impl Vm {
    /// Plans a machine for the test of this `lab`: BIOS, the ISO as CD, no disk, one card cut off from the world.
    #[must_use]
    pub fn plan(lab: &Lab) -> VmPlan {
        let forwards = [SSH_PORT, DOCKER_TLS_PORT].map(|guest| Forward { host: 0, guest });
        let machine = Machine {
            memory_mib: MEMORY_MIB,
            cpus: cpus(),
            accelerator: accelerator(),
            is_bare_metal: false,
            firmware: Firmware::Bios,
            boot: Boot::Cd(lab.iso()),
            disks: Vec::new(),
            nics: vec![Nic { forwards: forwards.into(), is_isolated: true, ..Nic::default() }],
            shares: Vec::new(),
            vnc: None,
            serial: Serial::Stdio,
            qmp: None,
        };
        VmPlan { lab: lab.clone(), machine, is_uefi: false, second_console: None, slot: None }
    }

    /// Returns the serial console.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Returns the second console of a machine that was planned with one.
    pub fn second_console(&mut self) -> &mut Console {
        self.second_console.as_mut().expect("the plan has a second console")
    }

    /// Returns QEMU's control connection.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Waits until sshd listens, and returns the way to it.
    ///
    /// # Errors
    /// When this boot does not get there in time.
    pub fn ssh(&mut self) -> Result<Ssh> {
        self.console.await_in_this_boot(SSH_READY, Deadline::boot())?;
        let port = self.port(SSH_PORT)?;
        Ssh::with_password(self.lab.tools(), port, self.lab.folder())
    }

    /// Waits until sshd listens, and returns the way to it with `key`.
    ///
    /// # Errors
    /// When this boot does not get there in time.
    pub fn ssh_with_key(&mut self, key: &Path) -> Result<Ssh> {
        self.console.await_in_this_boot(SSH_READY, Deadline::boot())?;
        let port = self.port(SSH_PORT)?;
        Ok(Ssh::with_rsa_key(self.lab.tools(), port, key))
    }

    /// Waits until Docker answers in the guest.
    ///
    /// # Errors
    /// When this boot does not get there in time.
    pub fn await_docker(&mut self) -> Result<()> {
        Ok(self.console.await_in_this_boot(DOCKER_READY, Deadline::boot())?)
    }

    /// Waits until Docker answers in the guest, and returns the way to it from the host.
    ///
    /// # Errors
    /// When this boot does not get there in time, or the certificates cannot be fetched.
    pub fn docker(&mut self) -> Result<Docker> {
        self.await_docker()?;
        let archive = self.ssh()?.run_bytes(FETCH_CERTIFICATES)?;
        Docker::new(self.port(DOCKER_TLS_PORT)?, &Certificates::from_tar(&archive)?)
    }

    /// Returns the port of 127.0.0.1 that leads to the guest's TCP port `guest`.
    ///
    /// # Errors
    /// When nothing leads there.
    pub fn port(&mut self, guest: u16) -> Result<u16> {
        self.qmp
            .forwarded_port(guest)?
            .with_context(|| format!("finding the forward to port {guest} of the guest"))
    }

    /// Reboots it from inside and waits until sshd listens again.
    ///
    /// # Errors
    /// When it does not go down in order or does not come up in time.
    pub fn reboot(&mut self) -> Result<()> {
        let ssh = self.ssh()?;
        self.console.forget_this_boot();
        // The connection may end before the answer.
        ssh.output("sudo reboot", b"")?;
        self.console.await_in_this_boot(CLEAN_END, Deadline::power_off())?;
        self.console.forget_this_boot();
        self.ssh().map(drop)
    }

    /// Waits until the guest has gone down in order to start again, and returns how long that took it by its own words.
    /// What the console has said before must have been forgotten.
    ///
    /// # Errors
    /// When it does not go down in time, or not in order.
    pub fn await_restart(&mut self) -> Result<f32> {
        self.console.expect_line(CLEAN_END, Deadline::power_off())?;
        self.console.expect(SHUT_DOWN, Deadline::power_off())?;
        let took = self.console.expect(" s", Deadline::power_off())?;
        self.console.forget_this_boot();
        took.parse().with_context(|| format!("reading {took:?} as a number of seconds"))
    }

    /// Presses the power button and waits until the machine has ended in order.
    ///
    /// # Errors
    /// When it does not end in time, or without the guest's last word on its file systems.
    pub fn press_power_button(mut self) -> Result<()> {
        self.qmp.press_power_button()?;
        self.await_end()
    }

    /// Waits until the machine has ended in order, by whatever was asked of it before.
    ///
    /// # Errors
    /// When it does not end in time, or without the guest's last word on its file systems.
    pub fn await_end(mut self) -> Result<()> {
        let deadline = Deadline::power_off();
        self.console.expect_line(CLEAN_END, deadline)?;
        let Ok(status) = self.qemu.wait(deadline) else {
            bail!(
                "awaiting the end of the machine: still running after {:.1?}; last lines:\n{}\nfull log: {}",
                deadline.elapsed(),
                self.console.tail(),
                self.console.log().display()
            );
        };
        ensure!(status.success(), "awaiting the end of the machine: QEMU ended with {status}");
        self.has_ended = true;
        Ok(())
    }

    /// Takes the power away, and with it the machine.
    pub fn cut_power(mut self) {
        self.has_ended = true;
    }

    /// Pulls the plug of the disk that was added as number `index`, counted from 0.
    ///
    /// # Errors
    /// When QEMU refuses: its controller knows no such thing.
    pub fn unplug_disk(&mut self, index: usize) -> Result<()> {
        self.qmp.execute("device_del", json!({ "id": format!("b2d-{index}") })).map(drop)
    }

    /// Asks a guest in which a test has failed for its logs, on the console: its network may be what failed.
    fn last_words(&mut self) -> Result<()> {
        self.console.await_in_this_boot(SSH_READY, Deadline::host(Duration::ZERO))?;
        let (words, _) = self.console.run(LAST_WORDS, Deadline::reply())?;
        Ok(fs::write(self.lab.folder().join("guest.log"), words)?)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Some(end) = self.qemu.own_end().filter(|_| !self.has_ended) {
            eprintln!("{end}");
            return;
        }
        if !self.has_ended {
            // The test has its own error to show; a guest without sshd has said what it could on its console.
            drop(self.last_words());
        }
    }
}

/// Returns the virtual CPUs of a machine for which a test does not ask for several.
fn cpus() -> u32 {
    let share = std::thread::available_parallelism().map_or(1, usize::from) / SLOTS;
    u32::try_from(share).unwrap_or(CPUS).clamp(1, CPUS)
}

fn copy_variables(lab: &Lab) -> Result<PathBuf> {
    let from = lab.qemu_files().ovmf_variables;
    let to = lab.folder().join("uefi-variables.fd");
    let copied = |from: &Path, to: &Path| -> std::io::Result<()> { fs::write(to, fs::read(from)?) };
    copied(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(to)
}
