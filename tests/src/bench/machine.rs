//! One start of a system: the machine, what the probe in it says and when, commands through the probe, power-off.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use iso_builder::qemu::{Accelerator, Boot, Bus, Disk, Firmware, Forward, Machine, Nic, Serial, accelerator};
use tempfile::TempDir;

use crate::console::Console;
use crate::qemu::Qemu;
use crate::qmp::Qmp;
use crate::{Deadline, Lab};

/// Begins each line of the probe.
const PREFIX: &str = "b2d-bench: ";

/// Where the probe takes commands.
const PROBE_PORT: u16 = 2999;

/// A loaded, emulated machine starts fifty containers in minutes.
const COMMAND: Duration = Duration::from_secs(60);

/// From the request to QEMU's end; systemd kills what does not stop after 90 s.
const POWER_OFF: Duration = Duration::from_secs(60);

/// How a system is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// What the machine starts from.
    pub boot: Boot,
    /// Whether UEFI firmware starts it.
    pub is_uefi: bool,
    /// Whether its clock counts instructions instead of running with the host's.
    pub is_counted: bool,
    /// A disk besides; nothing that is written to it stays, unless `keeps_writes`.
    pub disk: Option<PathBuf>,
    /// Whether the disk is changed for good.
    pub keeps_writes: bool,
    /// Unit: MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
}

/// A running machine.
#[derive(Debug)]
pub struct Running {
    qemu: Qemu,
    console: Console,
    started: Instant,
    told: BTreeMap<String, Told>,
    port: u16,
    _sockets: TempDir,
}

/// What the probe told of one event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Since the kernel's start, by its own clock; not a number when it did not happen. Unit: seconds.
    pub since_kernel: f64,
    /// Since power-on, when the line came out of the console, by the host's clock. Unit: seconds.
    pub since_power_on: f64,
}

/// What a command in the machine came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// By the guest's clock. Unit: seconds.
    pub seconds: f64,
    /// What it wrote.
    pub output: String,
}

impl Running {
    /// Powers the machine on. Who measures holds a slot for all of its machines, so that they need not queue.
    ///
    /// # Errors
    /// When QEMU does not start, with its words.
    pub fn start(lab: &Lab, start: &Start) -> Result<Self> {
        let sockets = tempfile::tempdir().context("creating a folder for sockets")?;
        let listen = |name: &str| {
            let path = sockets.path().join(name);
            UnixListener::bind(&path)
                .map(|socket| (socket, path))
                .with_context(|| format!("making the socket {name}"))
        };
        let (console, console_path) = listen("console")?;
        let (qmp, qmp_path) = listen("qmp")?;
        let machine = machine(lab, start, console_path, qmp_path)?;
        let snapshot: &[&str] = if start.keeps_writes { &[] } else { &["-snapshot"] };
        let started = Instant::now();
        let mut qemu = Qemu::spawn_with(lab, &machine, snapshot)?;
        let console = Console::new(qemu.accept(&console)?, &lab.folder().join("console.log"))?;
        let qmp = qemu.accept(&qmp)?;
        let mut qmp =
            Qmp::new(qmp).with_context(|| format!("starting the machine: QEMU says {:?}", qemu.words()))?;
        let port = qmp.forwarded_port(PROBE_PORT)?.context("finding the forward to the probe")?;
        let told = BTreeMap::new();
        Ok(Self { qemu, console, started, told, port, _sockets: sockets })
    }

    /// Waits until the probe has told of `event`.
    ///
    /// # Errors
    /// When it does not by the deadline, or the machine ends or panics first.
    pub fn event(&mut self, event: &str, deadline: Deadline) -> Result<Told> {
        loop {
            if let Some(told) = self.told.get(event) {
                return Ok(*told);
            }
            let line = self
                .console
                .expect_line(PREFIX, deadline)
                .with_context(|| format!("awaiting the probe's line on {event}"))?;
            let since_power_on = self.started.elapsed().as_secs_f64();
            let (name, seconds) =
                parse(&line).with_context(|| format!("reading the probe's line {line:?}"))?;
            self.told.insert(name.to_owned(), Told { since_kernel: seconds, since_power_on });
        }
    }

    /// Waits until `text` is on the console; for systems without the probe.
    ///
    /// # Errors
    /// When it does not come by the deadline, or the machine ends or panics first.
    pub fn await_text(&mut self, text: &str, deadline: Deadline) -> Result<f64> {
        self.console.await_in_this_boot(text, deadline)?;
        Ok(self.started.elapsed().as_secs_f64())
    }

    /// Runs a shell command in the machine.
    ///
    /// # Errors
    /// When the probe does not answer in time.
    pub fn run(&self, command: &str) -> Result<Answer> {
        let asking = || format!("running {command:?} in the machine");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).with_context(asking)?;
        stream.set_read_timeout(Some(Deadline::guest(COMMAND).limit())).with_context(asking)?;
        stream.write_all(format!("{command}\n").as_bytes()).with_context(asking)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(asking)?;
        parse_answer(&text).with_context(|| format!("{}: it says {text:?}", asking()))
    }

    /// As [`Running::run`], for a command that must succeed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn run_ok(&self, command: &str) -> Result<Answer> {
        let answer = self.run(command)?;
        let Answer { status, output, .. } = &answer;
        ensure!(*status == 0, "running {command:?} in the machine: exit {status}: {}", output.trim());
        Ok(answer)
    }

    /// Powers the machine off from inside, in order, and returns how long that took. Unit: seconds.
    ///
    /// # Errors
    /// When it is still running at the deadline; the text has its last lines.
    pub fn power_off(mut self) -> Result<f64> {
        let asked = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).context("asking for power-off")?;
        stream.write_all(b"poweroff\n").context("asking for power-off")?;
        let ended = self.qemu.wait(Deadline::guest(POWER_OFF));
        ended.with_context(|| {
            format!("awaiting the end of the machine; last lines:\n{}", self.console.tail())
        })?;
        Ok(asked.elapsed().as_secs_f64())
    }

    /// Returns the time since power-on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

fn machine(lab: &Lab, start: &Start, console: PathBuf, qmp: PathBuf) -> Result<Machine> {
    let disks = start.disk.iter().map(|path| Disk {
        path: path.clone(),
        bus: Bus::Virtio,
        serial: "data".into(),
        is_read_only: false,
    });
    let firmware = if start.is_uefi {
        let variables = lab.folder().join("uefi-variables.fd");
        copy(&lab.qemu_files().ovmf_variables, &variables)?;
        Firmware::Uefi { variables }
    } else {
        Firmware::Bios
    };
    Ok(Machine {
        is_bare_metal: false,
        memory_mib: start.memory_mib,
        cpus: start.cpus,
        accelerator: if start.is_counted { Accelerator::Counted } else { accelerator() },
        firmware,
        boot: start.boot.clone(),
        disks: disks.collect(),
        nics: vec![Nic {
            forwards: vec![Forward { host: 0, guest: PROBE_PORT }],
            is_isolated: true,
            ..Nic::default()
        }],
        shares: Vec::new(),
        vnc: None,
        serial: Serial::Socket(console),
        qmp: Some(qmp),
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> std::io::Result<()> { fs::write(to, fs::read(from)?) };
    copied().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Parses `api 7.123`.
fn parse(line: &str) -> Option<(&str, f64)> {
    let (name, seconds) = line.trim().split_once(' ')?;
    Some((name, seconds.parse().ok()?))
}

/// Parses `0 1.234567`, then the output.
fn parse_answer(text: &str) -> Option<Answer> {
    let (head, output) = text.split_once('\n')?;
    let (status, seconds) = head.split_once(' ')?;
    Some(Answer { status: status.parse().ok()?, seconds: seconds.parse().ok()?, output: output.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_probe_are_read() {
        assert_eq!(parse("api 7.120"), Some(("api", 7.12)));
        assert!(
            parse("container NaN").is_some_and(|(name, seconds)| name == "container" && seconds.is_nan())
        );
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn answers_have_a_status_a_time_and_the_output() {
        let expected = Answer { status: 3, seconds: 0.25, output: "a\nb\n".into() };
        assert_eq!(parse_answer("3 0.250000\na\nb\n"), Some(expected));
        assert_eq!(parse_answer(""), None);
    }
}
