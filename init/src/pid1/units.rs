//! Services in operation: a line of the table, its life, its process.

use std::ffi::OsString;
use std::fs;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use b2d_sys::contract::{self, SERVICES_CGROUP};
use b2d_sys::effects::files::remove_if_exists;
use b2d_sys::effects::process::{self, Pid, Resource, Spawn, Streams};
use b2d_sys::effects::signals::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGTERM};

use super::ping::Ping;
use crate::service::{self, Limit, Ready, Service};
use crate::supervise::{Life, Phase, Rules};

/// A service in operation.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) service: Service,
    pub(super) life: Life,
    pub(super) pid: Option<Pid>,
    pub(super) faults: u32,
    pub(super) ping: Option<Ping>,
    pub(super) ping_again_at: Option<Duration>,
    pub(super) is_in_timeline: bool,
}

impl Unit {
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            life: Life::default(),
            pid: None,
            faults: 0,
            ping: None,
            ping_again_at: None,
            is_in_timeline: false,
        }
    }

    /// Returns what supervision needs to know.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            restart: self.service.restart,
            grace: self.service.stop.grace,
            prepares: self.service.prepare.is_some(),
        }
    }

    /// Tells whether it is up or about to be, without having to wait for anybody.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.life.phase, Phase::Starting { .. } | Phase::Running { .. })
    }

    /// Tells whether it does its work.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.life.phase, Phase::Running { .. })
    }

    /// Starts its process.
    ///
    /// # Errors
    /// When a file it needs is missing.
    pub(super) fn spawn(&mut self) -> Result<Pid> {
        if let Ready::Path(path) = self.service.ready {
            remove_if_exists(Path::new(path)).with_context(|| format!("removing {path}"))?;
        }
        let spawn = Spawn {
            argv: self.argv()?,
            env: self.env()?,
            streams: self.streams(),
            limits: self.limits()?.into_iter().map(limit).collect(),
            oom_score: self.service.oom_score,
            cgroup: cgroup(&self.service.id.to_string()),
        };
        let (pid, _) = process::start(&spawn)?;
        self.pid = Some(pid);
        Ok(pid)
    }

    fn argv(&self) -> Result<Vec<OsString>> {
        let mut argv: Vec<OsString> = self.service.argv.iter().map(Into::into).collect();
        if let Some(path) = self.service.args_from {
            argv.extend(lines(path)?.into_iter().map(OsString::from));
        }
        Ok(argv)
    }

    fn env(&self) -> Result<Vec<(OsString, OsString)>> {
        let mut env: Vec<(OsString, OsString)> = vec![("PATH".into(), contract::PATH.into())];
        env.extend(self.service.env.iter().map(|(key, value)| (key.into(), value.into())));
        if let Some(path) = self.service.env_from.filter(|path| Path::new(path).exists()) {
            env.extend(variables(path)?);
        }
        Ok(env)
    }

    /// Those of the file take the place of those of the table, resource by resource.
    fn limits(&self) -> Result<Vec<Limit>> {
        let mut limits = self.service.limits.clone();
        let Some(path) = self.service.limits_from.filter(|path| Path::new(path).exists()) else {
            return Ok(limits);
        };
        for line in lines(path)? {
            let wanted =
                Limit::parse(&line).with_context(|| format!("reading {path}: {line:?} is no limit"))?;
            limits.retain(|limit| mem::discriminant(limit) != mem::discriminant(&wanted));
            limits.push(wanted);
        }
        Ok(limits)
    }

    fn streams(&self) -> Streams {
        match &self.service.streams {
            service::Streams::Terminal(path) => Streams::Terminal(path.clone()),
            service::Streams::Log(path) => Streams::Log(path.clone()),
        }
    }

    /// Asks its process to end.
    pub(super) fn ask_to_end(&self) {
        let signal = if self.service.stop.by_hangup { SIGHUP } else { SIGTERM };
        // A login shell passes a hangup on to its jobs; all others look after their own children. One that stands still
        // hears nothing until it goes on.
        if let Some(pid) = self.pid {
            process::signal(pid, signal);
            if !self.service.stop.is_left_halted {
                process::signal(pid, SIGCONT);
            }
        }
    }

    /// Kills its process.
    pub(super) fn kill(&self) {
        self.pid.into_iter().for_each(|pid| process::signal(pid, SIGKILL));
    }

    /// Has it read its configuration again.
    pub(super) fn reload(&self) {
        self.pid.into_iter().for_each(|pid| process::signal(pid, SIGHUP));
    }
}

/// Tells whether a process ended well, or as somebody's signal told it to.
pub(super) fn is_clean(status: ExitStatus) -> bool {
    status.success() || matches!(status.signal(), Some(SIGTERM | SIGINT | SIGHUP | SIGKILL))
}

fn limit(limit: Limit) -> (Resource, Option<u64>) {
    match limit {
        Limit::OpenFiles(count) => (Resource::Nofile, count),
        Limit::Processes(count) => (Resource::Nproc, count),
        Limit::Core(bytes) => (Resource::Core, bytes),
    }
}

/// Returns the service's cgroup, made if need be; None without cgroups.
fn cgroup(name: &str) -> Option<PathBuf> {
    let dir = Path::new(SERVICES_CGROUP).join(name);
    match fs::create_dir_all(&dir) {
        Ok(()) => Some(dir).filter(|dir| dir.join("cgroup.procs").exists()),
        Err(error) => {
            log::warn!("making {}: {error}; {name} runs without a cgroup of its own", dir.display());
            None
        }
    }
}

/// Reads `KEY=value` lines.
pub(super) fn variables(path: &str) -> Result<Vec<(OsString, OsString)>> {
    let variable = |line: String| {
        let (key, value) = line.split_once('=').with_context(|| format!("{path}: {line:?} has no ="))?;
        Ok((key.into(), value.into()))
    };
    lines(path)?.into_iter().map(variable).collect()
}

fn lines(path: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
