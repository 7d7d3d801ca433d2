//! What is to be done, as values that can be compared and printed.

use std::fmt;
use std::path::PathBuf;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run a program. One that `may_fail` is not worth stopping for.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Whether to go on if it fails.
        may_fail: bool,
    },
    /// Write a file (0644) unless it has this content already.
    Write {
        /// Where.
        path: PathBuf,
        /// Its content.
        text: String,
    },
    /// Remove a file, if it is there.
    Remove {
        /// Where.
        path: PathBuf,
    },
    /// Tell the kernel the machine's name.
    SetHostname {
        /// The name.
        name: String,
    },
    /// Say something odd in the log.
    Warn {
        /// What.
        text: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { argv, .. } => write!(f, "run {}", argv.join(" ")),
            Self::Write { path, .. } => write!(f, "write {}", path.display()),
            Self::Remove { path } => write!(f, "remove {}", path.display()),
            Self::SetHostname { name } => write!(f, "set the host name {name}"),
            Self::Warn { text } => write!(f, "warn: {text}"),
        }
    }
}
