//! Decides the boot: facts in, stages and services out. Pure; order of entries is order of action.

pub mod services;

use std::path::Path;
use std::time::Duration;

use b2d_sys::contract;

use crate::facts::{Facts, StateFacts};
use crate::model::{Action, Policy, ServiceId, Stage, Step, Wait};
use crate::service::Service;
use services::DOCKER_SETUP_LIMIT;

/// A file system check of a big disk takes minutes; longer means it hangs.
const DISK_LIMIT: Duration = Duration::from_secs(600);
/// Setting a name takes milliseconds.
const HOSTNAME_LIMIT: Duration = Duration::from_secs(10);
/// Host keys that sshd cannot do without, on a slow machine without hardware help.
const SSH_SETUP_LIMIT: Duration = Duration::from_secs(60);
/// An RSA key under emulation takes a minute.
const SLOW_KEYS_LIMIT: Duration = Duration::from_secs(600);
/// sshd listens within a second even under emulation.
const SSHD_LIMIT: Duration = Duration::from_secs(30);
/// containerd opens its database first, which may be big.
const CONTAINERD_LIMIT: Duration = Duration::from_secs(60);
/// Where the persistent host name and Docker's own configuration lie.
const ETC_DIR: &str = "/var/lib/boot2docker/etc";
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
        stage("mounts", &[], mounts(facts)),
        stage("rescue", &["mounts"], Vec::from_iter(is_rescue.then_some(asked_for))),
        stage("kernel", &["mounts"], kernel_settings()),
        stage("data-disk", &["mounts"], data_disk()),
    ];
    Plan { stages: without_empty(stages), services: vec![] }
}

/// Returns the rest of the boot, once the data disk is there or known to be absent.
pub fn rest(facts: &Facts, state: &StateFacts) -> Plan {
    let dirs = [ETC_DIR, contract::STATE_LOG_DIR, "/run/containerd", "/var/spool/cron/crontabs"];
    let docker_log =
        Action::Link { target: "/var/lib/boot2docker/log/docker.log", link: "/var/log/docker.log" };
    let hostname = vec![helper(&["/usr/sbin/net-setup", "hostname"], HOSTNAME_LIMIT)];
    let bootsync = Action::Hook { path: contract::BOOTSYNC, patience: BOOTSYNC_PATIENCE };
    let bootsync = Vec::from_iter(state.has_bootsync.then_some(bootsync));
    // Docker follows the hook, which follows sshd; without a hook nothing ties Docker to sshd.
    let after_bootsync: &[_] = if bootsync.is_empty() { &["network"] } else { &["bootsync"] };
    let bootlocal = Action::Background { path: contract::BOOTLOCAL, log: contract::BOOTLOCAL_LOG };
    let bootlocal = Vec::from_iter(state.has_bootlocal.then_some(bootlocal));
    let announce = |service, line| Action::Announce { service: ServiceId::new(service), line };
    let stages = vec![
        stage(
            "state",
            &["data-disk"],
            dirs.map(|path| dir(path, 0o755)).into_iter().chain([docker_log]).collect(),
        ),
        stage("containerd", &["state"], vec![start("containerd", Wait::Ready(CONTAINERD_LIMIT))]),
        stage("hostname", &["state"], hostname),
        stage("logins", &["hostname"], logins(facts)),
        stage("network", &["kernel", "hostname"], network(facts)),
        stage("ssh", &["network"], ssh()),
        stage("ssh-ready", &["ssh"], vec![announce("sshd", contract::SSH_READY)]),
        stage("slow-keys", &["docker-ready"], slow_keys()),
        stage("time", &["network"], optional(facts, "/usr/sbin/chronyd", "chronyd")),
        stage("cron", &["state"], optional(facts, "/usr/sbin/crond", "crond")),
        stage("bootsync", &["ssh"], bootsync),
        stage("docker-setup", after_bootsync, vec![helper(&["/usr/sbin/docker-setup"], DOCKER_SETUP_LIMIT)]),
        stage("docker", &["containerd", "docker-setup"], vec![start("docker", Wait::No)]),
        stage("bootlocal", &["docker"], bootlocal),
        stage("docker-ready", &["docker"], vec![announce("docker", contract::DOCKER_READY)]),
    ];
    Plan { stages: without_empty(stages), services: services::table(facts, &state.log_dir) }
}

fn stage(name: &'static str, after: &[&'static str], actions: Vec<Action>) -> Stage {
    let steps = actions.into_iter().map(|action| {
        let policy = match action {
            Action::Mount { fstype: "bpf" | "mqueue" | "tracefs", .. } | Action::Write { .. } => {
                Policy::Optional
            }
            _ if name == "mounts" => Policy::Rescue,
            _ => Policy::Warn,
        };
        Step { action, policy }
    });
    Stage { name, after: after.to_vec(), steps: steps.collect() }
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

/// File systems of the kernel that are not mounted yet. The order matters: a mount needs its parent.
fn mounts(facts: &Facts) -> Vec<Action> {
    let secure = "nosuid,nodev,noexec";
    let table = [
        ("proc", "/proc", "proc", secure, ""),
        ("sysfs", "/sys", "sysfs", secure, ""),
        ("devtmpfs", "/dev", "devtmpfs", "nosuid", "mode=0755"),
        ("devpts", "/dev/pts", "devpts", "nosuid,noexec", "gid=5,mode=0620,ptmxmode=0666"),
        ("shm", "/dev/shm", "tmpfs", "nosuid,nodev", "mode=1777"),
        ("mqueue", "/dev/mqueue", "mqueue", secure, ""),
        ("run", "/run", "tmpfs", "nosuid,nodev", "mode=0755,size=20%"),
        ("cgroup2", "/sys/fs/cgroup", "cgroup2", secure, "nsdelegate"),
        ("bpf", "/sys/fs/bpf", "bpf", secure, "mode=0700"),
        ("tracefs", "/sys/kernel/tracing", "tracefs", secure, "mode=0700"),
    ];
    let missing = table.into_iter().filter(|(_, target, ..)| !facts.mounted.contains(Path::new(target)));
    let mount =
        |(source, target, fstype, options, data)| Action::Mount { source, target, fstype, options, data };
    let mut actions: Vec<Action> = missing.map(mount).collect();
    actions.push(dir(contract::RUN_DIR, 0o755));
    actions.push(dir(contract::NET_STATE_DIR, 0o755));
    actions
}

fn kernel_settings() -> Vec<Action> {
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    // One controller a write: the kernel refuses a whole line for one it lacks.
    let controllers = ["+cpu", "+cpuset", "+io", "+memory", "+pids", "+hugetlb"];
    let settings = [
        // Containers are routed, as 17.12's sysctl.conf had it.
        ("/proc/sys/net/ipv4/ip_forward", "1"),
        ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
        // A router ignores router advertisements unless told 2; our own address comes from them.
        ("/proc/sys/net/ipv6/conf/all/accept_ra", "2"),
        ("/proc/sys/net/ipv6/conf/default/accept_ra", "2"),
        // File watchers in containers run out of the kernel's defaults.
        ("/proc/sys/fs/inotify/max_user_watches", "1048576"),
        ("/proc/sys/fs/inotify/max_user_instances", "8192"),
        // Each container takes a session key; check-config.sh asks for more than 10000.
        ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
        ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
        // Elasticsearch and its kind refuse to start with less.
        ("/proc/sys/vm/max_map_count", "262144"),
    ];
    let mut actions: Vec<Action> = links.map(|(target, link)| Action::Link { target, link }).into();
    actions.extend(
        controllers.map(|text| Action::Write { path: "/sys/fs/cgroup/cgroup.subtree_control", text }),
    );
    actions.push(dir("/sys/fs/cgroup/b2d", 0o755));
    actions.extend(settings.map(|(path, text)| Action::Write { path, text }));
    actions.push(Action::LinkUp { interface: "lo".to_owned() });
    actions
}

fn data_disk() -> Vec<Action> {
    vec![helper(&["/usr/sbin/automount"], DISK_LIMIT), Action::PlanTheRest]
}

fn network(facts: &Facts) -> Vec<Action> {
    let up = |interface: &String| Action::LinkUp { interface: interface.clone() };
    let dhcp = |interface: &String| start(&format!("udhcpc-{interface}"), Wait::No);
    let has_dhcp = !facts.cmdline.has("b2d.nodhcp");
    let clients = facts.interfaces.iter().filter(|_| has_dhcp).map(dhcp);
    facts.interfaces.iter().map(up).chain(clients).collect()
}

fn ssh() -> Vec<Action> {
    vec![helper(&["/usr/sbin/sshd-setup"], SSH_SETUP_LIMIT), start("sshd", Wait::Ready(SSHD_LIMIT))]
}

fn slow_keys() -> Vec<Action> {
    vec![helper(&["/usr/sbin/sshd-setup", "--slow-keys"], SLOW_KEYS_LIMIT)]
}

fn logins(facts: &Facts) -> Vec<Action> {
    facts.terminals.iter().map(|terminal| start(&format!("getty-{terminal}"), Wait::No)).collect()
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
