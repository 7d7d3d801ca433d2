//! Addresses, routes and name servers, from DHCP servers good, bad and silent, and from the user.

use anyhow::{Context, Result, ensure};
use iso_builder::qemu::{Bus, Nic};
use tests::disk::{Image, Layout};
use tests::ssh::Ssh;
use tests::{Lab, Vm};

/// Network cards without anybody at the other end.
const ALONE: std::ops::Range<usize> = 3..10;

/// One that is given an address by the user.
const FIXED: &str = "# bench\r\naddress=192.168.77.5/24\r\nroutes=192.168.78.0/24 192.168.77.1\r\n";

#[test]
fn every_network_gets_what_its_server_gives() -> Result<()> {
    let lab = Lab::new("network")?;
    let files = [("var/lib/boot2docker/etc/network/eth3", FIXED.as_bytes())];
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
    let ssh = vm.ssh()?;
    let boot = Boot { ssh: &ssh };
    boot.nobody_waited_for_a_lease()?;
    boot.first_card_wins_over_another_with_its_address()?;
    boot.fixed_address_is_set()?;
    assert_eq!(ssh.run("cat /etc/resolv.conf")?, ssh.run("cat /etc/resolv.conf.b2d")?, "no server told any");

    vm.qmp().plug(1, true)?;
    boot.await_true(
        "a card plugged in later has an address",
        "ip -4 addr show dev eth1 | grep -q 'inet 192.168.99.'",
    )?;
    assert_eq!(ssh.run("cat /etc/resolv.conf")?, "nameserver 192.168.99.3\n");
    boot.await_true(
        "the router has told an IPv6 prefix",
        "ip -6 addr show dev eth1 scope site | grep -q inet6",
    )?;
    vm.press_power_button()?;
    disk.check(&lab)
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
}
