//! What `run` does in the guest as soon as sshd answers: it mounts the shared folders and fetches the certificates.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::qemu::Share;
use crate::tools::ToolsTree;

/// Password of user `docker`, known to everybody.
const PASSWORD: &str = "tcuser";

/// ssh's own exit code when it could not connect.
const NO_CONNECTION: i32 = 255;

/// Pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(2);

/// Options of every connection: nothing of the host's configuration counts, and no host key is remembered.
const OPTIONS: [&str; 9] = [
    "-F",
    "/dev/null",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oConnectTimeout=60",
    "-oPreferredAuthentications=password",
    "-oNumberOfPasswordPrompts=1",
    "-T",
];

/// The three files that a Docker client needs.
const CERTIFICATES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// Waits for the machine's own certificates and writes them as a tar archive.
const FETCH: &str = "cd .docker && until [ -s key.pem ] && [ -s cert.pem ] && [ -s ca.pem ]; do sleep 1; done; \
                     tar c ca.pem cert.pem key.pem";

/// The way into a guest.
#[derive(Debug)]
pub(super) struct Guest {
    pub tools: ToolsTree,
    /// Port of 127.0.0.1 that leads to its sshd.
    pub port: u16,
    /// Where the program that tells the password is put.
    pub scratch: PathBuf,
    /// Where the certificates go.
    pub certificates: PathBuf,
    pub shares: Vec<Share>,
}

/// Work in the guest that goes on beside the machine; it is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Work(#[expect(dead_code, reason = "its end stops the thread")] Sender<()>);

impl Guest {
    /// Starts the work; what comes of it is told on standard error.
    pub(super) fn start(self) -> Result<Work> {
        let askpass = self.write_askpass()?;
        // Those of an earlier machine would not fit this one.
        crate::step::remove(&self.certificates)?;
        let (sender, stop) = mpsc::channel();
        thread::spawn(move || {
            let run = |script: &str| -> Result<Option<Vec<u8>>> {
                loop {
                    let output = self.ssh(&askpass).arg(script).output().context("starting ssh")?;
                    if output.status.success() {
                        return Ok(Some(output.stdout));
                    }
                    let words = String::from_utf8_lossy(&output.stderr);
                    ensure!(output.status.code() == Some(NO_CONNECTION), "{}", words.trim());
                    if !matches!(stop.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout)) {
                        return Ok(None); // The machine is gone.
                    }
                }
            };
            if let Err(error) = self.work(run) {
                tell(&format!("{error:#}"));
            }
        });
        Ok(Work(sender))
    }

    fn work(&self, run: impl Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<()> {
        for share in &self.shares {
            let mounted = run(&mount_script(share))
                .with_context(|| format!("mounting {} in the guest", share.folder.display()))?;
            if mounted.is_none() {
                return Ok(());
            }
            tell(&format!("{} is mounted in the guest under the same name", share.folder.display()));
        }
        let Some(archive) = run(FETCH).context("fetching the certificates")? else { return Ok(()) };
        unpack(&archive, &self.certificates).context("fetching the certificates")?;
        tell(&format!(
            "certificates are in {}; the docker command works once docker is ready",
            self.certificates.display()
        ));
        Ok(())
    }

    fn ssh(&self, askpass: &Path) -> Command {
        let mut ssh = self.tools.program("ssh");
        ssh.args(OPTIONS).args(["-p", &self.port.to_string(), "docker@127.0.0.1"]);
        ssh.env("SSH_ASKPASS", askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(std::process::Stdio::null());
        ssh
    }

    fn write_askpass(&self) -> Result<PathBuf> {
        let path = self.scratch.join("askpass");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o700).open(&path);
        file.and_then(|mut file| file.write_all(format!("#!/bin/sh\necho {PASSWORD}\n").as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// Prints a line between those of the guest's console: the terminal is in raw mode.
fn tell(line: &str) {
    eprint!("\r\niso-builder: {line}\r\n");
}

fn mount_script(share: &Share) -> String {
    let folder = quoted(&share.folder.to_string_lossy());
    format!(
        "sudo mkdir -p {folder} && sudo mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 {} {folder}",
        share.tag
    )
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Writes the certificates of `archive` into `folder`, which only the user may read; other members are refused.
fn unpack(archive: &[u8], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        ensure!(CERTIFICATES.contains(&name.as_str()), "the guest sent a file `{name}`");
        let path = folder.join(&name);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("writing {}", path.display()))?;
        std::io::copy(&mut entry, &mut file).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_with_odd_names_can_be_shared() {
        let share = Share { tag: "share0".into(), folder: "/home/o'neil/my work".into() };
        let expected = "sudo mkdir -p '/home/o'\\''neil/my work' && sudo mount -t 9p -o \
                        trans=virtio,version=9p2000.L,msize=262144 share0 '/home/o'\\''neil/my work'";
        assert_eq!(mount_script(&share), expected);
    }

    #[test]
    fn only_certificates_are_taken_from_the_guest() {
        let folder = tempfile::tempdir().unwrap();
        let archive = |name: &str| {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, &b"pem"[..]).unwrap();
            archive.into_inner().unwrap()
        };
        let certificates = folder.path().join("certs");
        unpack(&archive("ca.pem"), &certificates).unwrap();
        assert_eq!(fs::read(certificates.join("ca.pem")).unwrap(), b"pem");
        let error = unpack(&archive("../evil"), &certificates).unwrap_err().to_string();
        assert_eq!(error, "the guest sent a file `../evil`");
        assert!(!folder.path().join("evil").exists());
    }
}
