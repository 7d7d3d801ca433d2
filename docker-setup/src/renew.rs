//! What happens to certificates while dockerd runs: a changed address or name, or an end that is near, makes a new server
//! certificate, and dockerd is started again with it, as it reads its certificates only once.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::contract::{DOCKERD_ARGS, PATH};
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::console;
use b2d_sys::effects::process::{self, Spawn, Streams};

use crate::plan::Plan;
use crate::tls::When;
use crate::{apply, facts, plan};

/// One of us works at a time. The file is there from the first full run's start on.
pub const LOCK: &str = "/run/boot2docker/docker-setup.lock";
/// The argument of the half of `addresses-changed` that works while nobody waits.
pub const ADDRESSES_NOW: &str = "addresses-changed-now";
/// The argument of the half of `renew` that works while nobody waits.
pub const RENEW_NOW: &str = "renew-now";
const OURSELVES: &str = "/usr/sbin/docker-setup";
/// PID 1's ear.
pub const SERVICE: &str = "/usr/sbin/service";
/// PID 1 answers at once.
const STATUS_SECS: u64 = 20;
/// dockerd ends its containers first.
const RESTART_SECS: u64 = 120;

/// Begins one of the two works in a process of its own and returns: neither a lease's hook nor the clock's watch must wait.
///
/// # Errors
/// When it cannot be started.
pub fn in_background(work: &str) -> Result<()> {
    let spawn = Spawn {
        argv: [OURSELVES, work].map(OsString::from).into(),
        env: vec![("PATH".into(), PATH.into())],
        streams: Streams::Null,
        limits: vec![],
        oom_score: 0,
        cgroup: None,
    };
    process::start(&spawn).map(drop)
}

/// Makes a server certificate that names the machine as it is now, unless there is one, and starts dockerd again. Nothing is
/// made that can wait: dockerd may just be reading the old one.
///
/// # Errors
/// When the facts cannot be read, the certificate not be made, or PID 1 does not answer.
pub fn follow_addresses(lock: File) -> Result<()> {
    match plan_while_running()? {
        Some(plan) if plan.is_restart_due() => replace(&plan, lock),
        _ => Ok(()),
    }
}

/// Makes the certificates anew that end soon or lack an address, starts dockerd again if the server's is among them and cannot
/// wait, and tells what is to be told of those that others made.
///
/// # Errors
/// As [`follow_addresses`].
pub fn renew(lock: File) -> Result<()> {
    match plan_while_running()? {
        Some(plan) if plan.tls.orders.is_empty() => apply::tell_notes(&plan),
        Some(plan) => replace(&plan, lock)?,
        None => {}
    }
    Ok(())
}

/// Before dockerd's arguments were first written nothing is to be done: the boot does all of it.
fn plan_while_running() -> Result<Option<Plan>> {
    if !Path::new(DOCKERD_ARGS).exists() {
        return Ok(None);
    }
    Ok(Some(plan::plan(&facts::read(When::Running)?)))
}

fn replace(plan: &Plan, lock: File) -> Result<()> {
    apply::apply(plan)?;
    // PID 1 runs us once more before it starts dockerd.
    drop(lock);
    if !plan.is_restart_due() {
        return Ok(());
    }
    if Cmd::new(SERVICE).args(["docker", "status"]).run(Deadline::secs(STATUS_SECS)).is_err() {
        log::info!("docker does not run; it will find its new certificate when it starts");
        return Ok(());
    }
    let reasons = plan.tls.orders.iter().map(|issue| format!("{issue}"));
    let reasons: Vec<String> = reasons.collect();
    let news = format!("docker is restarted with a new certificate ({})", reasons.join("; "));
    log::warn!("{news}");
    console::say(&[news]);
    let restarted = Cmd::new(SERVICE).args(["docker", "restart"]).run(Deadline::secs(RESTART_SECS));
    restarted.map(drop).context("restarting docker with its new certificate")
}
