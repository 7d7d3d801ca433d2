//! Decides the boot: facts in, stages and services out. Pure; order of entries is order of action.

pub mod kernel;
pub mod services;

use std::time::Duration;

use b2d_sys::contract;

use crate::facts::{Facts, StateFacts};
use crate::model::{Action, Policy, ServiceId, Stage, Step, Wait};
use crate::service::Service;
use crate::works::{COLDPLUG, COLDPLUG_LIMIT, HOST_CLOCK, HOST_CLOCK_LIMIT, PRELOAD, PRELOAD_LIMIT, PROGRAM};
use services::{CHRONYD, DOCKER_SETUP_LIMIT};

/// A file system check of a big disk takes minutes; longer means it hangs.
const DISK_LIMIT: Duration = Duration::from_secs(600);
/// Setting a name takes milliseconds, or seconds on a host whose processors are busy elsewhere.
const HOSTNAME_LIMIT: Duration = Duration::from_secs(60);
/// Host keys that sshd cannot do without, on a slow machine without hardware help.
const SSH_SETUP_LIMIT: Duration = Duration::from_secs(180);
/// An RSA key under emulation takes a minute, and many on a busy host; then sshd waits for a moment without connections.
const SLOW_KEYS_LIMIT: Duration = Duration::from_secs(2400);
/// sshd listens within a second, even under emulation on an idle host.
const SSHD_LIMIT: Duration = Duration::from_secs(60);
/// The profile's own shell is ended after 12 s; the rest takes milliseconds.
const PROFILE_LIMIT: Duration = Duration::from_secs(60);
/// Where the persistent host name and Docker's own configuration lie.
const ETC_DIR: &str = "/var/lib/boot2docker/etc";
/// Docker takes seconds; after this it is worth telling that it is not there yet.
const DOCKER_LIMIT: Duration = Duration::from_secs(120);
/// A login on a console gets what others leave of the processors until Docker is up or has failed: it takes a fifth of a second, in
/// which dockerd would have to wait. While Docker waits for something itself, it has them.
/// Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, "cpu.weight".
const LEAST_WEIGHT: &str = "1";
/// Everybody's weight, unless told otherwise. Source: ditto.
const USUAL_WEIGHT: &str = "100";
/// With less memory no program is read before it is needed. Unit: KiB of `MemTotal`.
const PRELOAD_LEAST_KIB: u64 = 480 << 10;
/// How long Docker waits for the user's script.
const BOOTSYNC_PATIENCE: Duration = Duration::from_secs(120);

/// What to do, and what to keep running.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Stages in the order they are begun when nothing holds them up.
    pub stages: Vec<Stage>,
    /// Services those stages start.
    pub services: Vec<Service>,
}

/// Returns the boot up to the data disk.
pub fn early(facts: &Facts) -> Plan {
    let is_rescue = facts.cmdline.has("b2d.rescue");
    let asked_for = Action::Rescue { reason: "b2d.rescue is on the kernel command line" };
    let stages = vec![
        stage("mounts", &[], kernel::mounts(facts)),
        stage("rescue", &["mounts"], Vec::from_iter(is_rescue.then_some(asked_for))),
        // Everything else waits for the data disk; most disks need no driver that is not there already.
        stage("data-disk", &["mounts"], data_disk()),
        stage("kernel", &["mounts"], kernel::settings(facts)),
        stage("devices", &["mounts"], vec![helper(&[PROGRAM, COLDPLUG], COLDPLUG_LIMIT)]),
    ];
    Plan { stages: without_empty(stages), services: vec![] }
}

/// Returns the rest of the boot, once the data disk is there or known to be absent.
pub fn rest(facts: &Facts, state: &StateFacts) -> Plan {
    let dirs = [ETC_DIR, contract::STATE_LOG_DIR, "/run/containerd", "/var/spool/cron/crontabs"];
    let docker_log =
        Action::Link { target: "/var/lib/boot2docker/docker.log", link: contract::DOCKER_LOG_LINK };
    let hostname = vec![helper(&["/usr/sbin/net-setup", "hostname"], HOSTNAME_LIMIT)];
    let bootsync = state.bootsync.map(|path| Action::Hook { path, patience: BOOTSYNC_PATIENCE });
    let bootsync = Vec::from_iter(bootsync);
    // Docker follows the hook, which may change profile and addresses, and follows sshd; without a hook nothing ties
    // Docker to sshd.
    let after_bootsync: &[_] = if bootsync.is_empty() { &["profile", "network"] } else { &["bootsync"] };
    let bootlocal = state.bootlocal.map(|path| Action::Background { path, log: contract::BOOTLOCAL_LOG });
    let bootlocal = Vec::from_iter(bootlocal);
    let settled = Action::Await { service: ServiceId::new("docker"), limit: DOCKER_LIMIT };
    let announce = |service, line| Action::Announce { service: ServiceId::new(service), line };
    let stages = vec![
        stage(
            "state",
            &["data-disk", "kernel"],
            dirs.map(|path| dir(path, 0o755)).into_iter().chain([docker_log]).collect(),
        ),
        // Services and hooks get what the profile exports, so it is evaluated before them.
        stage("profile", &["state"], vec![helper(&["/usr/sbin/docker-setup", "profile"], PROFILE_LIMIT)]),
        stage("hostname", &["state"], hostname),
        stage("network", &["kernel", "hostname"], network(facts)),
        stage("ssh", &["network"], ssh()),
        stage("ssh-ready", &["ssh"], vec![announce("sshd", contract::SSH_READY)]),
        stage("bootsync", &["profile", "ssh"], bootsync),
        stage("docker-setup", after_bootsync, vec![helper(&["/usr/sbin/docker-setup"], DOCKER_SETUP_LIMIT)]),
        // PID 1 waits while a large program is begun, and all of what comes before dockerd takes longer than containerd does.
        stage("containerd", &["profile"], vec![start("containerd", Wait::No)]),
        // Docker's programs are started before them.
        stage("logins", &["network"], logins(facts)),
        // dockerd takes longer to get to where it needs containerd than containerd takes, and waits for it there.
        stage("docker", &["containerd", "docker-setup"], vec![start("docker", Wait::No)]),
        // Begun before dockerd it would take a processor from PID 1, which has nothing more to do then.
        stage("preload", &["docker"], preload(facts)),
        stage("bootlocal", &["docker"], bootlocal),
        stage("docker-ready", &["docker"], vec![announce("docker", contract::DOCKER_READY)]),
        // What people wait for comes first; what follows would take the processor away from it.
        stage("docker-settles", &["docker"], vec![settled]),
        stage("logins-weight", &["logins", "docker-settles"], login_weights(facts, USUAL_WEIGHT)),
        stage("time", &["docker-settles"], time(facts)),
        stage("cron", &["docker-settles"], optional(facts, "/usr/sbin/crond", "crond")),
        stage("slow-keys", &["docker-settles"], slow_keys(state)),
        stage("apparmor", &["docker-settles"], keep_apparmor(state)),
        stage("late-mounts", &["docker-settles"], kernel::late_mounts(facts)),
    ];
    Plan { stages: without_empty(stages), services: services::table(facts, state) }
}

fn stage(name: &'static str, after: &[&'static str], actions: Vec<Action>) -> Stage {
    let steps = actions.into_iter().map(|action| {
        let policy = match action {
            Action::Mount { fstype: "bpf" | "efivarfs" | "mqueue" | "securityfs" | "tracefs", .. }
            | Action::Write { .. } => Policy::Optional,
            _ if name == "mounts" => Policy::Rescue,
            _ => Policy::Warn,
        };
        Step { action, policy }
    });
    Stage { name, after: after.to_vec(), steps: steps.collect() }
}

/// Keeps what dockerd compiled where the next boot finds it.
fn keep_apparmor(state: &StateFacts) -> Vec<Action> {
    let keep = helper(&["/usr/sbin/docker-setup", "keep-apparmor"], PROFILE_LIMIT);
    Vec::from_iter(state.is_on_disk.then_some(keep))
}

/// Drops stages without steps; who waited for one waits for what it waited for.
fn without_empty(mut stages: Vec<Stage>) -> Vec<Stage> {
    while let Some(at) = stages.iter().position(|stage| stage.steps.is_empty()) {
        let empty = stages.remove(at);
        for stage in &mut stages {
            if let Some(place) = stage.after.iter().position(|name| *name == empty.name) {
                stage.after.splice(place..=place, empty.after.iter().copied());
                dedup(&mut stage.after);
            }
        }
    }
    stages
}

fn dedup(names: &mut Vec<&'static str>) {
    let mut seen = Vec::new();
    names.retain(|name| {
        let is_new = !seen.contains(name);
        seen.push(*name);
        is_new
    });
}

/// A single processor has nothing to spare, and little memory no room for what is not used at once.
fn preload(facts: &Facts) -> Vec<Action> {
    let has_room = facts.memory_kib.is_some_and(|kib| kib >= PRELOAD_LEAST_KIB);
    let preload = helper(&[PROGRAM, PRELOAD], PRELOAD_LIMIT);
    Vec::from_iter((facts.is_multiprocessor && has_room).then_some(preload))
}

fn data_disk() -> Vec<Action> {
    vec![helper(&["/usr/sbin/automount"], DISK_LIMIT), Action::PlanTheRest]
}

fn network(facts: &Facts) -> Vec<Action> {
    let interfaces = facts.interfaces.iter();
    let mut actions: Vec<Action> =
        interfaces.clone().flat_map(|interface| kernel::interface(interface)).collect();
    actions.extend(interfaces.map(|interface| start(&format!("udhcpc-{interface}"), Wait::No)));
    actions
}

fn ssh() -> Vec<Action> {
    vec![helper(&["/usr/sbin/sshd-setup"], SSH_SETUP_LIMIT), start("sshd", Wait::Ready(SSHD_LIMIT))]
}

/// A first boot makes the RSA host key once nobody waits any more. It then lets another sshd offer it, by a way on which
/// no connection is refused: drivers may just be logging in.
fn slow_keys(state: &StateFacts) -> Vec<Action> {
    let make = helper(&["/usr/sbin/sshd-setup", "--slow-keys"], SLOW_KEYS_LIMIT);
    Vec::from_iter(state.lacks_rsa_key.then_some(make))
}

/// Their weight comes last: PID 1 waits for a process it starts to become its program, and with the least weight that would take
/// as long as Docker leaves it no processor.
fn logins(facts: &Facts) -> Vec<Action> {
    let start = |terminal: &String| start(&format!("getty-{terminal}"), Wait::No);
    facts.terminals.iter().map(start).chain(login_weights(facts, LEAST_WEIGHT)).collect()
}

fn login_weights(facts: &Facts, weight: &str) -> Vec<Action> {
    let file = |terminal| format!("{}/getty-{terminal}/cpu.weight", contract::SERVICES_CGROUP);
    let files = facts.terminals.iter().map(file);
    files.map(|path| Action::Write { path, text: weight.to_owned() }).collect()
}

fn time(facts: &Facts) -> Vec<Action> {
    let mut actions = optional(facts, CHRONYD, "chronyd");
    if !actions.is_empty() {
        actions.insert(0, helper(&[PROGRAM, HOST_CLOCK], HOST_CLOCK_LIMIT));
    }
    actions.extend(facts.has_hardware_clock.then(|| start("clock", Wait::No)));
    actions
}

fn optional(facts: &Facts, program: &str, service: &str) -> Vec<Action> {
    facts.programs.contains(program).then(|| start(service, Wait::No)).into_iter().collect()
}

fn helper(argv: &[&str], limit: Duration) -> Action {
    Action::Helper { argv: argv.iter().map(|&arg| arg.to_owned()).collect(), limit }
}

fn dir(path: &str, mode: u32) -> Action {
    Action::Dir { path: path.into(), mode }
}

fn start(service: &str, wait: Wait) -> Action {
    Action::Start { service: ServiceId::new(service), wait }
}

/// Returns both halves of the boot as text, for `init --print-plan` and the golden files.
pub fn print(facts: &Facts, state: &StateFacts) -> String {
    let (early, rest) = (early(facts), rest(facts, state));
    let mut text = String::new();
    for stage in early.stages.iter().chain(&rest.stages) {
        text += &stage.to_string();
    }
    text += "services\n";
    for service in &rest.services {
        text += &format!("  {}\n", service.to_string().replace('\n', "\n  "));
    }
    text
}

#[cfg(test)]
mod tests;
