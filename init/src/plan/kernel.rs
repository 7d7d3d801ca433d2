//! What the kernel needs to be told: its file systems, and settings that containers rely on. Pure.

use std::path::Path;

use b2d_sys::contract::{self, SERVICES_CGROUP};

use super::dir;
use crate::facts::Facts;
use crate::model::Action;

/// Source, target, type, options, data.
type MountRow = (&'static str, &'static str, &'static str, &'static str, &'static str);

const SECURE: &str = "nosuid,nodev,noexec";
/// Only what is worse than an error reaches the consoles. Source: Linux `Documentation/admin-guide/sysctl/kernel.rst`.
const QUIET: &str = "3";
/// What the kernel keeps free for those who cannot wait. It has ten times as much as it needs once transparent huge pages
/// are on for anybody: 44 MB of a machine with 2 GB, of which no program gets anything.
const MIN_FREE: &str = "/proc/sys/vm/min_free_kbytes";
const MOUNTS: [MountRow; 9] = [
    ("proc", "/proc", "proc", SECURE, ""),
    ("sysfs", "/sys", "sysfs", SECURE, ""),
    ("devtmpfs", "/dev", "devtmpfs", "nosuid", "mode=0755"),
    ("devpts", "/dev/pts", "devpts", "nosuid,noexec", "gid=5,mode=0620,ptmxmode=0666"),
    ("shm", "/dev/shm", "tmpfs", "nosuid,nodev", "mode=1777"),
    ("mqueue", "/dev/mqueue", "mqueue", SECURE, ""),
    ("run", "/run", "tmpfs", "nosuid,nodev", "mode=0755,size=20%"),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", SECURE, "nsdelegate"),
    // dockerd looks for AppArmor here.
    ("securityfs", "/sys/kernel/security", "securityfs", SECURE, ""),
];
/// For containers that look into the kernel. Mounting bpf makes the kernel look for a module, which takes most of a
/// second; nothing of ours needs it.
const LATE_MOUNTS: [MountRow; 2] = [
    ("bpf", "/sys/fs/bpf", "bpf", SECURE, "mode=0700"),
    ("tracefs", "/sys/kernel/tracing", "tracefs", SECURE, "mode=0700"),
];

/// For tools that change the boot order.
const EFI_VARIABLES: MountRow =
    ("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", "nosuid,nodev,noexec,ro", "");

/// Returns the file systems that are not mounted yet, each after its parent, and our directories in them.
pub fn mounts(facts: &Facts) -> Vec<Action> {
    let mut actions = missing(facts, &MOUNTS);
    actions.push(dir(contract::RUN_DIR, 0o755));
    actions.push(dir(contract::NET_STATE_DIR, 0o755));
    actions.push(dir(contract::NTP_DIR, 0o755));
    actions
}

/// Returns the file systems that can wait.
pub fn late_mounts(facts: &Facts) -> Vec<Action> {
    let mut actions = missing(facts, &LATE_MOUNTS);
    if facts.platform.is_uefi {
        actions.extend(missing(facts, &[EFI_VARIABLES]));
    }
    actions
}

fn missing(facts: &Facts, table: &[MountRow]) -> Vec<Action> {
    let missing = table.iter().filter(|(_, target, ..)| !facts.mounted.contains(Path::new(target)));
    let mount =
        |&(source, target, fstype, options, data)| Action::Mount { source, target, fstype, options, data };
    missing.map(mount).collect()
}

/// Returns the settings that containers rely on.
pub fn settings(facts: &Facts) -> Vec<Action> {
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
        // File watchers in containers run out of the kernel's defaults.
        ("/proc/sys/fs/inotify/max_user_watches", "1048576"),
        ("/proc/sys/fs/inotify/max_user_instances", "8192"),
        // Each container takes a session key; check-config.sh asks for more than 10000.
        ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
        ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
        // Each published connection is tracked; with 2 GB the kernel stops at 65536.
        ("/proc/sys/net/netfilter/nf_conntrack_max", "262144"),
        // With 2 GB the kernel keeps 8 of the lowest 16 MiB for devices that can address no more, with 4 GB all of them. Few
        // drivers of such devices are left; an eighth is enough for them.
        // Source: Linux Documentation/admin-guide/sysctl/vm.rst, "lowmem_reserve_ratio".
        ("/proc/sys/vm/lowmem_reserve_ratio", "2048"),
        // Each processor keeps free pages to itself that nobody else gets, 4 MiB with 2 GB. This makes it the least there is, four
        // batches, which is 1 MiB and about what kernels before 5.14 had. Source: Linux mm/page_alloc.c, zone_highsize().
        ("/proc/sys/vm/percpu_pagelist_high_fraction", "1000000"),
        // Elasticsearch and its kind refuse to start with less.
        ("/proc/sys/vm/max_map_count", "262144"),
        // Starting and ending a container waits for grace periods, one after the other; this makes them short.
        // Source: Linux Documentation/RCU/whatisRCU.rst, "expedited".
        ("/sys/kernel/rcu_expedited", "1"),
    ];
    let mut actions: Vec<Action> = links.map(|(target, link)| Action::Link { target, link }).into();
    actions.extend(controllers.map(|text| write("/sys/fs/cgroup/cgroup.subtree_control", text)));
    actions.push(dir(SERVICES_CGROUP, 0o755));
    // dockerd looks into its own cgroup to learn what limits containers can have.
    actions.extend(controllers.map(|text| write(&format!("{SERVICES_CGROUP}/cgroup.subtree_control"), text)));
    actions.extend(settings.map(|(path, text)| write(path, text)));
    actions.extend(facts.memory_kib.map(|kib| write(MIN_FREE, &min_free_kib(kib).to_string())));
    if !["debug", "ignore_loglevel", "loglevel"].iter().any(|option| facts.cmdline.has(option)) {
        actions.push(write("/proc/sys/kernel/printk", QUIET));
    }
    // Somebody's own decisions come last.
    actions.extend(facts.sysctls.iter().map(|setting| write(&setting.path, &setting.value)));
    actions.push(Action::LinkUp { interface: "lo".to_owned() });
    actions
}

/// Returns what a network interface of ours needs before anybody configures it.
pub fn interface(name: &str) -> Vec<Action> {
    // A router, which we are for containers, ignores router advertisements unless told 2; our address comes from them.
    // Not for all interfaces: a container must not advertise itself to us.
    let accept = write(&format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "2");
    vec![accept, Action::LinkUp { interface: name.to_owned() }]
}

/// Returns what the kernel would keep free without transparent huge pages.
/// Source: Linux mm/page_alloc.c, calculate_min_free_kbytes().
fn min_free_kib(memory_kib: u64) -> u64 {
    (memory_kib * 16).isqrt().clamp(128, 262_144)
}

fn write(path: &str, text: &str) -> Action {
    Action::Write { path: path.to_owned(), text: text.to_owned() }
}
