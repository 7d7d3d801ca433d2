//! Becomes sshd, and lets another sshd take its place without a connection being refused in between.
//!
//! A reload would not do: sshd closes its sockets first and opens them again once it has read its keys. And an sshd that
//! is told to end leaves those alone who have just connected and whose process still waits for the configuration.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use b2d_sys::contract::SSH_DIR;
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::files::{read_optional, remove_if_exists, write_atomic};
use b2d_sys::effects::handover;
use b2d_sys::effects::inotify::DirWatch;
use b2d_sys::effects::poll::{self, Interest};

use crate::facts::CONFIG;

/// Written by sshd once it listens.
const PID_FILE: &str = "/run/sshd.pid";
/// Who holds sshd's sockets until the next one takes them: process and descriptors.
const HELD: &str = "/run/boot2docker/sshd.held";
/// PID 1 starts the new sshd at once; it reads its keys then.
const RESTART_SECS: u64 = 120;
/// Machines are made by programs that connect for every command; then they leave.
const CALM_SECS: u64 = 600;
/// Until sshd has made a process for a connection that it has accepted.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Becomes sshd. Returns only on failure.
///
/// # Errors
/// When there is no sshd.
pub fn serve() -> Result<()> {
    let config = format!("{SSH_DIR}/{CONFIG}");
    let pid_file = format!("PidFile={PID_FILE}");
    let argv = ["/usr/sbin/sshd", "-D", "-e", "-f", &config, "-o", &pid_file].map(str::to_owned);
    let sockets = held_sockets().unwrap_or_else(|error| {
        log::warn!("{error:#}; sshd opens its own sockets");
        Vec::new()
    });
    Err(handover::replace_self_listening(&argv, &sockets)).context("becoming sshd")
}

fn held_sockets() -> Result<Vec<OwnedFd>> {
    let Some(text) = read_optional(Path::new(HELD)).with_context(|| format!("reading {HELD}"))? else {
        return Ok(Vec::new());
    };
    let (pid, fds) = parse(&String::from_utf8_lossy(&text)).with_context(|| format!("reading {HELD}"))?;
    fds.into_iter().map(|fd| handover::take(pid, fd)).collect()
}

fn parse(text: &str) -> Result<(i32, Vec<RawFd>)> {
    let numbers: Result<Vec<i32>, _> = text.split_whitespace().map(str::parse).collect();
    let numbers = numbers.map_err(|_| anyhow!("{text:?} is no list of numbers"))?;
    let (pid, fds) = numbers.split_first().context("it is empty")?;
    Ok((*pid, fds.to_vec()))
}

/// Has PID 1 start sshd again in a moment in which nobody is connected, and holds the sockets meanwhile: who connects just
/// then waits. While somebody is connected all the time, sshd goes on as it is.
///
/// # Errors
/// When sshd does not run, what the next one reads cannot be read, or that does not listen in time.
pub fn restart() -> Result<()> {
    let pid = fs::read_to_string(PID_FILE).with_context(|| format!("reading {PID_FILE}"))?;
    let pid = pid.trim().parse().with_context(|| format!("reading {PID_FILE}"))?;
    let deadline = Deadline::secs(CALM_SECS);
    while let Some(connected) = handover::halt_if_idle(pid)? {
        if deadline.has_passed() {
            log::info!("somebody is logged in all the time: sshd offers its new key after its next start");
            return Ok(());
        }
        let patience = if connected.is_empty() { A_MOMENT } else { deadline.remaining() };
        handover::await_an_end(&connected, patience)?;
    }
    replace(pid).inspect_err(|_| {
        // It may be gone by now.
        if let Err(error) = handover::resume(pid) {
            log::debug!("{error:#}");
        }
    })
}

/// Has PID 1 start another sshd instead of the halted one. PID 1 asks that to end, and kills it after a grace.
fn replace(pid: i32) -> Result<()> {
    // The disk with configuration and keys may have been pulled out. The sshd that runs has read them.
    read_all(Path::new(SSH_DIR)).context("sshd stays as it is")?;
    let sockets = handover::listening_sockets(pid)?;
    ensure!(!sockets.is_empty(), "sshd, process {pid}, listens nowhere");
    let fds: Vec<String> = sockets.iter().map(|socket| socket.as_raw_fd().to_string()).collect();
    let held = format!("{} {}\n", std::process::id(), fds.join(" "));
    write_atomic(Path::new(HELD), held.as_bytes(), 0o600, None)?;
    let restarted = restart_and_wait();
    remove_if_exists(Path::new(HELD)).with_context(|| format!("removing {HELD}"))?;
    restarted
}

fn read_all(dir: &Path) -> Result<()> {
    let listed = || format!("reading {}", dir.display());
    for entry in fs::read_dir(dir).with_context(listed)? {
        let path = entry.with_context(listed)?.path();
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => {}
            read => drop(read.with_context(|| format!("reading {}", path.display()))?),
        }
    }
    Ok(())
}

fn restart_and_wait() -> Result<()> {
    let deadline = Deadline::secs(RESTART_SECS);
    let pid_file = Path::new(PID_FILE);
    let watch = DirWatch::new()?;
    watch.add(pid_file.parent().unwrap_or(pid_file))?;
    // PID 1 removes the file before it starts the new one.
    Cmd::new("/usr/sbin/service").args(["sshd", "restart"]).run(deadline)?;
    while !pid_file.exists() {
        ensure!(!deadline.has_passed(), "sshd does not listen {RESTART_SECS} s after its restart");
        poll::wait(&[(watch.as_fd(), Interest::Read)], Some(deadline.remaining()))
            .context("waiting for sshd")?;
        watch.drain();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sshd_reads_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sshd_config"), "UsePAM no\n").unwrap();
        fs::create_dir(dir.path().join("old")).unwrap();
        read_all(dir.path()).unwrap();
        let gone = dir.path().join("gone");
        assert_eq!(read_all(&gone).unwrap_err().to_string(), format!("reading {}", gone.display()));
    }

    #[test]
    fn the_holder_is_read() {
        assert_eq!(parse("77 5 6\n").unwrap(), (77, vec![5, 6]));
        assert_eq!(parse("").unwrap_err().to_string(), "it is empty");
        assert_eq!(parse("77 x").unwrap_err().to_string(), "\"77 x\" is no list of numbers");
    }
}
