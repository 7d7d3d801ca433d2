//! The one way to run another program: argument list, deadline, captured output, an error that says it all.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{fmt, str};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use thiserror::Error;

pub use super::deadline::Deadline;
use super::poll::{self, Interest};
use super::process;

/// Output beyond this is read and dropped, so that no program can fill our memory.
const CAPTURE_BYTES: usize = 8 << 20;
/// Lines of stderr an error repeats.
const STDERR_LINES: usize = 5;
/// How long a killed process may take to vanish; longer means it hangs in the kernel.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// A program with its arguments, not yet running. Display prints the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    is_env_cleared: bool,
    stdin: Vec<u8>,
}

/// What a program that ended well left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why a program did not do its work.
#[derive(Debug, Error)]
pub enum CmdError {
    /// It could not be started, or its output not be read.
    #[error("running {command}")]
    Start {
        /// The command line.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended, but not with exit status 0.
    #[error("running {command}: {}: {stderr:?}", describe_status(*status))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines on standard error.
        stderr: String,
        /// Its whole standard output.
        stdout: Vec<u8>,
    },
    /// It was killed at the deadline.
    #[error("running {command}: no end after {} s, killed: {stderr:?}", limit.as_secs_f32())]
    Timeout {
        /// The command line.
        command: String,
        /// How long it was given.
        limit: Duration,
        /// Its last lines on standard error.
        stderr: String,
    },
}

impl CmdError {
    /// Returns the exit status if the program ended by itself.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Failed { status, .. } => status.code(),
            Self::Start { .. } | Self::Timeout { .. } => None,
        }
    }
}

impl Output {
    /// Returns standard output as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

impl Cmd {
    /// Names the program: a path, or a name to be found in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        Self { program, args: Vec::new(), env: Vec::new(), is_env_cleared: false, stdin: Vec::new() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the program's environment, which otherwise is our own.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Gives the program the variables set by [`Cmd::env`] and nothing else.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.is_env_cleared = true;
        self
    }

    /// Gives the program these bytes to read; without, it reads an empty file.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs the program to its end and returns its output.
    ///
    /// The program leads a process group of its own. What it leaves in the background may live on: its end,
    /// not the end of its output, ends the wait.
    ///
    /// # Errors
    /// When it cannot be started, ends with a status other than 0, or runs into the deadline; then its process
    /// group has been killed.
    pub fn run(&self, deadline: Deadline) -> Result<Output, CmdError> {
        let start_error = |source| CmdError::Start { command: self.to_string(), source };
        let mut child = self.spawn().map_err(start_error)?;
        let mut output = Output { stdout: Vec::new(), stderr: Vec::new() };
        let ended = self.feed_and_collect(&mut child, &mut output, deadline);
        if !matches!(ended, Ok(true)) {
            kill_and_reap(&mut child);
        }
        if !ended.map_err(start_error)? {
            let (command, stderr) = (self.to_string(), last_lines(&output.stderr));
            return Err(CmdError::Timeout { command, limit: deadline.limit(), stderr });
        }
        let status = child.wait().map_err(start_error)?;
        if status.success() {
            return Ok(output);
        }
        let (command, stderr) = (self.to_string(), last_lines(&output.stderr));
        Err(CmdError::Failed { command, status, stderr, stdout: output.stdout })
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        if self.is_env_cleared {
            command.env_clear();
        }
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()
    }

    /// Returns true when the child has ended, false at the deadline.
    fn feed_and_collect(
        &self,
        child: &mut Child,
        output: &mut Output,
        deadline: Deadline,
    ) -> io::Result<bool> {
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let (mut stdin, mut to_write) = (child.stdin.take(), self.stdin.as_slice());
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        set_nonblocking(stdin.as_ref())?;
        set_nonblocking(stdout.as_ref())?;
        set_nonblocking(stderr.as_ref())?;
        loop {
            let mut fds: Vec<(BorrowedFd<'_>, Interest)> = vec![(pidfd.as_fd(), Interest::Read)];
            fds.extend(stdin.as_ref().map(|pipe| (pipe.as_fd(), Interest::Write)));
            fds.extend(stdout.as_ref().map(|pipe| (pipe.as_fd(), Interest::Read)));
            fds.extend(stderr.as_ref().map(|pipe| (pipe.as_fd(), Interest::Read)));
            let has_ended = poll::wait(&fds, Some(deadline.remaining()))?[0];
            write_some(&mut stdin, &mut to_write)?;
            read_some(&mut stdout, &mut output.stdout)?;
            read_some(&mut stderr, &mut output.stderr)?;
            if has_ended || deadline.has_passed() {
                return Ok(has_ended);
            }
        }
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            if arg.is_empty() || arg.contains(char::is_whitespace) {
                write!(f, " {arg:?}")?;
            } else {
                write!(f, " {arg}")?;
            }
        }
        Ok(())
    }
}

fn set_nonblocking(pipe: Option<&impl AsFd>) -> io::Result<()> {
    if let Some(pipe) = pipe {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// Writes what the pipe takes now; closes it at the end, or when nobody reads.
fn write_some(pipe: &mut Option<impl Write>, bytes: &mut &[u8]) -> io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    match open.write(bytes) {
        Ok(count) => *bytes = &bytes[count..],
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *bytes = &[],
        Err(error) => return Err(error),
    }
    if bytes.is_empty() {
        *pipe = None;
    }
    Ok(())
}

/// Reads what is there now; drops the pipe at its end.
fn read_some(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                let room = CAPTURE_BYTES.saturating_sub(into.len());
                into.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn kill_and_reap(child: &mut Child) {
    let pid = Pid::from_child(child);
    if let Err(error) = kill_process_group(pid, Signal::KILL) {
        log::debug!("killing process group {pid:?}: {error}");
    }
    match process::has_ended(pid, KILL_GRACE) {
        Ok(true) => drop(child.wait()),
        Ok(false) => log::warn!("process {pid:?} does not die, it hangs in the kernel; going on without it"),
        Err(error) => log::debug!("waiting for killed process {pid:?}: {error}"),
    }
}

/// Returns "exit 1" or "killed by signal 9".
pub fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => format!("{status}"),
    }
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(STDERR_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_input_pass_through() {
        let big = vec![b'x'; 300_000];
        let output = Cmd::new("cat").stdin(big.clone()).run(Deadline::secs(20)).unwrap();
        assert_eq!(output.stdout, big);
        let output = Cmd::new("env").env_clear().env("A", "b c").run(Deadline::secs(20)).unwrap();
        assert_eq!(output.text(), "A=b c");
    }

    #[test]
    fn failure_says_command_exit_and_stderr() {
        let error =
            Cmd::new("sh").args(["-c", "echo no disk >&2; exit 3"]).run(Deadline::secs(20)).unwrap_err();
        assert_eq!(error.to_string(), r#"running sh -c "echo no disk >&2; exit 3": exit 3: "no disk""#);
        assert_eq!(error.exit_code(), Some(3));
    }

    #[test]
    fn absent_program_is_named() {
        let error = Cmd::new("/no/such/program").run(Deadline::secs(20)).unwrap_err();
        assert_eq!(error.to_string(), "running /no/such/program");
    }

    #[test]
    fn deadline_kills_the_group() {
        let error =
            Cmd::new("sh").args(["-c", "echo here >&2; sleep 60"]).run(Deadline::millis(200)).unwrap_err();
        assert!(matches!(&error, CmdError::Timeout { stderr, .. } if stderr == "here"), "{error}");
    }

    #[test]
    fn background_child_does_not_hold_us_up() {
        let output = Cmd::new("sh").args(["-c", "sleep 30 & echo done"]).run(Deadline::secs(10)).unwrap();
        assert_eq!(output.text(), "done");
    }
}
