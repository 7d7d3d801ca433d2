//! Listening sockets that outlive the program that opened them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};

use super::poll::{self, Interest};

/// First descriptor of a program that is handed sockets. Source: sd_listen_fds(3), SD_LISTEN_FDS_START.
const FIRST_FD: RawFd = 3;
/// Above every descriptor that a program is handed.
const ASIDE_FD: RawFd = 100;
/// State of a listening socket in `/proc/net/tcp`. Source: Linux `include/net/tcp_states.h`, TCP_LISTEN.
const LISTEN: &str = "0A";

/// Returns copies of a process' listening TCP sockets: as long as they are open, connections to them are not refused.
///
/// # Errors
/// When there is no such process, or it is not ours to look into.
pub fn listening_sockets(pid: i32) -> Result<Vec<OwnedFd>> {
    let fds = listening_fds(Path::new("/proc"), pid)?;
    fds.into_iter().map(|fd| take(pid, fd)).collect()
}

/// Returns a copy of a descriptor of another process.
///
/// # Errors
/// When there is no such process or descriptor, or it is not ours to look into.
pub fn take(pid: i32, fd: RawFd) -> Result<OwnedFd> {
    let copy = || -> io::Result<OwnedFd> {
        let process = pidfd_open(id(pid)?, PidfdFlags::empty())?;
        Ok(pidfd_getfd(&process, fd, PidfdGetfdFlags::empty())?)
    };
    copy().with_context(|| format!("copying descriptor {fd} of process {pid}"))
}

/// Halts a process that serves nobody at this moment, so that it can begin with nobody: it has no children, and listens on
/// all of its sockets. It stands still until it is killed or [`resume`]d, and None is returned. One that is busy goes
/// on; its children are returned, of which there may be none yet.
///
/// # Errors
/// When there is no such process, or it is not ours to halt.
pub fn halt_if_idle(pid: i32) -> Result<Option<Vec<i32>>> {
    let halt = || -> Result<Option<Vec<i32>>> {
        kill_process(id(pid)?, Signal::STOP)?;
        let proc = Path::new("/proc").join(pid.to_string());
        // Another processor may still be running it, for an instant.
        while !is_still(&fs::read_to_string(proc.join("stat"))?) {
            thread::yield_now();
        }
        let children = fs::read_to_string(proc.join("task").join(pid.to_string()).join("children"))?;
        let children: Vec<i32> = children.split_whitespace().filter_map(|child| child.parse().ok()).collect();
        // A connection that was just accepted has a socket, and no process yet.
        let is_idle =
            children.is_empty() && socket_fds(&proc)? == listening_fds(Path::new("/proc"), pid)?.len();
        if is_idle {
            return Ok(None);
        }
        kill_process(id(pid)?, Signal::CONT)?;
        Ok(Some(children))
    };
    halt().with_context(|| format!("halting process {pid}"))
}

/// Returns how many descriptors of a process are sockets.
fn socket_fds(process: &Path) -> io::Result<usize> {
    let fds = fs::read_dir(process.join("fd"))?.flatten();
    let is_socket = |to: &PathBuf| to.as_os_str().as_encoded_bytes().starts_with(b"socket:");
    Ok(fds.filter_map(|fd| fs::read_link(fd.path()).ok()).filter(is_socket).count())
}

/// Waits until one of these processes has ended, for `limit` at most.
///
/// # Errors
/// When the kernel refuses to watch them.
pub fn await_an_end(pids: &[i32], limit: Duration) -> Result<()> {
    let watch = |&pid: &i32| pidfd_open(id(pid).ok()?, PidfdFlags::empty()).ok();
    let Some(processes) = pids.iter().map(watch).collect::<Option<Vec<_>>>() else {
        return Ok(()); // One is gone already.
    };
    let fds: Vec<_> = processes.iter().map(|process| (process.as_fd(), Interest::Read)).collect();
    poll::wait(&fds, Some(limit)).context("waiting for processes to end").map(drop)
}

/// Lets a halted process go on.
///
/// # Errors
/// As [`halt_if_idle`].
pub fn resume(pid: i32) -> Result<()> {
    let resumed = id(pid).and_then(|pid| Ok(kill_process(pid, Signal::CONT)?));
    resumed.with_context(|| format!("resuming process {pid}"))
}

fn id(pid: i32) -> io::Result<Pid> {
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Tells whether a line of `/proc/PID/stat` is that of a process that stands still or is gone.
/// Source: proc_pid_stat(5), field 3.
fn is_still(stat: &str) -> bool {
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't' | 'Z' | 'X'))
}

/// Returns the descriptors that are listening TCP sockets, in order.
fn listening_fds(proc: &Path, pid: i32) -> Result<Vec<RawFd>> {
    let process = proc.join(pid.to_string());
    let mut inodes = Vec::new();
    for table in ["tcp", "tcp6"] {
        let path = process.join("net").join(table);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        // Columns: slot, local address, remote address, state, ..., the tenth is the inode.
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let listening = rows.filter(|row| row.get(3) == Some(&LISTEN));
        inodes.extend(listening.filter_map(|row| Some(format!("socket:[{}]", row.get(9)?))));
    }
    let dir = process.join("fd");
    let mut fds = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))?.flatten() {
        let is_listening =
            fs::read_link(entry.path()).is_ok_and(|to| inodes.iter().any(|inode| to == Path::new(inode)));
        if let Some(fd) =
            entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_listening)
        {
            fds.push(fd);
        }
    }
    fds.sort_unstable();
    Ok(fds)
}

/// Replaces this process by a program that takes over listening sockets. Returns only on failure.
///
/// Source: sd_listen_fds(3).
pub fn replace_self_listening(argv: &[String], sockets: &[OwnedFd]) -> io::Error {
    let Some((program, args)) = argv.split_first() else { return io::ErrorKind::InvalidInput.into() };
    let aside: rustix::io::Result<Vec<OwnedFd>> =
        sockets.iter().map(|socket| fcntl_dupfd_cloexec(socket, ASIDE_FD)).collect();
    let aside = match aside {
        Ok(aside) => aside,
        Err(error) => return error.into(),
    };
    for (fd, socket) in (FIRST_FD..).zip(&aside) {
        if let Err(error) = place(socket, fd) {
            return error;
        }
    }
    let mut command = Command::new(program);
    command.args(args).env("LISTEN_FDS", sockets.len().to_string());
    command.env("LISTEN_PID", std::process::id().to_string()).exec()
}

/// Gives a descriptor this number, open beyond exec, whatever had the number before.
#[expect(unsafe_code, reason = "rustix wants to own the number's former descriptor")]
fn place(socket: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2 touches no memory of ours; what it closes is not used any more: the caller is about to exec.
    let placed = unsafe { libc::dup2(socket.as_raw_fd(), number) };
    if placed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Stdio};

    use super::*;
    use crate::effects::cmd::Deadline;

    #[test]
    fn a_listening_socket_survives_its_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _connected = TcpStream::connect(address).unwrap();
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(listening_fds(Path::new("/proc"), us).unwrap().contains(&listener.as_raw_fd()));
        let copy = take(us, listener.as_raw_fd()).unwrap();
        drop(listener);
        assert!(TcpStream::connect(address).is_ok(), "somebody still listens");
        drop(copy);
        // A program that another test starts has a copy, too, until its exec.
        let deadline = Deadline::secs(30);
        while TcpStream::connect(address).is_ok() {
            assert!(!deadline.has_passed(), "nobody listens any more");
        }
    }

    /// Starts a shell and waits until it has written a line.
    fn shell(script: &str, stdin: Stdio) -> (i32, Child) {
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", script]).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (i32::try_from(child.id()).unwrap(), child)
    }

    #[test]
    fn only_a_process_that_serves_nobody_is_halted() {
        let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let connection = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
        };
        for (case, script, stdin, expected) in [
            ("idle", "echo; kill -STOP $$", listener(), None),
            ("has a child", "sleep 1000 & echo; wait", listener(), Some(1)),
            ("has a connection", "echo; while :; do :; done", connection(), Some(0)),
        ] {
            let (pid, mut child) = shell(script, stdin.into());
            let children = halt_if_idle(pid).unwrap();
            assert_eq!(children.as_ref().map(Vec::len), expected, "{case}");
            resume(pid).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let orphans = children.unwrap_or_default();
            for &orphan in &orphans {
                kill_process(id(orphan).unwrap(), Signal::KILL).unwrap();
            }
            if !orphans.is_empty() {
                await_an_end(&orphans, Duration::from_secs(30)).unwrap();
            }
        }
    }

    #[test]
    fn a_process_that_is_gone_is_named() {
        let error = take(i32::MAX, 3).unwrap_err().to_string();
        assert_eq!(error, format!("copying descriptor 3 of process {}", i32::MAX));
    }
}
