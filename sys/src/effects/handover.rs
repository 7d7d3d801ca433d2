//! Listening sockets that outlive the program that opened them.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

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
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(pidfd_getfd(&process, fd, PidfdGetfdFlags::empty())?)
    };
    copy().with_context(|| format!("copying descriptor {fd} of process {pid}"))
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
    use std::net::{TcpListener, TcpStream};

    use super::*;

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
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_process_that_is_gone_is_named() {
        let error = take(i32::MAX, 3).unwrap_err().to_string();
        assert_eq!(error, format!("copying descriptor 3 of process {}", i32::MAX));
    }
}
