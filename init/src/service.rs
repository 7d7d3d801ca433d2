//! What a service is: how it runs, when it is ready, how it ends. Must not start anything.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::ServiceId;

/// Where a service's streams lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Output is appended to this file.
    Log(PathBuf),
    /// All on this terminal, which it controls.
    Terminal(PathBuf),
}

impl Limit {
    /// Returns the limit in a line such as `nofile 4096`, or None if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, number) = line.split_once(' ')?;
        let number = Some(number.parse().ok()?);
        match name {
            "nofile" => Some(Self::OpenFiles(number)),
            "nproc" => Some(Self::Processes(number)),
            "core" => Some(Self::Core(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Log(path) | Self::Terminal(path)) = self;
        write!(f, "{}", path.display())
    }
}

/// How to know that a service does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It runs.
    Started,
    /// This file or socket exists; it is removed before the start.
    Path(&'static str),
    /// `GET /_ping` is answered on this socket.
    Ping(&'static str),
}

/// What follows when a service ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again, later each time.
    Always,
    /// As above, unless it ended well or by somebody's signal: then it was meant to end.
    AfterFault,
}

/// A limit of a resource; None means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Open descriptors.
    OpenFiles(Option<u64>),
    /// Processes of the user.
    Processes(Option<u64>),
    /// Core dump, bytes.
    Core(Option<u64>),
}

/// When a service ends at shutdown; order of entries is order of ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopGroup {
    /// People at terminals.
    Logins,
    /// dockerd, which ends the containers.
    Docker,
    /// containerd, once no container needs it.
    Containerd,
    /// All others, such as DHCP clients that containers' goodbyes needed.
    Rest,
}

/// How a service ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// With which of its kind.
    pub group: StopGroup,
    /// Whether SIGHUP rather than SIGTERM asks it to end, as with shells.
    pub by_hangup: bool,
    /// Whether it is left as it is when it stands still, and killed after its grace, rather than woken up to hear of its end.
    pub is_left_halted: bool,
    /// How long it may take before SIGKILL.
    pub grace: Duration,
}

/// A line of the service table.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub id: ServiceId,
    /// Services that have to run for this one to work; somebody's start of this one starts them, too.
    pub after: Vec<ServiceId>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// File with more arguments, one a line, read at each start.
    pub args_from: Option<&'static str>,
    /// Variables added to the common environment.
    pub env: Vec<(&'static str, String)>,
    /// File with more `KEY=value` lines, read at each start if it is there.
    pub env_from: Option<&'static str>,
    /// File with `NAME NUMBER` lines in place of [`Service::limits`], read at each start if it is there.
    pub limits_from: Option<&'static str>,
    /// Helper to run before a start that was asked for, with its limit; not before a restart after a crash.
    pub prepare: Option<(Vec<String>, Duration)>,
    /// When it counts as ready.
    pub ready: Ready,
    /// What follows when it ends by itself.
    pub restart: Restart,
    /// Whether SIGHUP has it read its configuration again; any other is started anew for that.
    pub reloads: bool,
    /// How it ends when asked.
    pub stop: Stop,
    /// Where its streams lead.
    pub streams: Streams,
    /// Resource limits, soft and hard alike.
    pub limits: Vec<Limit>,
    /// -1000 (kept when memory runs out) to 1000.
    pub oom_score: i16,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.id, self.argv.join(" "))?;
        for id in &self.after {
            writeln!(f, "    after {id}")?;
        }
        let files =
            [("arguments", self.args_from), ("environment", self.env_from), ("limits", self.limits_from)];
        for (what, path) in files {
            if let Some(path) = path {
                writeln!(f, "    more {what} from {path}")?;
            }
        }
        if let Some((argv, limit)) = &self.prepare {
            writeln!(f, "    first runs {}, at most {} s", argv.join(" "), limit.as_secs())?;
        }
        writeln!(f, "    streams {}", self.streams)?;
        let signal = if self.stop.by_hangup { "SIGHUP" } else { "SIGTERM" };
        let (group, grace) = (self.stop.group, self.stop.grace.as_secs());
        writeln!(
            f,
            "    ready {:?}, restart {:?}, stop {group:?} {signal} {grace} s",
            self.ready, self.restart
        )?;
        write!(f, "    limits {:?}, oom score {}", self.limits, self.oom_score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_a_name_and_a_number() {
        assert_eq!(Limit::parse("nofile 4096"), Some(Limit::OpenFiles(Some(4096))));
        assert_eq!(Limit::parse("nproc 7"), Some(Limit::Processes(Some(7))));
        for bad in ["", "nofile", "nofile many", "stack 1"] {
            assert_eq!(Limit::parse(bad), None, "{bad}");
        }
    }
}
