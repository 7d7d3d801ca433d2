//! An ISO with keys, settings, certificates and files baked in by `iso-builder customize`: all of it works from the first
//! boot on, and what the user puts on the data disk comes before it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use iso_builder::customize;
use iso_builder::qemu::{Boot, Bus, Nic};
use tests::disk::{Image, Layout};
use tests::rows::Row;
use tests::ssh::{Ssh, make_rsa_key};
use tests::{Lab, Vm, rows};

const BAKED_IN: &[Row] = &[
    (
        "the name is made of the first card's hardware address",
        "[ $(hostname) = node-$(tr -d : < /sys/class/net/eth0/address | tail -c 7) ] && echo so",
        "so\n",
    ),
    ("address", "ip -4 -o addr show dev eth1 | tr -s ' ' | cut -d ' ' -f 4", "192.168.99.50/24\n"),
    ("kernel argument", "tr ' ' '\\n' < /proc/cmdline | grep panic", "panic=30\n"),
    (
        "files",
        "stat -c '%a %U:%G %n' /etc/fleet.conf /opt/fleet/report; sudo cat /etc/fleet.conf",
        "640 docker:docker /etc/fleet.conf\n755 root:staff /opt/fleet/report\ncolour=blue\n",
    ),
    (
        "folders on the way",
        "stat -c '%a %U:%G %n' / /etc /home/docker",
        "755 root:root /\n755 root:root /etc\n755 docker:staff /home/docker\n",
    ),
    (
        "kernel settings",
        "cat /proc/sys/vm/swappiness /proc/sys/vm/max_map_count /proc/sys/fs/inotify/max_user_instances",
        "10\n1048576\n8192\n",
    ),
    ("environment", "echo $HTTP_PROXY", "http://proxy.example.org:3128\n"),
    ("label", "docker info -f '{{.Labels}}'", "[fleet=blue]\n"),
    ("configuration file", "docker info -f '{{.LoggingDriver}} {{.LiveRestoreEnabled}}'", "local true\n"),
    (
        "registry",
        "docker info -f '{{.RegistryConfig.IndexConfigs}}' | grep -o registry.example.org:5000 | head -n 1",
        "registry.example.org:5000\n",
    ),
    (
        "hook",
        "until [ -s /run/fleet.report ]; do sleep 0.2; done; sed s/-.*is/-x\\ is/ /run/fleet.report",
        "node-x is blue\n",
    ),
    ("password", "sudo grep -c '^docker:\\*:' /etc/shadow", "1\n"),
    (
        "nothing of it is on the data disk",
        "ls /var/lib/boot2docker/etc/docker /var/lib/boot2docker/*.sh /var/lib/boot2docker/profile 2>/dev/null; cat /var/lib/boot2docker/etc/hostname 2>/dev/null",
        "/var/lib/boot2docker/etc/docker:\n",
    ),
];

/// What a user says on the data disk, and what it comes to.
const USERS_OWN: &str = "cd /var/lib/boot2docker && \
    echo '{\"insecure-registries\": [\"mine.example.org:1\"], \"live-restore\": false}' | sudo tee etc/docker/daemon.json && \
    echo 'EXTRA_ARGS=--label=mine=too; export HTTP_PROXY=http://mine:1' | sudo tee profile && \
    echo 'echo mine > /run/fleet.report' | sudo tee bootlocal.sh && \
    echo mine | sudo tee etc/hostname && \
    sudo mkdir etc/network && echo address=192.168.99.60/24 | sudo tee etc/network/eth1";

const OVERRIDDEN: &[Row] = &[
    ("name", "hostname", "mine\n"),
    ("address", "ip -4 -o addr show dev eth1 | tr -s ' ' | cut -d ' ' -f 4", "192.168.99.60/24\n"),
    ("environment", "echo $HTTP_PROXY", "http://mine:1\n"),
    (
        "labels add up, in no order",
        "docker info -f '{{range .Labels}}{{println .}}{{end}}' | grep . | sort",
        "fleet=blue\nmine=too\n",
    ),
    (
        "configuration file",
        "docker info -f '{{.LoggingDriver}} {{.LiveRestoreEnabled}}'",
        "json-file false\n",
    ),
    (
        "registry",
        "docker info -f '{{.RegistryConfig.IndexConfigs}}' | grep -o '[a-z.]*example.org:[0-9]*' | sort -u",
        "mine.example.org:1\n",
    ),
    ("hook", "until [ -s /run/fleet.report ]; do sleep 0.2; done; cat /run/fleet.report", "mine\n"),
    ("files are there again", "stat -c %a /etc/fleet.conf", "640\n"),
];

/// Customizes the ISO under test twice, the second time with the public half of `key`.
fn fleet_iso(lab: &Lab, key: &Path) -> Result<PathBuf> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet.toml");
    let (first, second) = (lab.folder().join("fleet.iso"), lab.folder().join("mine.iso"));
    customize::run(&lab.iso(), &example, &first)?;
    let public = fs::read_to_string(key.with_extension("pub")).context("reading the key")?;
    let config = lab.folder().join("mine.toml");
    fs::write(&config, format!("[login]\nauthorized-keys = [\"{}\"]\n", public.trim()))?;
    customize::run(&first, &config, &second)?;
    Ok(second)
}

fn refuses_passwords(lab: &Lab, vm: &mut Vm) -> Result<()> {
    let ssh = Ssh::with_password(lab.tools(), vm.port(22)?, lab.folder())?;
    let output = ssh.output("true", b"")?;
    ensure!(output.status.code() == Some(255), "a password logs in: {}", output.status);
    Ok(())
}

#[test]
fn what_is_baked_in_works_until_the_disk_says_otherwise() -> Result<()> {
    let lab = Lab::new("custom-cd")?;
    let key = make_rsa_key(lab.tools(), lab.folder())?;
    let iso = fleet_iso(&lab, &key)?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    let nic = Nic { is_isolated: true, ..Nic::default() };
    let mut vm = Vm::plan(&lab).boot(Boot::Cd(iso)).disk(&disk, Bus::Virtio).nic(nic).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh_with_key(&key)?;
    rows::check(&ssh, BAKED_IN)?;
    let authority =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet/authority.pem"))?;
    let line = authority.lines().nth(1).context("reading the authority")?;
    ssh.run(&format!("grep -qF '{line}' /etc/ssl/certs/ca-certificates.crt"))?;
    refuses_passwords(&lab, &mut vm)?;
    ssh.run(USERS_OWN)?;
    vm.console().forget_this_boot();
    // The connection may end before the answer.
    ssh.output("sudo reboot", b"")?;
    vm.await_restart()?;
    vm.await_docker()?;
    rows::check(&vm.ssh_with_key(&key)?, OVERRIDDEN)?;
    refuses_passwords(&lab, &mut vm)?;
    vm.press_power_button()
}

#[test]
fn uefi_starts_a_disk_with_a_customized_iso() -> Result<()> {
    let lab = Lab::new("custom-uefi-disk")?;
    let key = make_rsa_key(lab.tools(), lab.folder())?;
    let iso = fleet_iso(&lab, &key)?;
    let mut vm = Vm::plan(&lab).uefi().boot(Boot::Disk(iso, Bus::Virtio)).start()?;
    let ssh = vm.ssh_with_key(&key)?;
    assert_eq!(ssh.run("grep -c panic=30 /proc/cmdline; grep -c . /etc/fleet.conf")?, "1\n1\n");
    vm.press_power_button()
}
