//! Signals as something to read, so that one poll loop hears them.

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

use anyhow::{Context, Result};

/// Signal numbers, as the kernel counts them.
pub use libc::{SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPWR, SIGTERM, SIGUSR1, SIGUSR2};

/// A set of signals that are read instead of delivered.
#[derive(Debug)]
pub struct SignalFd {
    file: File,
}

impl SignalFd {
    /// Blocks these signals for the process and returns where to read them. For a process of one thread.
    ///
    /// # Errors
    /// When the kernel refuses a descriptor.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let file = block_and_open(signals).context("opening a signal descriptor")?;
        Ok(Self { file })
    }

    /// Returns the number of the next pending signal, or None if there is none.
    pub fn next_signal(&self) -> Option<i32> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        let count = (&self.file).read(&mut record).ok()?;
        // The number is the record's first field. Source: signalfd(2).
        let number = record.first_chunk::<4>().filter(|_| count == record.len())?;
        i32::try_from(u32::from_ne_bytes(*number)).ok()
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[expect(unsafe_code, reason = "rustix has no signal sets")]
fn block_and_open(signals: &[i32]) -> io::Result<File> {
    // SAFETY: sigset_t is an array of integers, for which zero is a value.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    for &signal in signals {
        // SAFETY: the set is initialised; a bad number is refused, not undefined.
        if unsafe { libc::sigaddset(&raw mut set, signal) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the set is initialised and the old set is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: -1 asks for a new descriptor; the set is initialised.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Unblocks every signal of the calling process. Async-signal-safe, for use between fork and exec.
///
/// # Errors
/// Never in practice.
#[expect(unsafe_code, reason = "rustix has no signal sets")]
pub(super) fn unblock_all() -> io::Result<()> {
    // SAFETY: sigset_t is an array of integers, for which zero is a value.
    let set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set is initialised and the old set is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
