//! Carries a plan out. Decides nothing but stop or go on, as the plan says.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use b2d_sys::contract;
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::files::{ensure_dir, read_optional, remove_if_exists, write_atomic};
use b2d_sys::effects::hostname;
use b2d_sys::effects::process::{self, Spawn, Streams};

use crate::model::Action;

/// `ip` and `chronyc` answer at once, unless they hang or the host is busy: 10 s were seen for `ip`.
const LIMIT_SECONDS: u64 = 60;
const ARPING: &str = "/usr/sbin/arping";
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;
/// What DHCP clients did; boot2docker 17.12 had it here.
const DHCP_LOG: &str = "/var/log/udhcp.log";

/// Carries the actions out in order. One that fails does not keep the later ones from being tried.
///
/// # Errors
/// The first failure.
pub fn apply(actions: &[Action]) -> Result<()> {
    let mut first = Ok(());
    for action in actions {
        if let Action::UnlessTaken { interface, address, otherwise } = action {
            if is_taken(interface, *address) {
                return first.and(apply(otherwise));
            }
        } else if let Err(error) = carry_out(action) {
            log::error!("{error:#}");
            first = first.and(Err(error));
        }
    }
    first
}

fn carry_out(action: &Action) -> Result<()> {
    match action {
        Action::UnlessTaken { .. } => Ok(()),
        Action::Run { argv, may_fail } => run(argv, *may_fail),
        Action::Detach { argv } => detach(argv),
        Action::Become { argv } => {
            Err(process::replace_self_quietly(argv)).with_context(|| format!("becoming {}", argv.join(" ")))
        }
        Action::SetAside { path } => set_aside(path),
        Action::Write { path, text } => write(path, text),
        Action::Remove { path } => {
            remove_if_exists(path).with_context(|| format!("removing {}", path.display()))
        }
        Action::SetHostname { name } => hostname::set(name),
        Action::Note { text } => {
            log::info!("{text}");
            note(text).with_context(|| format!("writing to {DHCP_LOG}"))
        }
        Action::Warn { text } => {
            log::warn!("{text}");
            Ok(())
        }
    }
}

fn run(argv: &[String], may_fail: bool) -> Result<()> {
    let (program, args) = argv.split_first().context("running nothing")?;
    match Cmd::new(program).args(args).run(Deadline::secs(LIMIT_SECONDS)) {
        Err(error) if may_fail => log::debug!("{error}"),
        outcome => drop(outcome?),
    }
    Ok(())
}

/// Tells whether another machine on the wire answers for an address. A wire that cannot be asked keeps nobody from his
/// address. Source: RFC 5227, section 2.1.1; busybox `networking/arping.c`: 1 means that somebody answered.
fn is_taken(interface: &str, address: Ipv4Addr) -> bool {
    let ask = Cmd::new(ARPING).args(["-D", "-q", "-c", "1", "-w", "1", "-I", interface]);
    match ask.arg(address.to_string()).run(Deadline::secs(LIMIT_SECONDS)) {
        Ok(_) => false,
        Err(error) if error.exit_code() == Some(1) => true,
        Err(error) => {
            log::info!("{error}; {address} is set without having asked for it");
            false
        }
    }
}

/// Nobody waits for the program: PID 1 takes note of its end.
fn detach(argv: &[String]) -> Result<()> {
    let spawn = Spawn {
        argv: argv.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), contract::PATH.into()), ("HOME".into(), "/root".into())],
        streams: Streams::Null,
        limits: vec![],
        oom_score: 0,
        cgroup: None,
    };
    process::start(&spawn).map(drop)
}

/// A bind mount of a file that does not exist makes an empty directory of it: that may go.
fn set_aside(path: &Path) -> Result<()> {
    if fs::remove_dir(path).is_ok() {
        log::warn!("{} was an empty directory; removed", path.display());
        return Ok(());
    }
    let aside = path.with_extension("aside");
    ensure!(!aside.exists(), "setting {} aside: {} exists already", path.display(), aside.display());
    fs::rename(path, &aside).with_context(|| format!("setting {} aside", path.display()))?;
    log::warn!("{} was a directory; it is now {}", path.display(), aside.display());
    Ok(())
}

fn note(text: &str) -> std::io::Result<()> {
    writeln!(OpenOptions::new().append(true).create(true).open(DHCP_LOG)?, "{text}")
}

fn write(path: &Path, text: &str) -> Result<()> {
    let old = read_optional(path).with_context(|| format!("reading {}", path.display()))?;
    if old.as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        ensure_dir(dir, DIR_MODE, None)?;
    }
    write_atomic(path, text.as_bytes(), FILE_MODE, None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failure_does_not_stop_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let missing = Action::Run { argv: vec!["/no/such".into()], may_fail: false };
        let actions = [missing, Action::Write { path: path.clone(), text: "x".into() }];
        assert_eq!(apply(&actions).unwrap_err().to_string(), "running /no/such");
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn a_directory_in_the_way_is_kept_unless_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::create_dir(&path).unwrap();
        let actions = [Action::SetAside { path: path.clone() }];
        apply(&actions).unwrap();
        assert!(!path.exists() && !dir.path().join("resolv.aside").exists());
        fs::create_dir_all(path.join("mine")).unwrap();
        apply(&actions).unwrap();
        assert!(!path.exists() && dir.path().join("resolv.aside/mine").is_dir());
    }

    #[test]
    fn a_tolerated_failure_is_none() {
        let missing = Action::Run { argv: vec!["/no/such".into()], may_fail: true };
        assert!(apply(&[missing, Action::Remove { path: "/no/such/file".into() }]).is_ok());
    }
}
