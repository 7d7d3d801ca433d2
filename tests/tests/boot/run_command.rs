//! `iso-builder run` as a user starts it: it tells how to reach Docker, fetches the certificates, mounts what is
//! shared, and ends with the guest.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tests::docker::{Certificates, Docker};
use tests::slot::Slot;
use tests::ssh::Ssh;
use tests::{Deadline, Lab, child};

/// A run under way, with its QEMU in a process group of its own, which ends with the test.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        // Both are gone already when all went well.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        drop(self.0.wait());
    }
}

#[test]
fn a_run_machine_is_usable_with_what_it_tells() -> Result<()> {
    let lab = Lab::new("run-command")?;
    let share = lab.folder().join("shared folder");
    fs::create_dir(&share)?;
    fs::write(share.join("from-host"), "hello from the host\n")?;
    let _slot = Slot::acquire(&lab.slots())?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "-q", "-p", "iso-builder", "--", "run", "--no-window", "--disk"]);
    command.arg(lab.folder().join("data.img")).arg("--share").arg(&share).arg(lab.iso());
    // The input stays open and silent, as a terminal nobody types at.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut run = Run(command.spawn().context("starting iso-builder run")?);
    let lines = lines_of(&mut run)?;
    let ssh_port = after(&lines, "ssh         ssh -p ")?;
    let ssh_port = ssh_port.split(' ').next().unwrap_or_default().parse()?;
    let port = after(&lines, "export DOCKER_HOST=tcp://127.0.0.1:")?.parse()?;
    let certificates = after(&lines, "export DOCKER_CERT_PATH=")?;
    after(&lines, "iso-builder: certificates are in ")?;

    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", &certificates)?;
    let docker = Docker::new(port, &Certificates::from_tar(&archive.into_inner()?)?)?;
    let ssh = Ssh::with_password(lab.tools(), ssh_port, lab.folder())?;
    let path = share.display();
    // The checkout may lie in a folder that root alone may enter, on the host and in the guest.
    assert_eq!(ssh.run(&format!("sudo cat '{path}/from-host'"))?, "hello from the host\n");
    ssh.run(&format!("sudo sh -c \"echo hello from the guest > '{path}/from-guest'\""))?;
    assert_eq!(fs::read_to_string(share.join("from-guest"))?, "hello from the guest\n");
    ssh.until("sudo docker version")?;
    docker.ping()?;
    // The connection may end before the answer.
    ssh.output("sudo poweroff", b"")?;
    let status = child::wait(&mut run.0, Deadline::power_off())?;
    ensure!(status.success(), "the guest switched itself off, but the command ended with {status}");
    Ok(())
}

/// Hands on what the command says, line by line.
fn lines_of(run: &mut Run) -> Result<mpsc::Receiver<String>> {
    let stderr = run.0.stderr.take().context("taking the output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    Ok(lines)
}

/// Waits for a line that begins with `start` and returns what follows.
fn after(lines: &mpsc::Receiver<String>, start: &str) -> Result<String> {
    let deadline = Deadline::boot();
    let mut seen = Vec::new();
    loop {
        let left = deadline.remaining().unwrap_or_default();
        let line =
            lines.recv_timeout(left).with_context(|| format!("awaiting `{start}`; it said {seen:?}"))?;
        if let Some(rest) = line.strip_prefix(start) {
            return Ok(rest.to_owned());
        }
        seen.push(line);
    }
}
