//! Programs with an end: helpers of the boot plan, hooks of the user, preparations of services.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use b2d_sys::contract;
use b2d_sys::effects::clock;
use b2d_sys::effects::cmd::describe_status;
use b2d_sys::effects::files::remove_if_exists;
use b2d_sys::effects::process::{self, Pid, Spawn, Streams};
use b2d_sys::effects::signals::{SIGKILL, SIGTERM};

use super::Machine;
use super::units::variables;
use crate::model::ServiceId;
use crate::sequence::StepRef;
use crate::supervise::Event;

/// Output lines longer than this are cut; a line is a record in the kernel's ring buffer.
const LINE_BYTES: usize = 800;

/// A hook that others wait for is named on the consoles after this.
const REPORT_AFTER: Duration = Duration::from_secs(15);

/// A job that has not ended this long after it was killed hangs in the kernel; nobody waits for it any longer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// For whom a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A step of the boot plan waits for it.
    Step(StepRef),
    /// A service waits for it.
    Unit(ServiceId),
    /// Nobody waits for it, but this log is its work.
    Log(PathBuf),
    /// Nobody waits for it.
    Nobody,
}

/// What happens to a job that takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    KillAfter(Duration),
    LeaveAfter(Duration),
    Endless,
}

/// What is due for a job that runs late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Kill,
    /// Nobody waits any longer.
    Leave,
}

/// A running job.
#[derive(Debug)]
pub(super) struct Job {
    name: String,
    owner: Owner,
    patience: Patience,
    pub(super) deadline: Option<Duration>,
    /// When people are told that something waits for it.
    pub(super) report_at: Option<Duration>,
    is_late: bool,
}

/// The output of a job, copied to the log line by line.
#[derive(Debug)]
pub(super) struct Output {
    name: String,
    pipe: fs::File,
    partial: Vec<u8>,
}

impl Machine {
    /// Starts a job whose output goes to the log.
    pub(super) fn start_job(&mut self, owner: Owner, argv: &[String], patience: Patience) -> Result<()> {
        let name = name_of(argv.first().map_or("", String::as_str));
        self.start_spawn(owner, name, &spawn(argv, Streams::Pipe), patience)
    }

    fn start_spawn(&mut self, owner: Owner, name: &str, spawn: &Spawn, patience: Patience) -> Result<()> {
        let (pid, output) = process::start(spawn)?;
        self.outputs.extend(output.map(|pipe| Output::new(name, pipe)));
        self.add_job(pid, name.to_owned(), owner, patience);
        Ok(())
    }

    fn add_job(&mut self, pid: Pid, name: String, owner: Owner, patience: Patience) {
        let now = clock::since_kernel_start();
        let deadline = match patience {
            Patience::KillAfter(limit) | Patience::LeaveAfter(limit) => Some(now + limit),
            Patience::Endless => None,
        };
        let report_at = matches!(patience, Patience::LeaveAfter(_)).then_some(now + REPORT_AFTER);
        self.jobs.insert(pid, Job { name, owner, patience, deadline, report_at, is_late: false });
    }

    /// Starts a script of the user's with the shell; it needs neither exec bit nor shebang.
    pub(super) fn start_hook(&mut self, owner: Owner, path: &str, patience: Patience) -> Result<()> {
        let argv = shell_of(path)?;
        self.start_spawn(owner, name_of(path), &hook_spawn(&argv, Streams::Pipe), patience)
    }

    /// Starts a script of the user's that nobody waits for, its output in a file of its own.
    pub(super) fn start_background(&mut self, path: &str, log: &str) -> Result<()> {
        let argv = shell_of(path)?;
        remove_if_exists(Path::new(log)).with_context(|| format!("removing {log}"))?;
        let spawn = hook_spawn(&argv, Streams::Log(log.into()));
        self.start_spawn(Owner::Nobody, name_of(path), &spawn, Patience::Endless)
    }

    /// Takes note of the end of a child: a job, a service, or an orphan that is none of our business.
    pub(super) fn child_ended(&mut self, pid: Pid, status: ExitStatus) {
        let Some(job) = self.jobs.remove(&pid) else { return self.service_ended(pid, status) };
        self.drain_outputs(&job.name);
        if self.shutdown.is_some() {
            // Nobody waits for it any more, and its step must not begin the next.
            return;
        }
        let how = describe_status(status);
        let outcome = if status.success() { Ok(()) } else { Err(anyhow!("{} ended with {how}", job.name)) };
        let outcome = if job.is_late { outcome.map_err(|_| job.too_late("killed")) } else { outcome };
        match job.owner {
            Owner::Nobody if job.patience == Patience::Endless => log::info!("{}: {how}", job.name),
            Owner::Nobody => log::debug!("{}: {how}", job.name),
            owner => self.job_is_over(owner, outcome),
        }
    }

    /// Lets go on what waits for a job.
    fn job_is_over(&mut self, owner: Owner, outcome: Result<()>) {
        match owner {
            Owner::Step(step) => self.end_step(step, outcome),
            Owner::Unit(id) => {
                if let Err(error) = outcome {
                    log::error!("{id}: {error:#}");
                }
                self.unit_event(&id, Event::Prepared);
            }
            Owner::Log(_) | Owner::Nobody => outcome.unwrap_or_else(|error| log::warn!("{error:#}")),
        }
    }

    /// Kills or leaves alone the jobs whose time is up.
    pub(super) fn jobs_run_late(&mut self, now: Duration) {
        self.report_hooks(now);
        let pids: Vec<Pid> = self.jobs.keys().copied().collect();
        for pid in pids {
            let Some(job) = self.jobs.get_mut(&pid) else { continue };
            match job.measure(now) {
                None => {}
                Some(Measure::Kill) => process::signal_group(pid, SIGKILL),
                Some(Measure::Leave) => {
                    let what = if job.is_late { "killed, hangs in the kernel" } else { "left running" };
                    let error = job.too_late(what);
                    let owner = std::mem::replace(&mut job.owner, Owner::Nobody);
                    self.job_is_over(owner, Err(error));
                }
            }
        }
    }

    fn report_hooks(&mut self, now: Duration) {
        for job in self.jobs.values_mut().filter(|job| job.report_at.is_some_and(|at| now >= at)) {
            job.report_at = None;
            let line = job.waiting();
            log::warn!("{line}");
            self.consoles.print(&format!("boot2docker: {line}"));
        }
    }

    /// Kills the preparation of a service.
    pub(super) fn cancel_job_of(&mut self, id: &ServiceId) {
        for (pid, job) in &mut self.jobs {
            if job.owner == Owner::Unit(id.clone()) {
                job.owner = Owner::Nobody;
                process::signal_group(*pid, SIGKILL);
            }
        }
    }

    /// Asks every job to end.
    pub(super) fn end_jobs(&mut self) {
        for pid in self.jobs.keys() {
            process::signal_group(*pid, SIGTERM);
        }
    }

    /// Copies what a job has printed; forgets the pipe at its end.
    pub(super) fn hear_output(&mut self, at: usize) {
        if self.outputs.get_mut(at).is_some_and(|output| !output.copy()) {
            self.outputs.remove(at);
        }
    }

    fn drain_outputs(&mut self, name: &str) {
        self.outputs.retain_mut(|output| output.name != name || output.copy());
    }
}

impl Job {
    /// Returns what is due at `now`, once.
    fn measure(&mut self, now: Duration) -> Option<Measure> {
        self.deadline.filter(|at| now >= *at)?;
        if matches!(self.patience, Patience::KillAfter(_)) && !self.is_late {
            self.is_late = true;
            self.deadline = Some(now + GIVE_UP_AFTER);
            return Some(Measure::Kill);
        }
        self.deadline = None;
        Some(Measure::Leave)
    }

    fn limit(&self) -> Duration {
        match self.patience {
            Patience::KillAfter(limit) | Patience::LeaveAfter(limit) => limit,
            Patience::Endless => Duration::ZERO,
        }
    }

    fn too_late(&self, consequence: &str) -> anyhow::Error {
        anyhow!("{} still runs after {} s, {consequence}", self.name, self.limit().as_secs())
    }

    fn waiting(&self) -> String {
        let (so_far, limit) = (REPORT_AFTER.as_secs(), self.limit().as_secs());
        format!("{} still runs after {so_far} s; the boot waits {limit} s for it", self.name)
    }

    /// Tells whether it puts this log aside.
    pub(super) fn rotates(&self, log: &Path) -> bool {
        matches!(&self.owner, Owner::Log(path) if path == log)
    }
}

impl Output {
    fn new(name: &str, pipe: OwnedFd) -> Self {
        Self { name: name.to_owned(), pipe: pipe.into(), partial: Vec::new() }
    }

    /// Logs the lines that are there; returns false at the end of the output.
    fn copy(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let is_open = loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.take(&buffer[..count]),
                Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
            }
        };
        if !is_open && !self.partial.is_empty() {
            self.take(b"\n");
        }
        is_open
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
            }
            if byte == b'\n' || self.partial.len() >= LINE_BYTES {
                log::info!("{}: {}", self.name, String::from_utf8_lossy(&self.partial).trim_end());
                self.partial.clear();
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn spawn(argv: &[String], streams: Streams) -> Spawn {
    let env = [("PATH", contract::PATH), ("HOME", "/root"), ("USER", "root"), ("TERM", "linux")];
    Spawn {
        argv: argv.iter().map(Into::into).collect(),
        env: env.map(|(key, value)| (key.into(), value.into())).into(),
        streams,
        limits: vec![],
        oom_score: 0,
        cgroup: None,
    }
}

/// As [`spawn`], with what the profile exports.
fn hook_spawn(argv: &[String], streams: Streams) -> Spawn {
    let mut spawn = spawn(argv, streams);
    match variables(contract::PROFILE_ENV) {
        Ok(exported) => spawn.env.extend(exported),
        Err(error) => log::debug!("{error:#}; the hook runs without what the profile exports"),
    }
    spawn
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the command line that runs a script of the user's.
fn shell_of(path: &str) -> Result<[String; 2]> {
    Ok(["/bin/sh".to_owned(), without_carriage_returns(Path::new(path))?.display().to_string()])
}

/// Returns the script, or a copy of it with Unix line ends if it came from elsewhere.
fn without_carriage_returns(path: &Path) -> Result<PathBuf> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if !text.windows(2).any(|pair| pair == b"\r\n") {
        return Ok(path.to_owned());
    }
    let copy = Path::new(contract::RUN_DIR).join(path.file_name().unwrap_or_default());
    let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
    fs::write(&copy, text).with_context(|| format!("writing {}", copy.display()))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn job(patience: Patience) -> Job {
        let deadline = (patience != Patience::Endless).then_some(SECOND * 10);
        Job { name: "x".into(), owner: Owner::Nobody, patience, deadline, report_at: None, is_late: false }
    }

    #[test]
    fn a_late_job_is_killed_or_left_and_one_that_cannot_die_is_left_in_the_end() {
        let (kill, leave) = (Some(Measure::Kill), Some(Measure::Leave));
        for (case, patience, expected) in [
            ("helper", Patience::KillAfter(SECOND * 10), [None, kill, None, leave, None]),
            ("hook", Patience::LeaveAfter(SECOND * 10), [None, leave, None, None, None]),
            ("in the background", Patience::Endless, [None; 5]),
        ] {
            let mut job = job(patience);
            let measures = [9, 10, 14, 15, 99].map(|second| job.measure(SECOND * second));
            assert_eq!(measures, expected, "{case}");
        }
    }
}
