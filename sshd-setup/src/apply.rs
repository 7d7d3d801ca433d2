//! Carries the plan out. A group that fails is reported; the others are still done.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Component, Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use b2d_sys::contract::{DOCKER_HOME, DOCKER_UID, SSH_DIR, STAFF_GID};
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline};
use b2d_sys::effects::files::{ensure_dir, remove_if_exists, replace_symlink, write_atomic};

use crate::facts::CONFIG;
use crate::plan::{Group, KeyKind, Plan, Step};

/// Elliptic keys take milliseconds; a busy host makes seconds of that. With twice [`SSHD_TEST_SECS`] it fits into the time
/// that the boot plan gives to all of this, 180 s.
const KEYGEN_SECS: u64 = 60;
/// An RSA key is found by luck: with an emulated processor on a busy host that has taken more than two minutes.
const RSA_KEYGEN_SECS: u64 = 1500;
/// Reading the configuration takes milliseconds, and seconds on a busy host; longer means it hangs.
const SSHD_TEST_SECS: u64 = 45;

/// Does all groups of the plan.
///
/// # Errors
/// When at least one group could not be finished; each was logged with its reason.
pub fn apply(plan: &Plan) -> Result<()> {
    let mut failed = Vec::new();
    for group in &plan.groups {
        if let Err(error) = do_group(group) {
            log::error!("{}: {error:#}", group.name);
            failed.push(group.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(anyhow!("not finished: {}", failed.join(", "))) }
}

fn do_group(group: &Group) -> Result<()> {
    for step in &group.steps {
        log::debug!("{step}");
        match step {
            Step::Dir(path, mode) => ensure_dir(path, *mode, None)?,
            Step::Write { path, mode, content } => {
                ensure_dir(path.parent().unwrap_or(path), 0o755, None)?;
                write_atomic(path, content, *mode, None)?;
            }
            Step::ReplaceByLink(target, link) => replace_by_link(target, link)?,
            Step::MakeKeys(kinds) => make_keys(kinds)?,
            Step::CheckConfig { rejected, fallback } => check_config(rejected, fallback.as_deref())?,
            Step::OwnHome => own_home()?,
            Step::UserDir(path, mode) => ensure_dir(&user_path(path)?, *mode, USER)?,
            Step::UserFile { path, mode, content } => {
                let path = user_path(path)?;
                make_user_parents(&path)?;
                write_atomic(&path, content, *mode, USER)?;
            }
        }
    }
    Ok(())
}

const USER: Option<(u32, u32)> = Some((DOCKER_UID, STAFF_GID));

/// Deletes the directory that is in the link's way: its files were copied before, or are those of the image.
fn replace_by_link(target: &Path, link: &Path) -> Result<()> {
    if fs::symlink_metadata(link).is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir_all(link).with_context(|| format!("removing {}", link.display()))?;
    }
    ensure_dir(link.parent().unwrap_or(link), 0o755, None)?;
    replace_symlink(target, link)
}

fn make_keys(kinds: &[KeyKind]) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = kinds.iter().map(|&kind| scope.spawn(move || make_key(kind))).collect();
        running
            .into_iter()
            .try_for_each(|key| key.join().map_err(|_| anyhow!("making a host key panicked"))?)
    })
}

/// The private key gets its name last: where it is, the pair is complete.
fn make_key(kind: KeyKind) -> Result<()> {
    let path = Path::new(SSH_DIR).join(kind.file());
    let new = Path::new(SSH_DIR).join(format!(".{}.new", kind.file()));
    let (public, new_public) = (with_suffix(&path, ".pub"), with_suffix(&new, ".pub"));
    let work = || -> Result<()> {
        remove_if_exists(&new)?;
        remove_if_exists(&new_public)?;
        let keygen = Cmd::new("/usr/bin/ssh-keygen").args([
            "-q",
            "-t",
            kind.name(),
            "-N",
            "",
            "-C",
            "boot2docker",
            "-f",
        ]);
        let limit = if kind == KeyKind::Rsa { RSA_KEYGEN_SECS } else { KEYGEN_SECS };
        keygen.arg(&new).run(Deadline::secs(limit))?;
        for (from, to) in [(&new_public, &public), (&new, &path)] {
            File::open(from)?.sync_all()?;
            fs::rename(from, to)?;
        }
        Ok(())
    };
    work().with_context(|| format!("making {}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// A configuration that this sshd rejects would leave the machine without ssh.
fn check_config(rejected: &Path, fallback: Option<&[u8]>) -> Result<()> {
    let config = Path::new(SSH_DIR).join(CONFIG);
    let test = Cmd::new("/usr/sbin/sshd").args(["-t", "-f"]).arg(&config);
    let error = match test.run(Deadline::secs(SSHD_TEST_SECS)) {
        Ok(_) => return Ok(()),
        Err(error @ CmdError::Failed { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let Some(fallback) = fallback else { bail!("{error}; no other configuration is known") };
    if fs::read(&config).is_ok_and(|current| current == fallback) {
        bail!("{error}; this is the image's own configuration");
    }
    fs::rename(&config, rejected).with_context(|| format!("setting {} aside", config.display()))?;
    write_atomic(&config, fallback, 0o644, None)?;
    log::error!("{} was rejected and is now {}: {error}", config.display(), rejected.display());
    test.run(Deadline::secs(SSHD_TEST_SECS))?;
    Ok(())
}

fn own_home() -> Result<()> {
    let home = Path::new(DOCKER_HOME);
    ensure_dir(home, 0o755, USER)?;
    own_tree(home).with_context(|| format!("giving {DOCKER_HOME} to its user"))
}

fn own_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        lchown(entry.path(), Some(DOCKER_UID), Some(STAFF_GID))?;
        if entry.file_type()?.is_dir() {
            own_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns the place of a path in the home. No part of it may be a link: root must not write where the user points.
fn user_path(path: &Path) -> Result<PathBuf> {
    let mut place = PathBuf::from(DOCKER_HOME);
    for part in path.components() {
        if !matches!(part, Component::Normal(_)) || place.is_symlink() {
            bail!("writing {}: it leads out of {DOCKER_HOME}", path.display());
        }
        place.push(part);
    }
    Ok(place)
}

/// An archive may name a file without naming its directory.
fn make_user_parents(path: &Path) -> Result<()> {
    let above: Vec<&Path> =
        path.ancestors().skip(1).take_while(|dir| *dir != Path::new(DOCKER_HOME)).collect();
    above.iter().rev().filter(|dir| !dir.exists()).try_for_each(|dir| ensure_dir(dir, 0o755, USER))
}
