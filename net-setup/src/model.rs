//! What is to be done, as values that can be compared and printed.

use std::fmt;
use std::net::Ipv4Addr;
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
    /// Start a program and do not wait for it.
    Detach {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Become another program; nothing follows.
    Become {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Ask on the wire whether another machine has an address; if so, do `otherwise` instead of all that follows.
    UnlessTaken {
        /// Where to ask.
        interface: String,
        /// What to ask for.
        address: Ipv4Addr,
        /// What to do when it is taken.
        otherwise: Vec<Action>,
    },
    /// Give what is here another name, or remove it if it is an empty directory.
    SetAside {
        /// What is in the way.
        path: PathBuf,
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
    /// Say something in the log, and in that of DHCP.
    Note {
        /// What.
        text: String,
    },
    /// Say something odd in the log.
    Warn {
        /// What.
        text: String,
    },
}

/// Lets the server certificate follow the machine's names and addresses; that takes a while, and nobody waits.
pub fn addresses_changed() -> Action {
    Action::Detach { argv: ["/usr/sbin/docker-setup", "addresses-changed"].map(str::to_owned).into() }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { argv, .. } => write!(f, "run {}", argv.join(" ")),
            Self::Detach { argv } => write!(f, "start {}", argv.join(" ")),
            Self::Become { argv } => write!(f, "become {}", argv.join(" ")),
            Self::UnlessTaken { interface, address, otherwise } => {
                write!(f, "unless {address} is taken on {interface}; then")?;
                otherwise.iter().try_for_each(|action| write!(f, " {action},"))?;
                write!(f, " and no more")
            }
            Self::SetAside { path } => write!(f, "set {} aside", path.display()),
            Self::Write { path, .. } => write!(f, "write {}", path.display()),
            Self::Remove { path } => write!(f, "remove {}", path.display()),
            Self::SetHostname { name } => write!(f, "set the host name {name}"),
            Self::Note { text } => write!(f, "note: {text}"),
            Self::Warn { text } => write!(f, "warn: {text}"),
        }
    }
}
