//! Commands in the guest over SSH, as user `docker`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use iso_builder::tools::ToolsTree;

use crate::{Deadline, child};

/// An RSA key is found by luck; a second is usual.
const KEYGEN_LIMIT: Duration = Duration::from_secs(60);

/// Password of user `docker`, known to everybody.
const PASSWORD: &str = "tcuser";

/// Whom and where to log in.
pub const DESTINATION: &str = "docker@127.0.0.1";

/// Options of every connection. No configuration of the host counts, and no host key is remembered.
const OPTIONS: [&str; 8] = [
    "-F",
    "/dev/null",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oGlobalKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oControlPath=none",
    "-T",
];

/// How to log in.
#[derive(Debug)]
enum Login {
    /// With the documented password, which this program tells.
    Password(PathBuf),
    /// With this key alone, as Docker Machine does.
    Key(PathBuf),
}

/// A guest's SSH server.
#[derive(Debug)]
pub struct Ssh {
    tools: ToolsTree,
    port: u16,
    login: Login,
}

impl Ssh {
    /// Prepares connections to `port` of 127.0.0.1 with the password; a program that tells it is put into `folder`.
    ///
    /// # Errors
    /// When that program cannot be written.
    pub fn with_password(tools: &ToolsTree, port: u16, folder: &Path) -> Result<Self> {
        let askpass = folder.join("askpass");
        write_program(&askpass, &format!("#!/bin/sh\necho {PASSWORD}\n"))
            .with_context(|| format!("writing {}", askpass.display()))?;
        Ok(Self { tools: tools.clone(), port, login: Login::Password(askpass) })
    }

    /// Prepares connections to `port` of 127.0.0.1 with an RSA key and the oldest signature for it.
    ///
    /// The SSH client built into Docker Machine signs with SHA-1 only.
    #[must_use]
    pub fn with_rsa_key(tools: &ToolsTree, port: u16, key: &Path) -> Self {
        Self { tools: tools.clone(), port, login: Login::Key(key.to_path_buf()) }
    }

    /// Runs `script` in the guest's login shell and returns its standard output.
    ///
    /// # Errors
    /// When it fails, with its exit status and standard error.
    pub fn run(&self, script: &str) -> Result<String> {
        String::from_utf8(self.run_bytes(script)?).with_context(|| format!("reading what {script:?} wrote"))
    }

    /// Waits until `condition` succeeds in the guest.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn until(&self, condition: &str) -> Result<()> {
        let script = format!("until {{ {condition}; }} >/dev/null 2>&1; do sleep 0.5; done");
        self.run(&script).map(drop).with_context(|| format!("awaiting that {condition:?} succeeds"))
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
        let mut ssh = self.command(&[]);
        ssh.arg(script);
        child::run(ssh, stdin, Deadline::reply()).with_context(|| format!("running {script:?} in the guest"))
    }

    /// Lets each guest port of `pairs`, on the guest's 127.0.0.1, lead to the port of the host's 127.0.0.1 beside it.
    ///
    /// # Errors
    /// When `ssh` cannot be started or the guest does not listen in time.
    pub fn tunnel(&self, pairs: &[(u16, u16)]) -> Result<Tunnel> {
        let ways: Vec<String> =
            pairs.iter().map(|(guest, host)| format!("-R{guest}:127.0.0.1:{host}")).collect();
        let mut options = vec!["-N", "-oExitOnForwardFailure=yes"];
        options.extend(ways.iter().map(String::as_str));
        let mut ssh = self.command(&options);
        let tunnel = Tunnel { ssh: ssh.stdin(Stdio::null()).spawn().context("starting ssh")? };
        for (guest, _) in pairs {
            self.until(&format!("ss -tln | grep -q 127.0.0.1:{guest}"))?;
        }
        Ok(tunnel)
    }

    /// Returns the `ssh` command with `options` and everything up to the destination; what it is to run may follow.
    #[must_use]
    pub fn command(&self, options: &[&str]) -> Command {
        let mut ssh = self.command_to_anywhere(options);
        ssh.arg(DESTINATION);
        ssh
    }

    /// Writes a program into `folder` that logs in as this connection does, for those that start `ssh` themselves, and
    /// returns it. They are to name [`DESTINATION`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn program(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("ssh");
        let ssh = self.command_to_anywhere(&[]);
        let mut text = String::from("#!/bin/sh\n");
        for (name, value) in ssh.get_envs() {
            let value = value.unwrap_or_default().to_string_lossy();
            text += &format!("export {}='{value}'\n", name.to_string_lossy());
        }
        let words: Vec<_> = std::iter::once(ssh.get_program()).chain(ssh.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect();
        text += &format!("exec {} \"$@\"\n", words.join(" "));
        write_program(&path, &text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn command_to_anywhere(&self, options: &[&str]) -> Command {
        let mut ssh = self.tools.program("ssh");
        let limit = Deadline::reply().limit().as_secs();
        ssh.args(OPTIONS).arg(format!("-oConnectTimeout={limit}")).args(options);
        match &self.login {
            Login::Password(askpass) => ssh
                .args(["-oPreferredAuthentications=password", "-oNumberOfPasswordPrompts=1"])
                .env("SSH_ASKPASS", askpass)
                .env("SSH_ASKPASS_REQUIRE", "force"),
            Login::Key(key) => ssh
                .args(["-oPasswordAuthentication=no", "-oIdentitiesOnly=yes", "-oBatchMode=yes"])
                .arg("-oPubkeyAcceptedAlgorithms=ssh-rsa")
                .arg("-i")
                .arg(key),
        };
        ssh.args(["-p", &self.port.to_string()]);
        ssh
    }
}

/// Ways from the guest to the host, closed when dropped.
#[derive(Debug)]
pub struct Tunnel {
    ssh: Child,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        child::kill(&mut self.ssh);
    }
}

fn write_program(path: &Path, text: &str) -> std::io::Result<()> {
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
        .write_all(text.as_bytes())?;
    fs::rename(part, path)
}

/// Makes an RSA key in the folder `folder`, as Docker Machine does, and returns the private key's file.
///
/// # Errors
/// When `ssh-keygen` fails.
pub fn make_rsa_key(tools: &ToolsTree, folder: &Path) -> Result<PathBuf> {
    let key = folder.join("id_rsa");
    let mut keygen = tools.program("ssh-keygen");
    keygen.args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", "", "-f"]).arg(&key);
    child::run_ok(keygen, b"", Deadline::host(KEYGEN_LIMIT))?;
    Ok(key)
}
