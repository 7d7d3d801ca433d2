//! Processes that live on their own: starting them in a prepared setting, ending and reaping them.

use std::ffi::{CStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
pub use rustix::process::Resource;
use rustix::process::{
    PidfdFlags, Rlimit, Signal, WaitOptions, ioctl_tiocsctty, pidfd_open, setrlimit, setsid,
};

use super::poll::{self, Interest};
use super::{signals, tty};

/// A process id greater than zero.
pub type Pid = rustix::process::Pid;

/// Where a process' standard streams lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Input is empty, output is appended to this file (0644), or dropped when that cannot be: its disk may be gone.
    Log(PathBuf),
    /// Input is empty, output goes into the returned pipe.
    Pipe,
    /// All three are this terminal, which becomes the controlling one.
    Terminal(PathBuf),
    /// Input is empty, output is dropped.
    Null,
}

/// A program and the setting it is to run in. It leads a session of its own; no signal is blocked or ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Spawn {
    /// Program, by path or by name in `PATH`, and its arguments.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its standard streams.
    pub streams: Streams,
    /// Both limits of each resource; None means unlimited.
    pub limits: Vec<(Resource, Option<u64>)>,
    /// -1000 (never killed when memory runs out) to 1000 (killed first).
    pub oom_score: i16,
    /// Existing cgroup directory to start in; None: ours.
    pub cgroup: Option<PathBuf>,
}

/// Starts a program; returns its process id, and the end of its output if it goes into a pipe.
///
/// # Errors
/// When the program, its terminal or cgroup does not exist, or a limit is refused.
pub fn start(spawn: &Spawn) -> Result<(Pid, Option<OwnedFd>)> {
    let program = spawn.argv.first().context("starting a program without a name")?;
    start_prepared(spawn, program).with_context(|| format!("starting {}", program.to_string_lossy()))
}

fn start_prepared(spawn: &Spawn, program: &OsString) -> Result<(Pid, Option<OwnedFd>)> {
    let mut command = Command::new(program);
    command.args(&spawn.argv[1..]).env_clear().envs(spawn.env.iter().map(|(k, v)| (k, v)));
    command.current_dir("/");
    let output = connect(&mut command, &spawn.streams)?;
    let cgroup = match &spawn.cgroup {
        Some(dir) => Some(open_for_writing(&dir.join("cgroup.procs"))?),
        None => None,
    };
    prepare_child(&mut command, spawn, cgroup);
    let child = command.spawn()?;
    Ok((Pid::from_child(&child), output))
}

fn connect(command: &mut Command, streams: &Streams) -> Result<Option<OwnedFd>> {
    let (input, out, err, pipe) = match streams {
        Streams::Log(path) => match open_log(path) {
            Ok(log) => (Stdio::null(), Stdio::from(log.try_clone()?), Stdio::from(log), None),
            Err(error) => {
                log::warn!("{error:#}: what {} says is dropped", command.get_program().display());
                (Stdio::null(), Stdio::null(), Stdio::null(), None)
            }
        },
        Streams::Pipe => {
            let (reader, writer) = io::pipe()?;
            rustix::io::ioctl_fionbio(&reader, true)?;
            (
                Stdio::null(),
                Stdio::from(writer.try_clone()?),
                Stdio::from(writer),
                Some(OwnedFd::from(reader)),
            )
        }
        Streams::Terminal(path) => {
            let fd = tty::open_for_login(path)?;
            (Stdio::from(fd.try_clone()?), Stdio::from(fd.try_clone()?), Stdio::from(fd), None)
        }
        Streams::Null => (Stdio::null(), Stdio::null(), Stdio::null(), None),
    };
    command.stdin(input).stdout(out).stderr(err);
    Ok(pipe)
}

fn open_log(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}

fn open_for_writing(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).with_context(|| format!("opening {}", path.display()))
}

#[expect(unsafe_code, reason = "std has no other way to act in the child before exec")]
fn prepare_child(command: &mut Command, spawn: &Spawn, cgroup: Option<File>) {
    let takes_terminal = matches!(spawn.streams, Streams::Terminal(_));
    let oom_score = spawn.oom_score.to_string();
    let limits: Vec<_> = spawn.limits.clone();
    let in_child = move || {
        signals::unblock_all()?;
        setsid()?;
        if takes_terminal {
            ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        if let Some(procs) = &cgroup {
            rustix::io::write(procs, b"0")?;
        }
        write_to(c"/proc/self/oom_score_adj", oom_score.as_bytes())?;
        for (resource, limit) in &limits {
            setrlimit(*resource, Rlimit { current: *limit, maximum: *limit })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes plain system calls on what was prepared before the fork:
    // it neither allocates nor takes a lock.
    unsafe { command.pre_exec(in_child) };
}

fn write_to(path: &CStr, bytes: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file.as_fd(), bytes)?;
    Ok(())
}

/// Returns the next child that has ended, or None if none has.
pub fn reap() -> Option<(Pid, ExitStatus)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(ended) => return ended.map(|(pid, status)| (pid, ExitStatus::from_raw(status.as_raw()))),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Sends a signal to one process; one that is gone is fine.
pub fn signal(pid: Pid, number: i32) {
    report(rustix::process::kill_process(pid, named(number)), pid, number);
}

/// Waits until a process has ended, for `limit` at most; tells whether it has. A child that has ended is still to be reaped.
///
/// # Errors
/// When the kernel refuses to watch it.
pub fn has_ended(pid: Pid, limit: Duration) -> io::Result<bool> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(true),
        opened => opened?,
    };
    Ok(poll::wait(&[(process.as_fd(), Interest::Read)], Some(limit))? == [true])
}

/// Sends a signal to a process group; one that is gone is fine.
pub fn signal_group(pid: Pid, number: i32) {
    report(rustix::process::kill_process_group(pid, named(number)), pid, number);
}

fn named(number: i32) -> Signal {
    Signal::from_named_raw(number).unwrap_or(Signal::TERM)
}

fn report(result: rustix::io::Result<()>, pid: Pid, number: i32) {
    match result {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => log::warn!("sending signal {number} to process {pid:?}: {error}"),
    }
}

/// Sends a signal to PID 1.
///
/// # Errors
/// For anybody but root.
pub fn signal_init(number: i32) -> Result<()> {
    rustix::process::kill_process(Pid::INIT, named(number)).context("sending a signal to PID 1")
}

/// Sends a signal to every process but ourselves and the kernel's own. Only for PID 1 at the end.
#[expect(unsafe_code, reason = "rustix cannot name every process at once")]
pub fn signal_everyone(number: i32) {
    // SAFETY: kill touches no memory of ours.
    let result = unsafe { libc::kill(-1, number) };
    if result < 0 {
        let error = io::Error::last_os_error();
        log::debug!("sending signal {number} to every process: {error}");
    }
}

/// Tells whether any child is left, ended or not.
pub fn has_children() -> bool {
    let options = rustix::process::WaitIdOptions::EXITED
        | rustix::process::WaitIdOptions::NOHANG
        | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::All, options).is_ok()
}

/// Returns our children that have a terminal, which are logins if we are PID 1.
pub fn children_with_terminal() -> Vec<Pid> {
    let us = rustix::process::getpid();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let child = |entry: fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let (parent, terminal) = parent_and_terminal(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
        (parent == us.as_raw_nonzero().get() && terminal != 0).then_some(pid)
    };
    entries.flatten().filter_map(child).collect()
}

/// Returns parent and terminal number in a line of `/proc/PID/stat`; the name in parentheses may hold anything.
/// Source: proc_pid_stat(5), fields 4 and 7.
fn parent_and_terminal(stat: &str) -> Option<(i32, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    Some((parent, fields.nth(2)?.parse().ok()?))
}

/// Replaces this process by another program whose words nobody wants. Returns only on failure.
pub fn replace_self_quietly(argv: &[String]) -> io::Error {
    let Some((program, args)) = argv.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program");
    };
    Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).exec()
}

/// Replaces this process by another program. Returns only on failure.
pub fn replace_self(program: &Path, args: &[OsString]) -> io::Error {
    Command::new(program).args(args).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_starts_in_its_setting() {
        // proc_pid_stat(5): the sixth field is the session.
        let script = "echo $A; ulimit -n; cat /proc/self/oom_score_adj; cut -d' ' -f6 /proc/$$/stat; echo $$";
        let spawn = Spawn {
            argv: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
            env: [("A", "b"), ("PATH", "/usr/bin:/bin")].map(|(k, v)| (k.into(), v.into())).to_vec(),
            streams: Streams::Pipe,
            limits: vec![(Resource::Nofile, Some(77))],
            oom_score: 500,
            cgroup: None,
        };
        let (pid, output) = start(&spawn).unwrap();
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
        let text = io::read_to_string(File::from(output.unwrap())).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["b", "77", "500"]);
        assert_eq!(lines[3], lines[4], "leads its own session");
    }

    #[test]
    fn parent_and_terminal_are_found_behind_any_name() {
        assert_eq!(parent_and_terminal("71 (login) S 1 71 71 1025 71 4194560"), Some((1, 1025)));
        assert_eq!(parent_and_terminal("72 (a) b ) S 7 71 71 0 -1"), Some((7, 0)));
        assert_eq!(parent_and_terminal("73 (x"), None);
    }

    #[test]
    fn a_log_that_cannot_be_opened_keeps_nothing_from_starting() {
        let spawn = Spawn {
            argv: ["/bin/sh", "-c", "echo lost && exit 3"].map(OsString::from).to_vec(),
            env: vec![],
            streams: Streams::Log("/no/such/log".into()),
            limits: vec![],
            oom_score: 0,
            cgroup: None,
        };
        let (pid, output) = start(&spawn).unwrap();
        let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(3));
        assert!(output.is_none());
    }

    #[test]
    fn an_end_is_awaited_until_the_limit() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(!has_ended(pid, Duration::from_millis(10)).unwrap());
        drop(child.stdin.take());
        assert!(has_ended(pid, Duration::from_secs(60)).unwrap());
        child.wait().unwrap();
        assert!(has_ended(pid, Duration::ZERO).unwrap(), "nobody is left to wait for");
    }

    #[test]
    fn a_missing_program_is_named() {
        let spawn = Spawn {
            argv: vec!["/no/such".into()],
            env: vec![],
            streams: Streams::Null,
            limits: vec![],
            oom_score: 0,
            cgroup: None,
        };
        assert_eq!(start(&spawn).unwrap_err().to_string(), "starting /no/such");
    }
}
