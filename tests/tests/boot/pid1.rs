//! PID 1 at work: services that die come back, devices that appear are used, the clock goes on, logs stay small.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use iso_builder::qemu::Bus;
use serde_json::{Value, json};
use tests::console::Console;
use tests::container::{IMAGE, import_image};
use tests::disk::{Image, Layout};
use tests::docker::Docker;
use tests::second_console::SecondConsole;
use tests::slot::Slot;
use tests::ssh::Ssh;
use tests::{Deadline, Lab, Vm};

/// What PID 1 may weigh. Unit: KiB in memory, bytes on disk.
const LARGEST_RSS_KIB: u64 = 3 << 10;
const LARGEST_PROGRAM: u64 = 2 << 20;

/// What an idle dockerd, or containerd with a shim, keeps in memory of its own. Unit: bytes.
const LARGEST_IDLE: u64 = 3 << 20;

/// How much of the time until Docker answers may be PID 1's own.
const LARGEST_SHARE: f64 = 10.0;
/// The same counted in instructions, without what the host does meanwhile.
const LARGEST_COUNTED_SHARE: f64 = 5.0;

/// How long the machine stands still in the test of every day, and in the proof.
const NAP: Duration = Duration::from_secs(20);
const SLEEP: Duration = Duration::from_secs(600);

/// By then the clock is right again.
const CLOCK_LIMIT: Duration = Duration::from_secs(10);

/// A hardware clock counts whole seconds.
const CLOCK_ERROR: u64 = 2;

#[test]
fn what_dies_comes_back_and_what_appears_is_used() -> Result<()> {
    let lab = Lab::new("pid1")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    let plan = Vm::plan(&lab)
        .with_several_cpus()
        .disk(&disk, Bus::Virtio)
        .with_second_console(SecondConsole::Virtio);
    // What PID 1 takes of the boot is measured, so no other machine boots meanwhile: what takes the host's processors away from
    // one counts as used by whoever ran.
    let quiet = Slot::acquire(&lab.slots())?;
    let mut vm = plan.start()?;
    let docker = vm.docker()?;
    drop(quiet);
    let ssh = vm.ssh()?;
    every_terminal_has_a_login(&mut vm)?;
    ssh.run("echo '* * * * * date > /tmp/cron-was-here' | sudo tee /var/spool/cron/crontabs/root")?;
    engine_knows_its_limits(&docker, &ssh)?;
    logins_have_their_share_once_docker_is_up(&ssh)?;
    import_image(&ssh)?;
    boot_is_told(&lab, &ssh)?;
    engine_comes_back(&docker, &ssh)?;
    sshd_comes_back(&mut vm, &ssh)?;
    a_service_that_fails_at_once_is_visible(&ssh)?;
    orphans_are_reaped(&ssh)?;
    logs_are_put_aside(&ssh)?;
    late_devices_are_used(&mut vm, &lab, &ssh)?;
    clock_goes_on(&mut vm, NAP)?;
    ssh.until("test -s /tmp/cron-was-here").context("awaiting cron")?;
    idle_daemons_lie_in_compressed_memory(&docker, &ssh)?;
    pid1_is_small(&ssh)?;
    for _ in 0..5 {
        vm.qmp().press_power_button()?;
    }
    vm.await_end()?;
    disk.check(&lab)
}

#[test]
fn the_boot_is_little_of_pid_1s_own() -> Result<()> {
    let lab = Lab::new("share")?;
    let mut vm = Vm::plan(&lab).counted().start()?;
    vm.await_docker()?;
    let table = vm.ssh()?.run("boot2docker-boot time")?;
    println!("{table}");
    ensure!(share(&table)? <= LARGEST_COUNTED_SHARE, "PID 1 takes too much of the boot:\n{table}");
    vm.press_power_button()
}

/// The same as in the first test, with a pause as long as a real one.
#[test]
#[ignore = "takes ten minutes of waiting"]
fn the_clock_is_right_after_ten_minutes_of_sleep() -> Result<()> {
    let lab = Lab::new("long-sleep")?;
    let mut vm = Vm::plan(&lab).start()?;
    vm.await_docker()?;
    clock_goes_on(&mut vm, SLEEP)?;
    vm.press_power_button()
}

fn every_terminal_has_a_login(vm: &mut Vm) -> Result<()> {
    let second: fn(&mut Vm) -> &mut Console = Vm::second_console;
    for (terminal, console) in [("/dev/hvc0\n", second), ("/dev/ttyS0\n", Vm::console)] {
        let (output, _) = console(vm).run("tty; stty size", Deadline::reply())?;
        assert_eq!(output, format!("{terminal}24 80\n"));
    }
    Ok(())
}

fn engine_knows_its_limits(docker: &Docker, ssh: &Ssh) -> Result<()> {
    let info = docker.get("/info")?;
    assert_eq!((&info["SwapLimit"], &info["Warnings"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(ssh.run("cat /proc/$(cat /var/run/docker.pid)/cgroup")?, "0::/b2d/docker\n");
    // dockerd has a load address, so its addresses are not in memory of its own.
    let begin = ssh.run("sudo head -c 9 /proc/$(cat /var/run/docker.pid)/maps")?;
    assert_eq!(begin, "00400000-");
    Ok(())
}

fn logins_have_their_share_once_docker_is_up(ssh: &Ssh) -> Result<()> {
    let weights =
        ssh.run("cd /sys/fs/cgroup/b2d && cat containerd/cpu.weight getty-*/cpu.weight | sort -u")?;
    assert_eq!(weights, "100\n");
    let kept = ssh.run("cut -f1 /proc/sys/vm/lowmem_reserve_ratio")?;
    assert_eq!(kept, "2048\n");
    Ok(())
}

fn boot_is_told(lab: &Lab, ssh: &Ssh) -> Result<()> {
    let table = ssh.run("boot2docker-boot time")?;
    let has = |part: &str| table.contains(part);
    ensure!(has(" kernel\n") && has(" stage0\n") && has(" data-disk\n"), "stages are missing:\n{table}");
    ensure!(has("containerd ready") && has("dockerd ready"), "daemons are missing:\n{table}");
    ensure!(share(&table)? <= LARGEST_SHARE, "PID 1 takes too much of the boot:\n{table}");
    println!("{table}");
    let spans: Value = serde_json::from_str(&ssh.run("boot2docker-boot json")?)?;
    let is_docker = |span: &&Value| span["kind"] == "service" && span["name"] == "docker";
    let docker = spans.as_array().and_then(|all| all.iter().find(is_docker)).context("finding dockerd")?;
    ensure!(docker["end_ms"].as_u64() > docker["start_ms"].as_u64(), "{docker}");
    let svg = ssh.run("boot2docker-boot plot")?;
    ensure!(svg.starts_with("<svg ") && svg.contains("docker ("), "no drawing: {svg}");
    // For people to look at.
    Ok(fs::write(lab.folder().join("boot.svg"), svg)?)
}

/// Returns the per cent of the boot that were stage 0's and PID 1's own, as the table's last line tells.
fn share(table: &str) -> Result<f64> {
    let share =
        table.rsplit_once(", ").and_then(|(_, rest)| rest.split_once(" % of the time")).map(|(n, _)| n);
    Ok(share.with_context(|| format!("finding PID 1's share in\n{table}"))?.parse()?)
}

fn engine_comes_back(docker: &Docker, ssh: &Ssh) -> Result<()> {
    let serve = "echo up; exec sleep 1000000";
    ssh.run(&format!(
        "docker run --detach --init --name phoenix --restart always {IMAGE} /bin/busybox sh -c '{serve}'"
    ))?;
    docker.await_log("phoenix", "up", 1)?;
    let group = ssh.run("cat /proc/$(docker inspect -f {{.State.Pid}} phoenix)/cgroup")?;
    ensure!(group.starts_with("0::/docker/"), "containers are not among the services: {group}");
    for (service, program) in [("containerd", "containerd"), ("docker", "dockerd")] {
        ssh.run(&format!("sudo kill -KILL $(pidof {program})"))?;
        ssh.until(&format!("sudo service {service} status | grep 'is running.*ended by itself once'"))?;
        ssh.until("docker exec phoenix /bin/busybox true")?;
    }
    docker.await_log("phoenix", "up", 2)
}

fn sshd_comes_back(vm: &mut Vm, ssh: &Ssh) -> Result<()> {
    ssh.run("sudo kill -KILL $(cat /run/sshd.pid)")?;
    let console = vm.console();
    let wait = "until sudo service sshd status | grep 'is running.*once'; do sleep 0.5; done";
    let (_, status) = console.run(wait, Deadline::reply())?;
    assert_eq!(status, 0);
    // A session survives its sshd.
    ssh.run(
        "sudo service sshd reload && until sudo service sshd status | grep 'is running'; do sleep 0.5; done",
    )?;
    // A process that stands still hears that it is to end.
    ssh.run(
        "sudo sh -c 'kill -STOP $(pidof crond); service crond restart'; ! grep 'crond: still runs' /boot.log",
    )
    .map(drop)
}

fn a_service_that_fails_at_once_is_visible(ssh: &Ssh) -> Result<()> {
    ssh.run("sudo cp /etc/chrony/chrony.conf /tmp/ && echo nonsense | sudo tee /etc/chrony/chrony.conf")?;
    ssh.run("sudo service chronyd restart")?;
    ssh.until("sudo service chronyd status | grep 'waits to be started again, ended by itself [3-9] times'")?;
    // For the moments it lives, it runs.
    ssh.until("! sudo service chronyd status")?;
    ssh.run("sudo cp /tmp/chrony.conf /etc/chrony/chrony.conf && sudo service chronyd start")?;
    ssh.until("sudo service chronyd status | grep 'is running'")?;
    ssh.until("sudo chronyc -n tracking")?;
    let list = ssh.run("sudo service --list")?;
    ensure!(ssh.run("sudo /etc/init.d/crond status")?.starts_with("crond is running"), "by its old path");
    ensure!(list.lines().any(|line| line.starts_with("sshd is running")), "{list}");
    ensure!(!ssh.output("service --list", b"")?.status.success(), "only root may ask");
    Ok(())
}

fn orphans_are_reaped(ssh: &Ssh) -> Result<()> {
    ssh.run("for i in $(seq 1000); do (usleep 2500000 &) </dev/null >/dev/null 2>&1; done")?;
    ssh.until("! pidof usleep")?;
    // Whatever ends just now is a zombie for an instant; of a thousand orphans none may stay one.
    ssh.until("! cat /proc/[0-9]*/stat 2>/dev/null | grep ') Z '").context("awaiting the end of all zombies")
}

fn logs_are_put_aside(ssh: &Ssh) -> Result<()> {
    let log = "/var/lib/boot2docker/log/sshd.log";
    ssh.run(&format!("sudo sh -c 'dd if=/dev/zero bs=1M count=11 >> {log}'"))?;
    ssh.until(&format!("test $(stat -c %s {log}.1) -gt 10000000 -a $(stat -c %s {log}) -lt 1000000"))?;
    ssh.run("true")?;
    ensure!(ssh.run(&format!("cat {log}"))?.contains("Accepted"), "sshd goes on writing to its log");
    Ok(())
}

fn late_devices_are_used(vm: &mut Vm, lab: &Lab, ssh: &Ssh) -> Result<()> {
    let disk = Image::blank(lab, "late")?;
    vm.qmp().plug_disk("late", disk.path(), false)?;
    vm.console().await_in_this_boot("boot2docker: disk vdb appeared", Deadline::reply())?;
    ssh.run("test -b /dev/vdb")?;
    let network = json!({ "type": "user", "id": "late", "net": "10.0.9.0/24", "restrict": true });
    vm.qmp().execute("netdev_add", network)?;
    let card = json!({ "driver": "virtio-net-pci", "netdev": "late", "id": "late-card", "romfile": "" });
    vm.qmp().execute("device_add", card)?;
    ssh.until("ip addr show dev eth1 | grep 'inet 10.0.9.'")?;
    vm.qmp().execute("device_del", json!({ "id": "late-card" }))?;
    ssh.until("grep 'network interface eth1 is gone' /boot.log")?;
    ssh.until("sudo service udhcpc-eth1 status | grep 'is not running'")
}

/// Lets the machine stand still; its network is cut off from the world, so the hardware clock is all it has.
fn clock_goes_on(vm: &mut Vm, pause: Duration) -> Result<()> {
    let ssh = vm.ssh()?;
    ssh.until("sudo service clock status | grep 'is running'")?;
    vm.qmp().execute("stop", json!({}))?;
    Deadline::host(pause).pass();
    vm.qmp().execute("cont", json!({}))?;
    Deadline::host(CLOCK_LIMIT).pass();
    let guest: u64 = ssh.run("date +%s")?.trim().parse()?;
    let host = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    ensure!(host.abs_diff(guest) <= CLOCK_ERROR, "the guest's clock says {guest}, the host's {host}");
    ssh.run("grep 'the machine stood still for' /boot.log").map(drop)
}

fn idle_daemons_lie_in_compressed_memory(docker: &Docker, ssh: &Ssh) -> Result<()> {
    let own =
        |service: &str| format!("awk '/^anon / {{ print $2 }}' /sys/fs/cgroup/b2d/{service}/memory.stat");
    let lies_idle = |service| format!("test $({}) -lt {LARGEST_IDLE}", own(service));
    ssh.until(&format!("{} && {}", lies_idle("docker"), lies_idle("containerd")))?;
    ssh.run("awk '/^.dev.zram0/ { exit !($4 > 8192) }' /proc/swaps")
        .context("looking into compressed memory")?;
    // It is all there.
    docker.get("/info")?;
    ssh.run("docker exec phoenix /bin/busybox true").map(drop)
}

fn pid1_is_small(ssh: &Ssh) -> Result<()> {
    let rss = ssh.run("awk '/VmRSS/ { print $2 }' /proc/1/status")?;
    let program = ssh.run("stat -c %s /usr/sbin/init")?;
    println!("PID 1: {} KiB in memory, program of {} bytes", rss.trim(), program.trim());
    ensure!(rss.trim().parse::<u64>()? <= LARGEST_RSS_KIB, "PID 1 has {rss} KiB in memory");
    ensure!(program.trim().parse::<u64>()? <= LARGEST_PROGRAM, "PID 1's program has {program} bytes");
    Ok(())
}
