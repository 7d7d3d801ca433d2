//! Child processes that are waited for by an event, with a deadline, and never outlive their owner.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;

use anyhow::{Context, Error, Result, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Deadline;

/// Runs `command` with `stdin` and returns what it wrote and its exit status.
///
/// # Errors
/// When it cannot be started, or is still running at the deadline; then it is killed.
pub fn run(mut command: Command, stdin: &[u8], deadline: Deadline) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let (stdout, stderr) =
        (child.stdout.take().expect("stdout is piped"), child.stderr.take().expect("piped"));
    thread::scope(|scope| {
        scope.spawn(move || {
            // A child that does not read all of its input says why on stderr.
            drop(input.write_all(stdin));
        });
        let (stdout, stderr) = (scope.spawn(|| read_all(stdout)), scope.spawn(|| read_all(stderr)));
        let status = wait(&mut child, deadline);
        if status.is_err() {
            kill(&mut child);
        }
        let gather =
            |output: thread::ScopedJoinHandle<'_, Vec<u8>>| output.join().expect("reading cannot panic");
        let (stdout, stderr) = (gather(stdout), gather(stderr));
        let status = status.with_context(|| format!("running {command:?}"))?;
        Ok(Output { status, stdout, stderr })
    })
}

/// Runs `command` as [`run`] does and returns its standard output.
///
/// # Errors
/// As [`run`], and when it fails; the text holds its exit status and standard error.
pub fn run_ok(command: Command, stdin: &[u8], deadline: Deadline) -> Result<Vec<u8>> {
    let text = format!("{command:?}");
    let output = run(command, stdin, deadline)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "running {text}: {}: {}", output.status, stderr.trim());
    Ok(output.stdout)
}

/// Waits until `child` exits.
///
/// # Errors
/// When it has not exited at the deadline; it goes on running.
pub fn wait(child: &mut Child, deadline: Deadline) -> Result<ExitStatus> {
    has_ended(Pid::from_child(child), deadline)?;
    child.try_wait().context("reading the exit status")?.ok_or_else(|| still_running(deadline))
}

/// Waits until a process that need not be a child ends.
///
/// # Errors
/// When it has not ended at the deadline.
pub fn wait_for(pid: Pid, deadline: Deadline) -> Result<()> {
    ensure!(has_ended(pid, deadline)?, still_running(deadline));
    Ok(())
}

fn has_ended(pid: Pid, deadline: Deadline) -> Result<bool> {
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(true),
        opened => {
            opened.with_context(|| format!("opening a descriptor of process {}", pid.as_raw_nonzero()))?
        }
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&deadline.poll_timeout())).context("waiting for a process")? > 0)
}

fn still_running(deadline: Deadline) -> Error {
    anyhow!(
        "still running after {:.1} s (limit {:.0} s)",
        deadline.elapsed().as_secs_f64(),
        deadline.limit().as_secs_f64()
    )
}

/// Ends `child` at once and reaps it.
pub fn kill(child: &mut Child) {
    // Both fail only when it has been reaped already.
    drop(child.kill());
    drop(child.wait());
}

fn read_all(mut source: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The pipe of a killed child ends early; what came is still worth showing.
    drop(source.read_to_end(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn input_output_and_exit_status_pass_through() {
        let limit = Deadline::host(Duration::from_secs(10));
        let output = run(shell("cat; echo odd >&2; exit 3"), b"text", limit).unwrap();
        assert_eq!(
            (output.status.code(), &*output.stdout, &*output.stderr),
            (Some(3), &b"text"[..], &b"odd\n"[..])
        );
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_the_deadline() {
        let deadline = Deadline::host(Duration::from_millis(100));
        let error = run(shell("exec sleep 60"), b"", deadline).unwrap_err();
        assert!(deadline.elapsed() < Duration::from_secs(30));
        assert!(format!("{error:#}").contains("still running after 0.1 s (limit 0 s)"), "{error:#}");
    }

    #[test]
    fn a_failure_shows_the_command_and_its_standard_error() {
        let limit = Deadline::host(Duration::from_secs(10));
        let error = run_ok(shell("echo no such disk >&2; exit 2"), b"", limit).unwrap_err();
        assert!(format!("{error:#}").ends_with("exit status: 2: no such disk"), "{error:#}");
    }
}
