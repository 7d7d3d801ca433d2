//! Commands in the guest over SSH, as user `docker` with the documented password.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use iso_builder::tools::ToolsTree;

use crate::{Deadline, child};

/// Password of user `docker`, known to everybody.
const PASSWORD: &str = "tcuser";

/// Options of every connection. The first is what Docker Machine passes too: no configuration of the host counts.
const OPTIONS: [&str; 12] = [
    "-F",
    "/dev/null",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oGlobalKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oPreferredAuthentications=password",
    "-oPubkeyAuthentication=no",
    "-oNumberOfPasswordPrompts=1",
    "-oControlPath=none",
    "-oServerAliveInterval=60",
    "-T",
];

/// A guest's SSH server.
#[derive(Debug)]
pub struct Ssh {
    tools: ToolsTree,
    port: u16,
    askpass: PathBuf,
}

impl Ssh {
    /// Prepares connections to `port` of 127.0.0.1; `folder` is where a program that tells the password is put.
    ///
    /// # Errors
    /// When that program cannot be written.
    pub fn new(tools: &ToolsTree, port: u16, folder: &Path) -> Result<Self> {
        let askpass = folder.join("askpass");
        write_askpass(&askpass).with_context(|| format!("writing {}", askpass.display()))?;
        Ok(Self { tools: tools.clone(), port, askpass })
    }

    /// Runs `script` in the guest's login shell and returns its standard output.
    ///
    /// # Errors
    /// When it fails, with its exit status and standard error.
    pub fn run(&self, script: &str) -> Result<String> {
        String::from_utf8(self.run_bytes(script)?).with_context(|| format!("reading what {script:?} wrote"))
    }

    /// Runs `script` as [`Ssh::run`] does, for output that is not text.
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn run_bytes(&self, script: &str) -> Result<Vec<u8>> {
        let output = self.output(script, b"")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "running {script:?} in the guest: {}: {}",
            output.status,
            stderr.trim()
        );
        Ok(output.stdout)
    }

    /// Runs `script` with `stdin` and returns all it wrote and its exit status; 255 is ssh's own failure.
    ///
    /// # Errors
    /// When `ssh` cannot be started or the guest does not answer in time.
    pub fn output(&self, script: &str, stdin: &[u8]) -> Result<Output> {
        let deadline = Deadline::reply();
        let mut ssh = self.tools.program("ssh");
        ssh.args(OPTIONS)
            .arg(format!("-oConnectTimeout={}", deadline.limit().as_secs()))
            .args(["-p", &self.port.to_string(), "docker@127.0.0.1", script])
            .env("SSH_ASKPASS", &self.askpass)
            .env("SSH_ASKPASS_REQUIRE", "force");
        child::run(ssh, stdin, deadline).with_context(|| format!("running {script:?} in the guest"))
    }
}

fn write_askpass(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let part = path.with_extension("part");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o700)
        .open(&part)?
        .write_all(format!("#!/bin/sh\necho {PASSWORD}\n").as_bytes())?;
    fs::rename(part, path)
}
