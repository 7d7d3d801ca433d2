//! The boot as data: stages of steps, and the services they start. Values here can be compared and printed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::works::PROGRAM;

/// Name of a service, as `service NAME` takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceId(String);

impl ServiceId {
    /// Takes a name as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What follows when a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing works without it: a shell and the reason on every console.
    Rescue,
    /// Said in the log and on the consoles; the boot goes on.
    Warn,
    /// Said in the log: kernels may lack it.
    Optional,
}

/// When a step that starts a service is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// At once; supervision does the rest.
    No,
    /// When the service is ready, or with a failure after this long.
    Ready(Duration),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Mount a file system; `options` are mount(8)'s words, `data` the file system's own.
    Mount {
        /// Device or other source.
        source: &'static str,
        /// Mount point; made if missing.
        target: &'static str,
        /// File system type.
        fstype: &'static str,
        /// Comma-separated generic options.
        options: &'static str,
        /// Comma-separated options of the file system.
        data: &'static str,
    },
    /// Make a directory with these permission bits.
    Dir {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Make a symbolic link.
    Link {
        /// What it points to.
        target: &'static str,
        /// The link itself.
        link: &'static str,
    },
    /// Write a kernel setting.
    Write {
        /// File below `/proc` or `/sys`.
        path: String,
        /// Its content.
        text: String,
    },
    /// Switch a network interface on.
    LinkUp {
        /// Its name.
        interface: String,
    },
    /// Run a program to its end; killed at the limit.
    Helper {
        /// Program and arguments.
        argv: Vec<String>,
        /// How long it may take.
        limit: Duration,
    },
    /// Run a script of the user's; after `patience` it is left alone and the boot goes on.
    Hook {
        /// The script.
        path: &'static str,
        /// How long others wait for it.
        patience: Duration,
    },
    /// Start a script of the user's and do not wait for it.
    Background {
        /// The script.
        path: &'static str,
        /// File for its output, emptied first.
        log: &'static str,
    },
    /// Offer a shell on every console instead of going on.
    Rescue {
        /// Why.
        reason: &'static str,
    },
    /// Look at the data disk and plan the rest of the boot.
    PlanTheRest,
    /// Start a service.
    Start {
        /// Which.
        service: ServiceId,
        /// When the step is over.
        wait: Wait,
    },
    /// Wait for a service that was started.
    Await {
        /// Which.
        service: ServiceId,
        /// How long; then the step has failed.
        limit: Duration,
    },
    /// Wait for a service, however long that takes, and tell on the consoles.
    Announce {
        /// Which.
        service: ServiceId,
        /// The line's beginning; the time since kernel start follows.
        line: &'static str,
    },
}

/// An action and what follows from its failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// What follows when that fails.
    pub policy: Policy,
}

/// Steps that run one after the other, once the stages named in `after` are over.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name in logs and in the timeline.
    pub name: &'static str,
    /// Stages that must be over first, well or not.
    pub after: Vec<&'static str>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

impl Action {
    /// Returns a short name for logs and the timeline.
    pub fn name(&self) -> String {
        let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        match self {
            Self::Mount { target, .. } => (*target).to_owned(),
            Self::Dir { path, .. } => path.display().to_string(),
            Self::Link { link, .. } => (*link).to_owned(),
            Self::Write { path, .. } => path.clone(),
            Self::LinkUp { interface } => format!("link-{interface}"),
            // A work of our own is told by its argument.
            Self::Helper { argv, .. } => match argv.as_slice() {
                [program, work] if program == PROGRAM && work.starts_with("--") => work[2..].to_owned(),
                [program, ..] => base(program),
                [] => String::new(),
            },
            Self::Hook { path, .. } | Self::Background { path, .. } => base(path),
            Self::Rescue { .. } => "rescue".to_owned(),
            Self::PlanTheRest => "plan-the-rest".to_owned(),
            Self::Start { service, .. } => service.to_string(),
            Self::Await { service, .. } => format!("{service}-wait"),
            Self::Announce { service, .. } => format!("{service}-ready"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { source, target, fstype, options, data } => {
                write!(f, "mount {source} on {target} type {fstype} ({options}; {data})")
            }
            Self::Dir { path, mode } => write!(f, "make directory {} mode {mode:04o}", path.display()),
            Self::Link { target, link } => write!(f, "link {link} to {target}"),
            Self::Write { path, text } => write!(f, "write {text:?} to {path}"),
            Self::LinkUp { interface } => write!(f, "switch {interface} on"),
            Self::Helper { argv, limit } => {
                write!(f, "run {}, at most {} s", argv.join(" "), limit.as_secs())
            }
            Self::Hook { path, patience } => {
                write!(f, "run hook {path}, others wait at most {} s", patience.as_secs())
            }
            Self::Background { path, log } => write!(f, "start hook {path}, output in {log}"),
            Self::Rescue { reason } => write!(f, "offer a rescue shell: {reason}"),
            Self::PlanTheRest => f.write_str("look at the data disk and plan the rest"),
            Self::Start { service, wait: Wait::No } => write!(f, "start {service}"),
            Self::Start { service, wait: Wait::Ready(limit) } => {
                write!(f, "start {service}, ready in {} s", limit.as_secs())
            }
            Self::Await { service, limit } => write!(f, "wait for {service}, at most {} s", limit.as_secs()),
            Self::Announce { service, line } => write!(f, "when {service} is ready, print {line:?}"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.after.is_empty() {
            write!(f, " (after {})", self.after.join(", "))?;
        }
        writeln!(f)?;
        for step in &self.steps {
            let mark = match step.policy {
                Policy::Rescue => "!",
                Policy::Warn => " ",
                Policy::Optional => "?",
            };
            writeln!(f, "  {mark} {}", step.action)?;
        }
        Ok(())
    }
}
