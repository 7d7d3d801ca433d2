//! Carries the plan out. Whatever fails, dockerd gets arguments it can start with.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use b2d_sys::contract::{
    CONTAINERD_ARGS, CROND_ARGS, DAEMON_JSON, DAEMON_LIMITS, DOCKER_HOME, DOCKER_LOG_LINK, DOCKER_UID,
    DOCKERD_ARGS, MOTD_DIR, PROFILE_ENV, PROFILE_SCRIPT, PROFILE_TIME_SOURCES, STAFF_GID, TIME_CONF,
};
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline};
use b2d_sys::effects::console;
use b2d_sys::effects::files::{
    ensure_dir, ensure_synchronous_dir, remove_if_exists, replace_symlink, write_atomic,
};
use nix::fcntl::OFlag;

use crate::facts::{BUNDLE, ETC_DOCKER};
use crate::issue::{self, Issued, Purpose};
use crate::plan::Plan;
use crate::settings::Settings;
use crate::tls::Issue;

const USER: Option<(u32, u32)> = Some((DOCKER_UID, STAFF_GID));
/// Whose state the notes are; `service docker status` shows them.
const SUBJECT: &str = "docker";
const DOCKERD: &str = "/usr/sbin/dockerd";
/// What containerd gives its root, wherever that is; releases since 2025 take the bits of others away.
const STORE_MODE: u32 = 0o711;
/// It reads two files.
const VALIDATE_SECS: u64 = 30;
/// The log's name in boot2docker's releases of 2018 to 2020.
const LATER_LOG: &str = "/var/lib/boot2docker/log/docker.log";
/// Where docker clients of user docker, and boot2docker-cli, look for certificates.
const USER_DIR: &str = ".docker";

/// Does all of the plan; returns whether everything succeeded. Each failure was logged.
///
/// # Errors
/// When dockerd's arguments cannot be written: then it must not be started.
pub fn apply(plan: &Plan) -> Result<bool> {
    let has_tls = reported("certificates", make_certificates(plan));
    let mut is_complete = has_tls & publish(&plan.settings);
    is_complete &= reported("private keys", close(plan));
    plan.remarks.iter().for_each(|remark| log::info!("{remark}"));
    is_complete &= reported("certificates for user docker", copy_for_user(plan));
    is_complete &= reported("list of authorities", write_bundle(plan));
    is_complete &= reported(ETC_DOCKER, link_etc_docker(plan));
    let arguments = if has_tls { &plan.arguments } else { &plan.local_arguments };
    if !has_tls {
        log::error!("docker will listen on its local socket only");
    }
    if let Some(text) = &plan.daemon_json {
        is_complete &= reported(
            "docker's configuration",
            write_atomic(Path::new(DAEMON_JSON), text.as_bytes(), 0o644, None),
        );
    }
    let lines: String = arguments.iter().flat_map(|argument| [argument.as_str(), "\n"]).collect();
    write_atomic(Path::new(DOCKERD_ARGS), lines.as_bytes(), 0o644, None)?;
    tell_with(plan, arguments);
    Ok(is_complete)
}

/// Tells what is new since dockerd's start, and nothing more of what is no longer true.
pub fn tell_notes(plan: &Plan) {
    tell_with(plan, &plan.arguments);
}

fn tell_with(plan: &Plan, arguments: &[String]) {
    let mut notes = plan.notes.clone();
    notes.extend(plan.has_daemon_json.then(|| refusal(arguments)).flatten());
    tell(SUBJECT, &notes);
}

/// Returns why dockerd refuses its configuration file with these arguments, in its own words.
fn refusal(arguments: &[String]) -> Option<String> {
    let validate = Cmd::new(DOCKERD).arg("--validate").args(arguments).run(Deadline::secs(VALIDATE_SECS));
    match validate {
        Err(CmdError::Failed { stderr, .. }) => {
            let reason = stderr.lines().last().unwrap_or_default().trim().to_owned();
            Some(format!("docker will not start: {reason}"))
        }
        Err(error) => {
            log::warn!("{error}");
            None
        }
        Ok(_) => None,
    }
}

/// Writes what others than dockerd read; returns whether everything succeeded. Each failure was logged.
pub fn publish(settings: &Settings) -> bool {
    tell("profile", &settings.notes);
    let write = |path: &str, text: &str, mode, owner| -> Result<()> {
        let path = Path::new(path);
        ensure_dir(path.parent().unwrap_or(path), 0o755, None)?;
        write_atomic(path, text.as_bytes(), mode, owner)
    };
    let wanted = |path: &str, text: Option<&str>| match text {
        Some(text) => write(path, text, 0o644, None),
        None => remove_if_exists(Path::new(path)).with_context(|| format!("removing {path}")),
    };
    let limits = Some(settings.limits.as_str()).filter(|limits| !limits.is_empty());
    let outcomes = [
        // Passwords of proxies are in them.
        ("environment", write(PROFILE_ENV, &settings.environment, 0o600, None)),
        ("shells' environment", write(PROFILE_SCRIPT, &settings.script, 0o640, Some((0, STAFF_GID)))),
        ("time servers", write(TIME_CONF, &settings.time_conf, 0o644, None)),
        ("named time servers", wanted(PROFILE_TIME_SOURCES, settings.time_sources.as_deref())),
        ("limits", wanted(DAEMON_LIMITS, limits)),
        ("crond's arguments", write(CROND_ARGS, &settings.crond_args, 0o644, None)),
        ("containerd's arguments", write(CONTAINERD_ARGS, &settings.containerd_args, 0o644, None)),
        ("containerd's directories", make_synchronous(&settings.synchronous_dirs)),
        ("docker's log", link_log(&settings.log_file)),
    ];
    outcomes.into_iter().fold(true, |is_complete, (what, outcome)| reported(what, outcome) & is_complete)
}

fn make_synchronous(dirs: &[PathBuf]) -> Result<()> {
    for dir in dirs {
        if !ensure_synchronous_dir(dir, STORE_MODE)? {
            log::debug!("the file system of {} has no synchronous directories", dir.display());
        }
    }
    Ok(())
}

/// boot2docker's last releases kept the log in a folder of logs: that name stays, unless a log of theirs is there.
fn link_log(log_file: &Path) -> Result<()> {
    ensure_dir(log_file.parent().unwrap_or(log_file), 0o755, None)?;
    for link in [Path::new(DOCKER_LOG_LINK), Path::new(LATER_LOG)] {
        let is_free = fs::symlink_metadata(link).map_or(true, |meta| meta.is_symlink());
        if is_free && link != log_file && link.parent().is_some_and(Path::is_dir) {
            replace_symlink(log_file, link)?;
        }
    }
    Ok(())
}

/// Tells on the consoles what was not told before, and at logins as long as it is true.
fn tell(subject: &str, notes: &[String]) {
    let path = Path::new(MOTD_DIR).join(subject);
    let known = fs::read_to_string(&path).unwrap_or_default();
    notes.iter().for_each(|note| log::warn!("{note}"));
    let news: Vec<String> = notes.iter().filter(|note| !known.lines().any(|k| k == *note)).cloned().collect();
    console::say(&news);
    let keep = || match notes {
        [] => remove_if_exists(&path).with_context(|| format!("removing {}", path.display())),
        _ => {
            ensure_dir(Path::new(MOTD_DIR), 0o755, None)?;
            write_atomic(&path, (notes.join("\n") + "\n").as_bytes(), 0o644, None)
        }
    };
    reported("message of the day", keep());
}

fn reported(what: &str, result: Result<()>) -> bool {
    if let Err(error) = &result {
        log::error!("{what}: {error:#}");
    }
    result.is_ok()
}

fn make_certificates(plan: &Plan) -> Result<()> {
    if plan.tls.orders.is_empty() {
        return Ok(());
    }
    ensure_dir(&plan.cert_dir, 0o700, None)?;
    let mut authority: Option<Issued> = None;
    for issue in &plan.tls.orders {
        log::info!("{issue}");
        let issued = if issue.order.purpose == Purpose::Authority {
            authority.insert(make(issue, None)?)
        } else {
            let authority = match &authority {
                Some(new) => new,
                None => authority.insert(read_authority(plan)?),
            };
            &make(issue, Some(authority))?
        };
        // The key first: a certificate without its key would look complete.
        write_atomic(&issue.key, issued.key.as_bytes(), 0o600, None)?;
        write_atomic(&issue.certificate, issued.certificate.as_bytes(), 0o644, None)?;
    }
    match &plan.tls.names_file {
        Some((path, names)) => write_atomic(path, names.as_bytes(), 0o644, None),
        None => Ok(()),
    }
}

/// What was swapped for a link meanwhile is not followed.
fn close(plan: &Plan) -> Result<()> {
    for (path, mode) in &plan.tighten {
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path);
        let set = opened.and_then(|file| file.set_permissions(Permissions::from_mode(*mode)));
        set.with_context(|| format!("closing {}", path.display()))?;
        log::warn!("{} could be read by others; it is root's alone now", path.display());
    }
    Ok(())
}

fn make(issue: &Issue, authority: Option<&Issued>) -> Result<Issued> {
    issue::issue(&issue.order, authority).with_context(|| format!("making {}", issue.certificate.display()))
}

fn read_authority(plan: &Plan) -> Result<Issued> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let (certificate, key) = &plan.tls.authority;
    Ok(Issued { certificate: read(certificate)?, key: read(key)? })
}

fn copy_for_user(plan: &Plan) -> Result<()> {
    let dir = Path::new(DOCKER_HOME).join(USER_DIR);
    if dir.is_symlink() {
        bail!("{} is a link: root does not write where a user points", dir.display());
    }
    ensure_dir(&dir, 0o700, USER)?;
    for (file, name) in &plan.tls.for_user {
        let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let mode = if *name == "key.pem" { 0o600 } else { 0o644 };
        write_atomic(&dir.join(name), &content, mode, USER)?;
    }
    Ok(())
}

fn write_bundle(plan: &Plan) -> Result<()> {
    let Some(bundle) = &plan.bundle else { return Ok(()) };
    let path = Path::new(BUNDLE);
    ensure_dir(path.parent().unwrap_or(path), 0o755, None)?;
    write_atomic(path, bundle.as_bytes(), 0o644, None)
}

fn link_etc_docker(plan: &Plan) -> Result<()> {
    let Some(target) = &plan.etc_docker else { return Ok(()) };
    ensure_dir(target, 0o755, None)?;
    replace_symlink(target, Path::new(ETC_DOCKER))
}
