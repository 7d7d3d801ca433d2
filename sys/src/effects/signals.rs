//! Signals as something to read, so that one poll loop hears them.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// Signal numbers, as the kernel counts them.
pub use libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPWR, SIGTERM, SIGUSR1, SIGUSR2};

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

/// Faults of the processor, and abort(3): what would end PID 1, and the kernel with it.
const CRASHES: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];
/// Words of the command line that [`replace_on_crash`] has prepared.
static REPLACEMENT: OnceLock<[CString; 3]> = OnceLock::new();

/// From now on a crash of this process makes it the program `words[0]` with the arguments after it. For PID 1 only: every
/// other process had better die.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn replace_on_crash(words: [CString; 3]) -> Result<()> {
    if REPLACEMENT.set(words).is_err() {
        return Ok(());
    }
    for signal in CRASHES {
        catch(signal).with_context(|| format!("catching signal {signal}"))?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "rustix has no signal handlers")]
fn catch(signal: i32) -> io::Result<()> {
    // SAFETY: sigaction is integers and a null-able pointer, for all of which zero is a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = become_replacement as extern "C" fn(i32) as libc::sighandler_t;
    // The next crash is heard, too; and a stack that has overflowed is not needed: std gives its threads another one.
    action.sa_flags = libc::SA_NODEFER | libc::SA_ONSTACK;
    // SAFETY: the action is initialised, its handler is async-signal-safe, and the old action is not asked for.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "a signal handler may do nothing but system calls")]
extern "C" fn become_replacement(_: i32) {
    if let Some(words) = REPLACEMENT.get() {
        let [program, first, second] = words.each_ref().map(|word| word.as_ptr());
        let (argv, env) = ([program, first, second, std::ptr::null()], [std::ptr::null()]);
        // SAFETY: all strings end in NUL and live for ever, both lists end in a null pointer; execve is
        // async-signal-safe.
        unsafe { libc::execve(program, argv.as_ptr(), env.as_ptr()) };
    }
    // SAFETY: _exit is async-signal-safe. Without it the fault would be met again, for ever.
    unsafe { libc::_exit(1) };
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
