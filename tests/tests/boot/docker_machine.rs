//! What Docker Machine sends to a VirtualBox machine of its own, in its order and in its words.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::DOCKER_TLS_PORT;
use iso_builder::qemu::Bus;
use serde_json::Value;
use tests::authority::{Authority, Identity};
use tests::disk::Image;
use tests::docker::{Certificates, Docker};
use tests::ssh::{Ssh, make_rsa_key};
use tests::{Lab, Vm, userdata};

/// How Machine learns that Docker listens; it looks for `:2376` followed by another colon.
const LISTENING: &str = "if ! type netstat 1>/dev/null; then ss -tln; else netstat -tln; fi";

/// How often Machine looks, three seconds apart.
const TRIES: u32 = 10;

/// QEMU's address of the second card, the host-only one.
const HOST_ONLY_MAC: &str = "52:54:00:12:34:57";

/// What the machine is given by `docker-machine create`.
const CREATED: Provision = Provision {
    name: "dev",
    profile: "EXTRA_ARGS='\n--label provider=virtualbox\n--insecure-registry 10.1.2.3:5000\n--log-opt=max-size=1m\n\n'\n\
              CACERT=/var/lib/boot2docker/ca.pem\nDOCKER_HOST='-H tcp://0.0.0.0:2376'\nDOCKER_STORAGE=overlay2\n\
              DOCKER_TLS=auto\nSERVERKEY=/var/lib/boot2docker/server-key.pem\n\
              SERVERCERT=/var/lib/boot2docker/server.pem\n\n\nexport \"B2D_TEST=yes\"\n",
};

/// What it is given by `docker-machine provision` later, under another name.
const PROVISIONED_AGAIN: Provision = Provision {
    name: "dev-2.example.org",
    profile: "EXTRA_ARGS='\n--label provider=virtualbox\n\n'\nCACERT=/var/lib/boot2docker/ca.pem\n\
              DOCKER_HOST='-H tcp://0.0.0.0:2376'\nDOCKER_STORAGE=\nDOCKER_TLS=auto\n\
              SERVERKEY=/var/lib/boot2docker/server-key.pem\nSERVERCERT=/var/lib/boot2docker/server.pem\n",
};

struct Provision {
    name: &'static str,
    profile: &'static str,
}

#[test]
fn docker_machine_creates_changes_stops_and_starts_a_machine() -> Result<()> {
    let lab = Lab::new("docker-machine")?;
    let key = make_rsa_key(lab.tools(), lab.folder())?;
    let disk = Image::blank(&lab, "disk")?;
    let archive = userdata::archive(&fs::read(key.with_extension("pub"))?)?;
    File::options().write(true).open(disk.path())?.write_all_at(&archive, 0)?;
    let start = |disk: &Image| Vm::plan(&lab).with_host_only_network().disk(disk, Bus::Ahci).start();

    // create
    let mut vm = start(&disk)?;
    let ssh = vm.ssh_with_key(&key)?;
    ssh.run("exit 0").context("logging in with the key at the start of the disk")?;
    let address = host_only_address(&ssh)?;
    vm.await_docker()?;
    let own = Certificates::from_tar(&ssh.run_bytes("tar c /home/docker/.docker/*.pem")?)?;
    let authority = Authority::new()?;
    let machine = provision(&ssh, &CREATED, &authority, &address)?;
    let port = vm.port(DOCKER_TLS_PORT)?;
    let info = Docker::new(port, &machine)?.get("/info")?;
    assert_eq!(
        (&info["Labels"][0], &info["Name"]),
        (&Value::from("provider=virtualbox"), &Value::from("dev"))
    );
    assert!(Docker::new(port, &own)?.ping().is_err(), "only Machine's own authority counts now");
    assert!(Docker::stranger(port).ping().is_err(), "nobody gets in without a certificate");

    // regenerate-certs and provision, with another authority and another name
    let authority = Authority::new()?;
    let machine_2 = provision(&ssh, &PROVISIONED_AGAIN, &authority, &address)?;
    let info = Docker::new(port, &machine_2)?.get("/info")?;
    assert_eq!(info["Name"], PROVISIONED_AGAIN.name);
    assert!(Docker::new(port, &machine)?.ping().is_err(), "the former authority has nothing to say any more");

    // upgrade ends with this, on the running machine
    ssh.run("sudo /etc/init.d/docker restart")?;
    is_docker_up(&ssh)?;
    assert_eq!(ssh.run("cat /var/lib/boot2docker/profile")?, as_the_shell_writes(PROVISIONED_AGAIN.profile));

    // stop and start
    vm.press_power_button()?;
    let disk = Image::formatted(disk.path())?;
    disk.check(&lab)?;
    let mut vm = start(&disk)?;
    let ssh = vm.ssh_with_key(&key)?;
    ssh.run("exit 0")?;
    assert_eq!(host_only_address(&ssh)?, address);
    vm.await_docker()?;
    is_recognised(&ssh)?;
    is_docker_up(&ssh)?;
    assert_eq!(ssh.run("hostname; hostname -s; hostname -i >/dev/null")?, "dev-2.example.org\ndev-2\n");
    Docker::new(vm.port(DOCKER_TLS_PORT)?, &machine_2)?.ping()?;

    // restart, as the generic driver does it
    vm.console().forget_this_boot();
    ssh.output("sudo shutdown -r now", b"")?;
    vm.await_restart()?;
    let ssh = vm.ssh_with_key(&key)?;
    ssh.run("exit 0")?;
    vm.await_docker()?;
    Docker::new(vm.port(DOCKER_TLS_PORT)?, &machine_2)?.ping()?;
    vm.press_power_button()?;
    disk.check(&lab)
}

/// Carries out what `create` and `provision` have in common; returns what a client of Machine's uses then.
fn provision(ssh: &Ssh, wanted: &Provision, authority: &Authority, address: &str) -> Result<Certificates> {
    ssh.run("exit 0")?;
    is_recognised(ssh)?;
    let name = wanted.name;
    let told = ssh.run(&format!(
        "sudo /usr/bin/sethostname {name} && echo \"{name}\" | sudo tee /var/lib/boot2docker/etc/hostname"
    ))?;
    assert_eq!(told, format!("{name}\n"), "nothing but the name comes back");
    assert_eq!(ssh.run("hostname")?, format!("{name}\n"));
    is_docker_up(ssh).context("looking for Docker before any TLS setting is written")?;
    ssh.run("sudo mkdir -p /var/lib/boot2docker")?;
    let server = authority.server(&[address, "127.0.0.1", "localhost"])?;
    let Identity { cert, key } = authority.client()?;
    ssh.run("sudo /etc/init.d/docker stop")?;
    ssh.run("if [ ! -z \"$(ip link show docker0)\" ]; then sudo ip link delete docker0; fi")?;
    for (file, content) in
        [("ca.pem", authority.pem()), ("server.pem", server.cert), ("server-key.pem", server.key)]
    {
        let told = ssh.run(&format!("printf '%s' '{content}' | sudo tee /var/lib/boot2docker/{file}"))?;
        assert_eq!(told, content, "{file}");
    }
    // Machine leaves the quotes inside the profile to the shell, which takes them away.
    let told = ssh.run(&format!(
        "sudo mkdir -p /var/lib/boot2docker && printf %s \"{}\" | sudo tee /var/lib/boot2docker/profile",
        wanted.profile
    ))?;
    assert_eq!(told, as_the_shell_writes(wanted.profile));
    ssh.run("sudo /etc/init.d/docker start")?;
    is_docker_up(ssh).context("looking for Docker after the new profile")?;
    is_name_told_to_dhcp(ssh, name)?;
    Ok(Certificates { ca: authority.pem().into(), cert: cert.into(), key: key.into() })
}

fn as_the_shell_writes(profile: &str) -> String {
    profile.replace('"', "")
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
    Ok(())
}

/// Looks as often as Machine does, and reads the answer as Machine does.
fn is_docker_up(ssh: &Ssh) -> Result<()> {
    for _ in 0..TRIES {
        let listening = ssh.run(&format!("{LISTENING}; {LISTENING} | grep -q :2376 || sleep 3"))?;
        let is_listener = |line: &str| {
            let (_, rest) = line.split_once(":2376")?;
            (rest.starts_with(char::is_whitespace) && rest.contains(':')).then_some(())
        };
        if listening.lines().any(|line| is_listener(line).is_some()) {
            return Ok(());
        }
    }
    anyhow::bail!("nobody listens on 2376 after {TRIES} looks, three seconds apart")
}

/// Reads the address as Machine does: the line that starts with `link` and the card's address, then `inet`.
fn host_only_address(ssh: &Ssh) -> Result<String> {
    let wait = "for i in $(seq 60); do ip -4 addr show dev eth1 | grep -q 'inet ' && break; sleep 1; done";
    let shown = ssh.run(&format!("{wait}; ip addr show"))?;
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let is_card = |words: &Vec<&str>| {
        words.first().is_some_and(|word| word.starts_with("link")) && words.get(1) == Some(&HOST_ONLY_MAC)
    };
    let mut after = lines.iter().skip_while(|words| !is_card(words));
    let inet = after
        .find(|words| words.first() == Some(&"inet"))
        .with_context(|| format!("finding inet in\n{shown}"))?;
    let address = inet.get(1).and_then(|word| word.split('/').next()).unwrap_or_default();
    ensure!(address.starts_with("192.168.99."), "{address} is not host-only:\n{shown}");
    Ok(address.to_owned())
}

/// A DHCP server, and with it a driver that looks into its leases, knows the machine by its present name.
fn is_name_told_to_dhcp(ssh: &Ssh, name: &str) -> Result<()> {
    for interface in ["eth0", "eth1"] {
        let argv =
            ssh.run(&format!("tr '\\0' ' ' < /proc/$(cat /var/run/udhcpc.{interface}.pid)/cmdline"))?;
        ensure!(argv.contains(&format!("hostname:{name} ")), "{interface}: {argv}");
    }
    Ok(())
}
