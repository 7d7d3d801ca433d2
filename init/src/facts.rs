//! Reads what the plan depends on, below a root path. Decides nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::contract;
use b2d_sys::effects::clock;
use b2d_sys::mountinfo;

use crate::sysctl::{self, Setting};

/// Serial lines that 17.12 had logins on.
const SERIAL_LINES: [&str; 4] = ["ttyS0", "ttyS1", "ttyS2", "ttyS3"];
/// sshd's RSA host key, below its state directory.
const RSA_KEY: &str = "ssh_host_rsa_key";
/// Programs that may be missing without anything being wrong.
const OPTIONAL_PROGRAMS: [&str; 2] = ["/usr/sbin/chronyd", "/usr/sbin/crond"];

/// What is known when PID 1 starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's command line.
    pub cmdline: KernelCmdline,
    /// What the machine is.
    pub platform: Platform,
    /// Memory of the machine. Unit: KiB. None if the kernel does not tell.
    pub memory_kib: Option<u64>,
    /// Whether the machine has more than one processor.
    pub is_multiprocessor: bool,
    /// Mount points in use.
    pub mounted: BTreeSet<PathBuf>,
    /// Terminals with somebody behind them, names below `/dev`.
    pub terminals: Vec<String>,
    /// Network interfaces to configure, in the order of their numbers.
    pub interfaces: Vec<String>,
    /// Those optional programs that exist.
    pub programs: BTreeSet<&'static str>,
    /// Whether a clock goes on while the machine does not.
    pub has_hardware_clock: bool,
    /// Kernel settings of `/etc/sysctl.conf`, in their order.
    pub sysctls: Vec<Setting>,
}

/// What the machine is, by its firmware's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// Vendor and product, such as `QEMU Standard PC`.
    pub name: String,
    /// Whether UEFI firmware has started it, rather than a BIOS.
    pub is_uefi: bool,
    /// Whether the processor says that a hypervisor runs it.
    pub is_virtual: bool,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "unknown machine" } else { &self.name };
        let firmware = if self.is_uefi { "UEFI" } else { "BIOS" };
        let kind = if self.is_virtual { "virtual" } else { "no hypervisor seen" };
        write!(f, "{name}, {firmware}, {kind}")
    }
}

/// What is known once the data disk is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateFacts {
    /// The hook to run before Docker, if there is one: the data disk's, else a custom image's.
    pub bootsync: Option<&'static str>,
    /// The hook to run after Docker, likewise.
    pub bootlocal: Option<&'static str>,
    /// Whether a disk keeps the state, rather than memory.
    pub is_on_disk: bool,
    /// Whether the host key that takes long to make is still to be made.
    pub lacks_rsa_key: bool,
    /// Where services log.
    pub log_dir: PathBuf,
}

impl Facts {
    /// Reads the facts below `root`. What cannot be read counts as absent, and is said in the log.
    pub fn read(root: &Path) -> Self {
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo"));
        let mounts = mounts.and_then(|text| mountinfo::parse(&text).map_err(io::Error::other));
        let mut interfaces = names_in(&root.join("sys/class/net"));
        interfaces.retain(|name| is_configured_by_us(name));
        sort_interfaces(&mut interfaces);
        let exists = |program: &&str| root.join(program.trim_start_matches('/')).exists();
        Self {
            cmdline: or_absent("the kernel command line", KernelCmdline::read(root)),
            platform: platform(root),
            memory_kib: memory_kib(root),
            is_multiprocessor: is_multiprocessor(root),
            mounted: or_absent("the mount table", mounts).into_iter().map(|mount| mount.target).collect(),
            terminals: terminals(root),
            interfaces,
            programs: OPTIONAL_PROGRAMS.into_iter().filter(exists).collect(),
            has_hardware_clock: clock::has_hardware_clock(root),
            sysctls: sysctls(root),
        }
    }
}

impl StateFacts {
    /// Reads the facts below `root`.
    pub fn read(root: &Path) -> Self {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        let log_dir =
            if below(contract::STATE_DIR).is_dir() { contract::STATE_LOG_DIR } else { contract::LOG_DIR };
        let disk = fs::read_to_string(below(contract::DATA_DISK_FILE)).unwrap_or_default();
        let first_of = |hooks: [&'static str; 2]| hooks.into_iter().find(|hook| below(hook).is_file());
        Self {
            is_on_disk: disk.lines().any(|line| line.starts_with("DEVICE=/dev/")),
            bootsync: first_of([contract::BOOTSYNC, contract::CUSTOM_BOOTSYNC]),
            bootlocal: first_of([contract::BOOTLOCAL, contract::CUSTOM_BOOTLOCAL]),
            lacks_rsa_key: !below(contract::SSH_STATE_DIR).join(RSA_KEY).exists(),
            log_dir: log_dir.into(),
        }
    }
}

/// A custom image may bring the file; ours has none.
fn sysctls(root: &Path) -> Vec<Setting> {
    let path = root.join(sysctl::FILE);
    let text = if path.exists() { fs::read_to_string(&path) } else { Ok(String::new()) };
    let (settings, complaints) = sysctl::parse(&or_absent(&path.display().to_string(), text));
    complaints.iter().for_each(|complaint| log::warn!("{complaint}"));
    settings
}

/// Tells from a list such as `0-3`. Source: Linux `Documentation/admin-guide/cputopology.rst`.
fn is_multiprocessor(root: &Path) -> bool {
    let online = fs::read_to_string(root.join("sys/devices/system/cpu/online"));
    online.is_ok_and(|list| list.contains(['-', ',']))
}

/// Reads the memory of the machine. Unit: KiB. Source: proc_meminfo(5).
pub fn memory_kib(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()
}

/// Reads what firmware and processor say of the machine.
fn platform(root: &Path) -> Platform {
    let dmi = |name: &str| fs::read_to_string(root.join("sys/class/dmi/id").join(name)).unwrap_or_default();
    let name = format!("{} {}", dmi("sys_vendor").trim(), dmi("product_name").trim());
    let processors = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = processors.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    Platform {
        name: name.trim().to_owned(),
        is_uefi: root.join("sys/firmware/efi").exists(),
        is_virtual: flags.split_whitespace().any(|flag| flag == "hypervisor"),
    }
}

/// Sorts interfaces as people count them: `eth2` before `eth10`.
pub fn sort_interfaces(names: &mut [String]) {
    names.sort_by_key(|name| (name.len(), name.clone()));
}

/// Tells whether DHCP on this interface is our work; bridges and containers' ends are not.
pub fn is_configured_by_us(interface: &str) -> bool {
    interface.strip_prefix("eth").is_some_and(|number| number.parse::<u16>().is_ok())
}

/// Reads the consoles of the kernel, such as `tty0` and `ttyS0`.
pub fn consoles(root: &Path) -> Vec<String> {
    let active = fs::read_to_string(root.join("sys/class/tty/console/active"));
    or_absent("the active consoles", active).split_whitespace().map(str::to_owned).collect()
}

/// Finds the terminals with hardware behind them: the first screen, real UARTs, a hypervisor's console.
fn terminals(root: &Path) -> Vec<String> {
    let class = root.join("sys/class/tty");
    let mut found = Vec::new();
    if class.join("tty1").exists() {
        found.push("tty1".to_owned());
    }
    for line in SERIAL_LINES {
        // The kernel makes nodes for UARTs it did not find; their type is 0, PORT_UNKNOWN.
        let uart = fs::read_to_string(class.join(line).join("type"));
        if uart.is_ok_and(|text| text.trim() != "0") {
            found.push(line.to_owned());
        }
    }
    // Made with the first device behind it. Source: Linux drivers/tty/hvc/hvc_console.c, hvc_alloc().
    if class.join("hvc0").exists() {
        found.push("hvc0".to_owned());
    }
    found
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = or_absent(&dir.display().to_string(), fs::read_dir(dir).map(Iterator::collect::<Vec<_>>));
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    entries.into_iter().filter_map(name).collect()
}

fn or_absent<T: Default, E: std::fmt::Display>(what: &str, read: Result<T, E>) -> T {
    read.unwrap_or_else(|error| {
        log::warn!("reading {what}: {error}");
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/cmdline", "quiet b2d.nodhcp\n");
        put(
            "proc/self/mountinfo",
            "22 1 0:21 / / rw - overlay overlay rw\n23 22 0:5 / /dev rw - devtmpfs dev rw\n",
        );
        put("sys/class/tty/tty1/uevent", "");
        put("sys/class/tty/ttyS0/type", "4\n");
        put("sys/class/tty/ttyS1/type", "0\n");
        put("sys/class/tty/hvc0/uevent", "");
        for interface in ["lo", "eth10", "eth2", "docker0", "ethernet"] {
            put(&format!("sys/class/net/{interface}/operstate"), "");
        }
        put("usr/sbin/crond", "");
        put("sys/class/dmi/id/sys_vendor", "QEMU\n");
        put("sys/class/dmi/id/product_name", "Standard PC\n");
        put("sys/firmware/efi/runtime", "");
        put("proc/cpuinfo", "processor: 0\nflags\t\t: fpu hypervisor\n");
        put("sys/class/rtc/rtc0/since_epoch", "1\n");
        put("proc/meminfo", "MemTotal:        2016520 kB\nMemFree:          1 kB\n");
        put("sys/devices/system/cpu/online", "0-1\n");
        put("etc/sysctl.conf", "vm.swappiness = 10\n");
        let expected = Facts {
            cmdline: KernelCmdline::parse("quiet b2d.nodhcp"),
            memory_kib: Some(2_016_520),
            is_multiprocessor: true,
            mounted: ["/", "/dev"].map(PathBuf::from).into(),
            terminals: ["tty1", "ttyS0", "hvc0"].map(str::to_owned).into(),
            interfaces: ["eth2", "eth10"].map(str::to_owned).into(),
            programs: ["/usr/sbin/crond"].into(),
            platform: Platform { name: "QEMU Standard PC".into(), is_uefi: true, is_virtual: true },
            has_hardware_clock: true,
            sysctls: vec![Setting { path: "/proc/sys/vm/swappiness".into(), value: "10".into() }],
        };
        assert_eq!(Facts::read(dir.path()), expected);
        put("var/lib/boot2docker/bootsync.sh", "");
        put("usr/share/boot2docker/custom/bootsync.sh", "");
        put("usr/share/boot2docker/custom/bootlocal.sh", "");
        put("run/boot2docker/data-disk", "DEVICE=/dev/vda1\nMOUNTPOINT=/mnt/vda1\n");
        let expected = StateFacts {
            bootsync: Some(contract::BOOTSYNC),
            bootlocal: Some(contract::CUSTOM_BOOTLOCAL),
            is_on_disk: true,
            lacks_rsa_key: true,
            log_dir: contract::STATE_LOG_DIR.into(),
        };
        assert_eq!(StateFacts::read(dir.path()), expected);
    }

    #[test]
    fn an_empty_machine_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Facts::read(dir.path()), Facts::default());
    }
}
