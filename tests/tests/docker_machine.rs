//! What Docker Machine and boot2docker-cli send to a machine, in their order and in their words.

use std::fs;

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::DOCKER_TLS_PORT;
use iso_builder::qemu::Bus;
use serde_json::Value;
use tests::authority::{Authority, Identity};
use tests::disk::{Image, Layout};
use tests::docker::{Certificates, Docker};
use tests::ssh::{Ssh, make_rsa_key};
use tests::{Lab, Vm, userdata};

/// How Machine learns that Docker listens; it looks for `:2376` followed by another colon.
const LISTENING: &str = "if ! type netstat 1>/dev/null; then ss -tln; else netstat -tln; fi";

/// Options of the engine as Machine writes them.
const PROFILE: &str = "EXTRA_ARGS='\n--label provider=virtualbox\n\n'\nCACERT=/var/lib/boot2docker/ca.pem\n\
    DOCKER_HOST='-H tcp://0.0.0.0:2376'\nDOCKER_STORAGE=overlay2\nDOCKER_TLS=auto\n\
    SERVERKEY=/var/lib/boot2docker/server-key.pem\nSERVERCERT=/var/lib/boot2docker/server.pem\n\n\
    export \"B2D_TEST=yes\"\n";

#[test]
fn docker_machine_takes_the_machine_over() -> Result<()> {
    let lab = Lab::new("docker-machine")?;
    let key = make_rsa_key(lab.tools(), lab.folder())?;
    let archive = userdata::archive(&fs::read(key.with_extension("pub"))?)?;
    let files = [("var/lib/boot2docker/userdata.tar", &archive[..])];
    let disk = Image::data_with(&lab, "data", Layout::Partition, &files)?;
    let mut vm = Vm::plan(&lab).with_host_only_network().disk(&disk, Bus::Ahci).start()?;

    let ssh = vm.ssh_with_key(&key)?;
    ssh.run("exit 0").context("logging in with the key of userdata.tar")?;
    vm.await_docker()?;
    is_recognised(&ssh)?;
    is_renamed(&ssh)?;
    let own = Certificates::from_tar(&ssh.run_bytes("tar c /home/docker/.docker/*.pem")?)?;

    let port = vm.port(DOCKER_TLS_PORT)?;
    Docker::new(port, &own)?.ping()?;
    assert!(Docker::stranger(port).ping().is_err(), "nobody gets in without a certificate");
    let machine = takes_over(&ssh)?;
    let docker = Docker::new(port, &machine)?;
    docker.ping()?;
    let info = docker.get("/info")?;
    assert_eq!(
        (&info["Labels"][0], &info["Name"]),
        (&Value::from("provider=virtualbox"), &Value::from("dev"))
    );
    assert!(Docker::new(port, &own)?.ping().is_err(), "only Machine's own authority counts now");
    asks_what_boot2docker_cli_asks(&ssh)?;
    vm.press_power_button()?;
    disk.check(&lab)
}

fn is_recognised(ssh: &Ssh) -> Result<()> {
    let release = ssh.run("cat /etc/os-release")?;
    for line in release.lines() {
        assert_eq!(line.split('=').count(), 2, "Machine splits at = into exactly two: {line:?}");
        assert!(!line.contains('\''), "Machine strips double quotes only: {line:?}");
    }
    let id = release.lines().find_map(|line| line.strip_prefix("ID=")).context("finding ID")?;
    assert_eq!(id.trim_matches('"'), "boot2docker");
    assert!(ssh.run("uname -r")?.trim_end().ends_with("-boot2docker"));
    let listening = ssh.run(LISTENING)?;
    let is_there =
        listening.lines().any(|line| line.split_once(":2376").is_some_and(|(_, rest)| rest.contains(':')));
    ensure!(is_there, "no listener on 2376 before any TLS setting was written:\n{listening}");
    Ok(())
}

fn is_renamed(ssh: &Ssh) -> Result<()> {
    ssh.run("sudo /usr/bin/sethostname dev && echo \"dev\" | sudo tee /var/lib/boot2docker/etc/hostname")?;
    assert_eq!(ssh.run("hostname; hostname -s")?, "dev\ndev\n");
    ssh.run("hostname -i").map(drop)
}

fn asks_what_boot2docker_cli_asks(ssh: &Ssh) -> Result<()> {
    let address = ssh.run("ip addr show dev eth1")?;
    assert!(address.contains("inet 192.168.99."), "{address}");
    // The client's own `grep tcp:// /proc/PID/cmdline` counts on a grep that ends lines at NUL; today's does not.
    let arguments = ssh.run("tr '\\0' '\\n' < /proc/$(cat /var/run/docker.pid)/cmdline | grep tcp://")?;
    assert_eq!(arguments, "tcp://0.0.0.0:2376\n");
    Ok(())
}

/// Writes Machine's certificates and profile and restarts Docker; returns what a client of Machine's uses then.
fn takes_over(ssh: &Ssh) -> Result<Certificates> {
    let authority = Authority::new()?;
    let server = authority.server(&["127.0.0.1", "192.168.99.100", "localhost"])?;
    let Identity { cert, key } = authority.client()?;
    ssh.run("sudo mkdir -p /var/lib/boot2docker && sudo /etc/init.d/docker stop")?;
    ssh.run("if [ ! -z \"$(ip link show docker0)\" ]; then sudo ip link delete docker0; fi")?;
    for (name, content) in
        [("ca.pem", authority.pem()), ("server.pem", server.cert), ("server-key.pem", server.key)]
    {
        ssh.run(&format!("printf '%s' '{content}' | sudo tee /var/lib/boot2docker/{name}"))?;
    }
    // Machine leaves the quotes inside the profile to the shell, which takes them away.
    ssh.run(&format!("printf %s \"{PROFILE}\" | sudo tee /var/lib/boot2docker/profile"))?;
    ssh.run("sudo /etc/init.d/docker start")?;
    let listening = ssh.run(&format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do {LISTENING} | grep :2376 && break; sleep 3; done"
    ))?;
    ensure!(!listening.is_empty(), "nobody listens on 2376 after the new profile");
    Ok(Certificates { ca: authority.pem().into(), cert: cert.into(), key: key.into() })
}
