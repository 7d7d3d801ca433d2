//! Addresses, routes and name servers, from DHCP servers good, bad and silent, and from the user.

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::DOCKER_READY;
use iso_builder::qemu::{Bus, Nic};
use serde_json::json;
use tests::direct::direct;
use tests::disk::{Image, Layout};
use tests::ssh::Ssh;
use tests::{Deadline, Lab, Vm};

/// Network cards without anybody at the other end.
const ALONE: std::ops::Range<usize> = 3..10;

/// One that is given an address by the user.
const FIXED: &str = "# bench\r\naddress=192.168.77.5/24\r\nroutes=192.168.78.0/24 192.168.77.1\r\n";

/// What the image before this one had for sshd; nobody has changed it since. With it the password would not count.
const FORMER_CONFIG: &[u8] = b"# of a former image\nPasswordAuthentication no\n";

/// For machines without a disk.
const APPEND: &str = "loglevel=3 console=tty0 console=ttyS0";

/// How much later Docker may answer where no DHCP server does. Unit: seconds.
const LARGEST_DELAY: f64 = 1.0;

/// What the other machine's DHCP server offers: two addresses that it has itself, and a free one.
const OFFERS: &str = "interface eth10\nstart 192.168.66.50\nend 192.168.66.52\noption subnet 255.255.255.0\n\
    lease_file /tmp/leases\npidfile /tmp/udhcpd.pid\n";

#[test]
fn a_silent_dhcp_server_delays_docker_by_a_second_at_most() -> Result<()> {
    let lab = Lab::new("silent-dhcp")?;
    let docker_after = |is_alone: bool| -> Result<f64> {
        let nic = Nic { is_isolated: !is_alone, is_alone, ..Nic::default() };
        let plan = Vm::plan(&lab).counted().boot(direct(&lab, APPEND)?).without_nic().nic(nic);
        let mut vm = plan.start()?;
        let said = vm.console().expect_line(DOCKER_READY, Deadline::boot())?;
        vm.press_power_button()?;
        let seconds = said.trim_start_matches(" (").split(' ').next().unwrap_or_default();
        seconds.parse().with_context(|| format!("reading the time in {said:?}"))
    };
    let (answered, silent) = (docker_after(false)?, docker_after(true)?);
    println!("Docker after {answered} s with a DHCP server, after {silent} s with a silent one");
    ensure!(silent - answered <= LARGEST_DELAY, "{silent} s without an answer, {answered} s with one");
    Ok(())
}

#[test]
fn every_network_gets_what_its_server_gives() -> Result<()> {
    let lab = Lab::new("network")?;
    let files = [
        ("var/lib/boot2docker/etc/network/eth3", FIXED.as_bytes()),
        ("var/lib/boot2docker/ssh/sshd_config", FORMER_CONFIG),
        ("var/lib/boot2docker/ssh/sshd_config.image", FORMER_CONFIG),
        ("var/lib/boot2docker/authorized_keys", b"\r\n"),
    ];
    let disk = Image::data_with(&lab, "data", Layout::Partition, &files)?;
    let told = Nic { network: Some("192.168.99.0/24".to_owned()), ..Nic::default() };
    let same_as_first = Nic { is_isolated: true, ..Nic::default() };
    let mut plan = Vm::plan(&lab).disk(&disk, Bus::Virtio).nic(told).nic(same_as_first);
    for _ in ALONE {
        plan = plan.nic(Nic { is_alone: true, ..Nic::default() });
    }
    let mut vm = plan.start()?;
    vm.qmp().plug(1, false)?;
    vm.await_docker().context("starting Docker while eight cards have nobody to answer")?;
    // The password counts: sshd has the configuration of this image, not that of a former one.
    let ssh = vm.ssh()?;
    assert_eq!(ssh.run("cat ~/.ssh/authorized_keys 2>/dev/null; true")?, "", "there was no key to take over");
    let boot = Boot { ssh: &ssh };
    boot.nobody_waited_for_a_lease()?;
    boot.first_card_wins_over_another_with_its_address()?;
    boot.fixed_address_is_set()?;
    assert_eq!(ssh.run("cat /etc/resolv.conf")?, ssh.run("cat /etc/resolv.conf.b2d")?, "no server told any");

    ssh.run("sudo rm /etc/resolv.conf && sudo mkdir -p /etc/resolv.conf/mine")?;
    vm.qmp().plug(1, true)?;
    boot.await_true(
        "a card plugged in later has an address",
        "ip -4 addr show dev eth1 | grep -q 'inet 192.168.99.'",
    )?;
    assert_eq!(ssh.run("cat /etc/resolv.conf")?, "nameserver 192.168.99.3\n");
    assert_eq!(ssh.run("ls /etc/resolv.aside")?, "mine\n", "a directory in the way is kept");
    boot.await_true(
        "the router has told an IPv6 prefix",
        "ip -6 addr show dev eth1 scope site | grep -q inet6",
    )?;
    another_machine_appears(&mut vm, &ssh)?;
    boot.addresses_of_another_machine_are_left_alone()?;
    vm.press_power_button()?;
    disk.check(&lab)
}

/// A card on the wire of `eth9`, in a network of its own inside the guest, plays another machine.
fn another_machine_appears(vm: &mut Vm, ssh: &Ssh) -> Result<()> {
    let wire = json!({ "type": "hubport", "id": "other", "hubid": 9 });
    vm.qmp().execute("netdev_add", wire)?;
    let card = json!({ "driver": "virtio-net-pci", "netdev": "other", "romfile": "" });
    vm.qmp().execute("device_add", card)?;
    ssh.until("test -e /sys/class/net/eth10")?;
    ssh.run(
        "sudo ip netns add other && sudo ip link set eth10 netns other && \
         for last in 1 50 51; do sudo ip -n other address add 192.168.66.$last/24 dev eth10 || exit 1; done; \
         sudo ip -n other link set eth10 up",
    )
    .map(drop)
}

struct Boot<'a> {
    ssh: &'a Ssh,
}

impl Boot<'_> {
    /// Waits in the guest, which has its own idea of a second.
    fn await_true(&self, what: &str, condition: &str) -> Result<()> {
        let script = format!("for i in $(seq 90); do {{ {condition}; }} && exit 0; sleep 1; done; exit 1");
        let output = self.ssh.output(&script, b"")?;
        if output.status.success() {
            return Ok(());
        }
        let state = self.ssh.run("ip -4 addr; ip -4 route; cat /etc/resolv.conf; sudo tail -n 20 /var/log/udhcp.log; sudo tail -n 20 /boot.log")?;
        anyhow::bail!("waiting until {what}: not so after 90 s\n{state}")
    }

    fn is_in(&self, script: &str, wanted: &[&str]) -> Result<()> {
        let said = self.ssh.run(script)?;
        for text in wanted {
            ensure!(said.contains(text), "{script}: {text:?} is not in\n{said}");
        }
        Ok(())
    }

    fn nobody_waited_for_a_lease(&self) -> Result<()> {
        let leases = self.ssh.run("ls /run/boot2docker/net")?;
        for card in ALONE.filter(|card| *card != 3) {
            ensure!(!leases.contains(&format!("eth{card}.lease")), "{leases}");
            ensure!(!self.ssh.run(&format!("cat /proc/$(cat /run/udhcpc.eth{card}.pid)/comm"))?.is_empty());
        }
        // A line for each that does not answer, not one for each try.
        let warnings = "sudo grep -c 'eth9: no DHCP server answers' /boot.log";
        self.await_true("it is said that nobody answers", &format!("{warnings} >/dev/null"))?;
        assert_eq!(self.ssh.run(warnings)?, "1\n");
        Ok(())
    }

    /// Two cards on networks that look alike: QEMU gives both the same address.
    fn first_card_wins_over_another_with_its_address(&self) -> Result<()> {
        self.is_in("ip -4 addr show dev eth0", &["inet 10.0.2.15/24"])?;
        let other = "ip -4 addr show dev eth2 | grep -q 'inet 10.0.2.15/24'";
        self.await_true("the other card has the same address", other)?;
        let routes = self.ssh.run("ip -4 route show 10.0.2.0/24")?;
        ensure!(routes.starts_with("10.0.2.0/24 dev eth0 "), "{routes}");
        ensure!(routes.contains("dev eth2 ") && routes.contains("metric 200"), "{routes}");
        assert_eq!(self.ssh.run("ip -4 route show default")?, "", "these servers name no router");
        Ok(())
    }

    fn fixed_address_is_set(&self) -> Result<()> {
        self.is_in("ip -4 addr show dev eth3", &["inet 192.168.77.5/24"])?;
        self.is_in("ip -4 route", &["192.168.78.0/24 via 192.168.77.1 dev eth3 metric 300"])?;
        self.is_in("[ -e /run/udhcpc.eth3.pid ] || echo no client", &["no client"])
    }

    /// Asked for by the user, then offered by a server.
    fn addresses_of_another_machine_are_left_alone(&self) -> Result<()> {
        let fix = |address: &str| {
            self.ssh.run(&format!(
                "echo address={address}/24 | sudo tee /var/lib/boot2docker/etc/network/eth9 && \
                 sudo service udhcpc-eth9 restart"
            ))
        };
        let has = |address: &str| format!("ip -4 addr show dev eth9 | grep -q 'inet {address}/24'");
        fix("192.168.66.1")?;
        let told =
            "grep -q 'eth9: another machine has the address 192.168.66.1; asking DHCP instead' /boot.log";
        self.await_true("it is told that the address is taken", told)?;
        assert_eq!(self.ssh.run("ip -4 addr show dev eth9")?, "", "the address was taken all the same");
        self.ssh.run(&format!(
            "echo '{OFFERS}' >/tmp/udhcpd.conf && >/tmp/leases && sudo ip netns exec other udhcpd /tmp/udhcpd.conf"
        ))?;
        self.await_true("the one free address is set", &has("192.168.66.52"))?;
        fix("192.168.66.7")?;
        self.await_true("another free address is set", &has("192.168.66.7"))?;
        self.await_true("both are on one wire", "sudo ping -c 1 -W 5 192.168.66.1 >/dev/null")
    }
}
