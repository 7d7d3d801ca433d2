//! What boot2docker-cli sends to its machine, in its words.

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::DOCKER_TLS_PORT;
use iso_builder::qemu::{Bus, Nic};
use tests::disk::{Image, Layout};
use tests::docker::{Certificates, Docker};
use tests::ssh::Ssh;
use tests::{Deadline, Lab, Vm};

/// How often `boot2docker down` presses the power button, a second apart, before it gives up.
const PRESSES: u32 = 10;

#[test]
fn boot2docker_cli_brings_a_machine_up_and_down() -> Result<()> {
    let lab = Lab::new("boot2docker-cli")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    let host_only = Nic { network: Some("192.168.59.0/24".to_owned()), is_isolated: true, ..Nic::default() };
    let mut vm = Vm::plan(&lab).nic(host_only).disk(&disk, Bus::Ahci).start()?;

    // up
    let ssh = vm.ssh()?;
    vm.await_docker()?;
    let wait = "for i in $(seq 60); do ip -4 addr show dev eth1 | grep -q 'inet ' && break; sleep 1; done";
    ssh.run(wait)?;
    let shown = ssh.run("ip addr show dev eth1")?;
    let inet = shown.lines().find_map(|line| line.trim().strip_prefix("inet ")).context("finding inet")?;
    assert!(inet.starts_with("192.168.59."), "{shown}");
    let socket = ssh.run("grep tcp:// /proc/$(cat /var/run/docker.pid)/cmdline")?;
    assert_eq!(socket.lines().next(), Some("tcp://0.0.0.0:2376"), "its first line must be the address");
    is_grep_otherwise_busybox(&ssh)?;
    let archive = ssh.run_bytes("tar c /home/docker/.docker/*.pem")?;
    Docker::new(vm.port(DOCKER_TLS_PORT)?, &Certificates::from_tar(&archive)?)?.ping()?;

    // the serial console, where the client types the user's name and the same question
    let console = vm.console();
    console.type_line("docker")?;
    console.type_line("")?;
    console.type_line("ip addr show dev eth1 | tr ' ' :")?;
    console.expect("inet:192.168.59.", Deadline::reply())?;

    // down
    for _ in 0..PRESSES {
        vm.qmp().press_power_button()?;
    }
    vm.await_end()?;
    disk.check(&lab)
}

/// What stands in for grep must not be noticed elsewhere.
fn is_grep_otherwise_busybox(ssh: &Ssh) -> Result<()> {
    let rows = [
        ("echo abc | grep b", "abc\n", 0),
        ("grep -c root: /etc/passwd", "1\n", 0),
        ("grep nobody-is-called-this /etc/passwd", "", 1),
        ("sh -c 'grep -c nothing-like-it /proc/1/cmdline'", "0\n", 1),
        ("grep nothing-like-it /proc/1/cmdline", "", 1),
        ("grep x /nowhere 2>/dev/null", "", 2),
        ("printf 'a b' | grep -o '[ab]'", "a\nb\n", 0),
        ("grep -h 'docker:x' /etc/passwd /etc/group | wc -l", "2\n", 0),
    ];
    for (script, expected, status) in rows {
        let output = ssh.output(script, b"")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            (said.as_str(), output.status.code()) == (expected, Some(status)),
            "{script}: {said:?}, {:?}, not {expected:?}, {status}",
            output.status.code()
        );
    }
    Ok(())
}
