//! How people outgrow one machine: two of them, a cable between, and a swarm across both.

use anyhow::{Context, Result};
use iso_builder::qemu::{Cable, Nic};
use tests::rows::{self, Row};
use tests::slot::Slot;
use tests::ssh::Ssh;
use tests::{Lab, Vm, container};

const FIRST: &str = "10.77.0.1";
const SECOND: &str = "10.77.0.2";

/// On the first machine, which leads. Each task of the service tells on which machine it runs.
const ROWS: &[Row] = &[
    (
        "a service on both machines",
        "docker network create -d overlay --attachable across >/dev/null; \
         docker service create -q --detach --name web --mode global --no-resolve-image --network across \
         --hostname '{{.Node.ID}}' b2d-test /bin/busybox sh -c \
         'busybox hostname > /index.html; exec busybox httpd -f -h /' >/dev/null; \
         until docker service ls --format '{{.Replicas}}' | grep -x 2/2; do sleep 1; done",
        "2/2\n",
    ),
    (
        "an overlay network across both",
        "docker run --rm --network across b2d-test /bin/busybox sh -c ': > /nodes; \
         until [ $(busybox sort -u /nodes | busybox wc -l) = 2 ]; do \
         busybox wget -q -T 3 -O - http://web/ >> /nodes; busybox sleep 0.2; done; echo both'",
        "both\n",
    ),
];

#[test]
fn a_swarm_spans_two_machines() -> Result<()> {
    let labs = [Lab::new("swarm")?, Lab::new("swarm-second")?];
    let folder = tempfile::tempdir().context("making a folder for the cable")?;
    let end = |name: &str| folder.path().join(name);
    // One right to run is enough for both: two tests that wait for a second one would wait for ever.
    let slot = Slot::acquire(&labs[0].slots())?.into();
    let plug = |lab, near, far, last| {
        let address = format!("52:54:00:77:00:0{last}");
        let cable = Some(Cable { near: end(near), far: end(far), address });
        Vm::plan(lab).nic(Nic { cable, ..Nic::default() }).in_slot(&slot).start()
    };
    let (mut one, mut two) = (plug(&labs[0], "one", "two", 1)?, plug(&labs[1], "two", "one", 2)?);
    let (first, second) = (prepare(&mut one, FIRST)?, prepare(&mut two, SECOND)?);
    first.run(&format!("docker swarm init --advertise-addr {FIRST}"))?;
    let token = first.run("docker swarm join-token -q worker")?;
    second.run(&format!("docker swarm join --token {} {FIRST}:2377", token.trim()))?;
    rows::check(&first, ROWS)?;
    one.press_power_button()?;
    two.press_power_button()
}

fn prepare(vm: &mut Vm, address: &str) -> Result<Ssh> {
    let ssh = vm.ssh()?;
    ssh.run(&format!("sudo ip addr add {address}/24 dev eth1"))?;
    vm.await_docker()?;
    container::import_image(&ssh)?;
    Ok(ssh)
}
