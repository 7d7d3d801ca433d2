//! Follows changed addresses and names: a new server certificate, and dockerd started again with it.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::contract::{DOCKERD_ARGS, PATH};
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::process::{self, Spawn, Streams};

use crate::issue::Purpose;
use crate::plan::Plan;
use crate::{apply, facts, plan};

/// One of us works at a time. The file is there from the first full run's start on.
pub const LOCK: &str = "/run/boot2docker/docker-setup.lock";
/// The argument of the half that works while nobody waits.
pub const IN_FOREGROUND: &str = "addresses-changed-now";
const OURSELVES: &str = "/usr/sbin/docker-setup";
const SERVICE: &str = "/usr/sbin/service";
/// PID 1 answers at once.
const STATUS_SECS: u64 = 20;
/// dockerd ends its containers first.
const RESTART_SECS: u64 = 120;

/// Begins [`now`] in a process of its own and returns: a lease's hook must not wait.
///
/// # Errors
/// When it cannot be started.
pub fn in_background() -> Result<()> {
    let spawn = Spawn {
        argv: [OURSELVES, IN_FOREGROUND].map(OsString::from).into(),
        env: vec![("PATH".into(), PATH.into())],
        streams: Streams::Null,
        limits: vec![],
        oom_score: 0,
        cgroup: None,
    };
    process::start(&spawn).map(drop)
}

/// Makes a server certificate that names the machine as it is now, unless there is one, and starts dockerd again.
///
/// Before dockerd's arguments were first written nothing is to be done: the boot does all of it.
///
/// # Errors
/// When the facts cannot be read, the certificate not be made, or PID 1 does not answer.
pub fn now(lock: File) -> Result<()> {
    if !Path::new(DOCKERD_ARGS).exists() {
        return Ok(());
    }
    let plan = plan::plan(&facts::read()?);
    if !has_new_server(&plan) {
        return Ok(());
    }
    apply::apply(&plan)?;
    // PID 1 runs us once more before it starts dockerd.
    drop(lock);
    if Cmd::new(SERVICE).args(["docker", "status"]).run(Deadline::secs(STATUS_SECS)).is_err() {
        log::info!("docker does not run; it will find its new certificate when it starts");
        return Ok(());
    }
    log::info!("docker is restarted with its new certificate");
    let restarted = Cmd::new(SERVICE).args(["docker", "restart"]).run(Deadline::secs(RESTART_SECS));
    restarted.map(drop).context("restarting docker with its new certificate")
}

fn has_new_server(plan: &Plan) -> bool {
    plan.tls.orders.iter().any(|issue| matches!(issue.order.purpose, Purpose::Server { .. }))
}
