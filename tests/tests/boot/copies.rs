//! Files to the guest and back, by every program that people use for it. Part of the boot in `login`.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tests::ssh::{DESTINATION, Ssh};
use tests::{Deadline, Lab, child};

/// Length, type and version of the first packet of each side. Source: draft-ietf-secsh-filexfer-02, section 4.
const SFTP_HELLO: &[u8] = &[0, 0, 0, 5, 1, 0, 0, 0, 3];
const SFTP_ANSWER: [u8; 5] = [2, 0, 0, 0, 3];

/// What sshfs asks of a server, in the words of sftp: replacing renames, links of both kinds and free space are extensions.
const LIKE_SSHFS: &str = "mkdir mounted\ncd mounted\nput HERE/sent a\nput HERE/sent b\nrename a b\nchmod 640 b\n\
    ln b hard\nln -s b soft\nls -l\ndf\nget soft HERE/sftp\nrm hard\nrm soft\nrm b\ncd ..\nrmdir mounted\n";

/// Copies files in both directions, as scp, rsync and sshfs do.
pub fn files_can_be_copied(lab: &Lab, ssh: &Ssh) -> Result<()> {
    let here = lab.folder();
    let (sent, program) = (here.join("sent"), ssh.program(here)?);
    let content = "Käse\n".repeat(100_000);
    fs::write(&sent, &content)?;
    let returned =
        |name: &str| fs::read_to_string(here.join(name)).with_context(|| format!("reading {name}"));
    let run = |mut command: Command, args: &[&str]| {
        command.args(args);
        child::run_ok(command, b"", Deadline::reply())
    };
    // The older protocol needs scp in the guest, the newer one sftp.
    for (name, protocol) in [("old", "-O"), ("new", "-s")] {
        let there = format!("{DESTINATION}:{name}");
        let scp = |from: &str, to: &str| {
            let mut scp = lab.tools().program("scp");
            scp.arg("-S").arg(&program);
            run(scp, &["-q", protocol, from, to])
        };
        scp(&sent.display().to_string(), &there)?;
        scp(&there, &here.join(name).display().to_string())?;
        assert_eq!(returned(name)?, content, "scp {protocol}");
    }
    let mut rsync = lab.tools().program("rsync");
    rsync.arg("-e").arg(&program);
    run(rsync, &["--inplace", &format!("{DESTINATION}:old"), &here.join("rsync").display().to_string()])?;
    assert_eq!(returned("rsync")?, content);

    let batch = here.join("batch");
    fs::write(&batch, LIKE_SSHFS.replace("HERE", &here.display().to_string()))?;
    let mut sftp = lab.tools().program("sftp");
    sftp.arg("-S").arg(&program);
    let said = run(sftp, &["-b", &batch.display().to_string(), DESTINATION])?;
    let said = String::from_utf8_lossy(&said);
    let is_linked = |line: &str| line.starts_with("-rw-r-----") && line.ends_with(" hard");
    assert!(said.lines().any(is_linked), "{said}");
    assert_eq!(returned("sftp")?, content);
    sshfs_gets_its_answer(ssh)
}

fn sshfs_gets_its_answer(ssh: &Ssh) -> Result<()> {
    let mut sftp = ssh.command(&["-s"]);
    let mut sftp = sftp.arg("sftp").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // The server goes without a word when its input ends.
    let mut input = sftp.stdin.take().context("taking sftp's input")?;
    input.write_all(SFTP_HELLO)?;
    let mut answer = [0; SFTP_HELLO.len()];
    sftp.stdout.take().context("taking sftp's output")?.read_exact(&mut answer)?;
    assert_eq!(answer[4..], SFTP_ANSWER);
    drop(input);
    child::wait(&mut sftp, Deadline::reply()).map(drop)
}
