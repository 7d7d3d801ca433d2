//! QEMU's process: it connects to sockets that the test listens on, and is killed with its owner.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use iso_builder::qemu::Machine;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{Deadline, Lab, child};

/// QEMU opens its connections before it does anything slow.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// The process; it is killed when dropped.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    /// Ends `child` when this process is gone, however it went: the pipe between them closes then.
    watch: Child,
    /// What QEMU itself says.
    log: PathBuf,
}

impl Qemu {
    /// Starts QEMU as `machine`.
    ///
    /// # Errors
    /// When the tools tree has none.
    pub fn spawn(lab: &Lab, machine: &Machine) -> Result<Self> {
        Self::spawn_with(lab, machine, &[""; 0])
    }

    /// As [`Qemu::spawn`], with `more` arguments.
    ///
    /// # Errors
    /// As [`Qemu::spawn`].
    pub fn spawn_with(lab: &Lab, machine: &Machine, more: &[impl AsRef<OsStr>]) -> Result<Self> {
        let log = lab.folder().join("qemu.log");
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut child = lab
            .tools()
            .program("qemu-system-x86_64")
            .args(machine.argv(&lab.qemu_files()))
            .args(more)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting qemu-system-x86_64 from the tools tree")?;
        let watch = watch(child.id()).inspect_err(|_| child::kill(&mut child))?;
        Ok(Self { child, watch, log })
    }

    /// Returns what QEMU has said about itself.
    #[must_use]
    pub fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default().trim().to_owned()
    }

    /// Waits for QEMU's connection to `listener`.
    ///
    /// # Errors
    /// When QEMU ends first, with its words, or does not connect in time.
    pub fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).context("watching QEMU")?;
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        let deadline = Deadline::host(CONNECT_LIMIT);
        poll(&mut fds, Some(&deadline.poll_timeout())).context("awaiting QEMU's connection")?;
        if fds[0].revents().is_empty() {
            bail!("awaiting QEMU's connection: none after {:.1?}: {}", deadline.elapsed(), self.words());
        }
        Ok(listener.accept().context("accepting QEMU's connection")?.0)
    }

    /// Returns how QEMU ended, if it is gone already, with its words.
    pub fn own_end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("QEMU ended with {status}, saying {:?}", self.words()))
    }

    /// Waits until QEMU ends.
    ///
    /// # Errors
    /// When it is still running at the deadline.
    pub fn wait(&mut self, deadline: Deadline) -> Result<ExitStatus> {
        child::wait(&mut self.child, deadline)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        child::kill(&mut self.watch);
        child::kill(&mut self.child);
    }
}

/// Starts a process that ends process `id` once this one, which holds the pipe, is gone.
fn watch(id: u32) -> Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -KILL \"$0\"", &id.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .context("starting a shell that watches over QEMU")
}
