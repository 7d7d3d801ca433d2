//! Reads what the plans depend on, below a root path. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::contract;
use b2d_sys::effects::cmd::Deadline;
use b2d_sys::effects::files::read_optional;
use b2d_sys::effects::hostname;
use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::uevents::UeventSocket;

use crate::lease::{Variables, read_state};
use crate::pattern;

/// Name servers when no lease brought any.
pub const FALLBACK_RESOLV_CONF: &str = "etc/resolv.conf.b2d";
/// Files on the data disk that give an interface a fixed address, named like the interface.
pub const INTERFACES_DIR: &str = "/var/lib/boot2docker/etc/network";
/// Ends of file names in [`contract::NET_STATE_DIR`].
pub const LEASE: &str = "lease";
/// The client begins afresh, but the address stays meanwhile.
pub const KEPT: &str = "kept";
/// It was said that nobody answers.
pub const UNANSWERED: &str = "unanswered";

/// The card whose hardware address names a machine.
const FIRST_CARD: &str = "eth0";
/// How long a name that needs a card is waited for: a driver may be a module that is just being loaded.
const CARD_SECS: u64 = 5;

/// What the machine's name depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFacts {
    /// `b2d.hostname=` of the kernel command line.
    pub on_cmdline: Option<String>,
    /// Content of the persistent file.
    pub on_disk: Option<String>,
    /// The pattern of a custom image.
    pub pattern: Option<String>,
    /// Hardware address of the first card.
    pub card: Option<String>,
    /// Content of `/etc/hosts`.
    pub hosts: String,
    /// The kernel's idea of the name.
    pub current: String,
    /// Interfaces whose DHCP client tells a server the name.
    pub clients: Vec<String>,
}

/// What the network's configuration depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetFacts {
    /// Leases by interface, as kept by earlier calls.
    pub leases: BTreeMap<String, Variables>,
    /// Interfaces that keep their address although their client begins afresh.
    pub kept: BTreeSet<String>,
    /// Interfaces of which it was said that nobody answers.
    pub unanswered: BTreeSet<String>,
    /// `resolv.conf` when no lease brings name servers.
    pub fallback: Option<String>,
    /// Whether a directory is where `resolv.conf` belongs.
    pub is_resolv_conf_in_the_way: bool,
}

/// What decides how an interface gets its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Values of `b2d.ip=`.
    pub on_cmdline: Vec<String>,
    /// The interface's file on the data disk, or else in a custom image: where it is, and its content.
    pub in_file: Option<(String, String)>,
    /// Whether DHCP is switched off.
    pub is_dhcp_off: bool,
    /// The machine's name.
    pub hostname: String,
}

impl InterfaceFacts {
    /// Reads the facts below `root`.
    ///
    /// # Errors
    /// When a file exists but cannot be read.
    pub fn read(root: &Path, interface: &str) -> Result<Self> {
        let cmdline = KernelCmdline::read(root).context("reading the kernel command line")?;
        Ok(Self {
            on_cmdline: cmdline.all("b2d.ip").map(str::to_owned).collect(),
            in_file: interface_file(root, interface)?,
            is_dhcp_off: cmdline.has("b2d.nodhcp"),
            hostname: hostname::get(),
        })
    }
}

impl NameFacts {
    /// Reads the facts below `root`.
    ///
    /// # Errors
    /// When a file exists but cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let cmdline = KernelCmdline::read(root).context("reading the kernel command line")?;
        Ok(Self {
            on_cmdline: cmdline.get("b2d.hostname").map(str::to_owned),
            on_disk: optional_text(&below(root, contract::HOSTNAME_FILE))?,
            pattern: optional_text(&below(root, contract::CUSTOM_HOSTNAME))?,
            card: hardware_address(root, FIRST_CARD)?,
            hosts: optional_text(&root.join("etc/hosts"))?.unwrap_or_default(),
            current: hostname::get(),
            clients: clients(root)?,
        })
    }
}

impl NetFacts {
    /// Reads the facts below `root`.
    ///
    /// # Errors
    /// When a file exists but cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let mut facts = Self {
            fallback: optional_text(&root.join(FALLBACK_RESOLV_CONF))?,
            is_resolv_conf_in_the_way: is_directory(&root.join("etc/resolv.conf")),
            ..Self::default()
        };
        let dir = below(root, contract::NET_STATE_DIR);
        for name in names_in(&dir)? {
            // A name with a dot in front is a file that is just being written.
            let Some((interface, kind)) = name.rsplit_once('.').filter(|(name, _)| !name.starts_with('.'))
            else {
                continue;
            };
            let interface = interface.to_owned();
            match kind {
                LEASE => {
                    let text = optional_text(&dir.join(&name))?;
                    facts.leases.extend(text.map(|text| (interface, read_state(&text))));
                }
                KEPT => drop(facts.kept.insert(interface)),
                UNANSWERED => drop(facts.unanswered.insert(interface)),
                _ => {}
            }
        }
        Ok(facts)
    }
}

/// Waits a little for the first card, if a custom image's pattern names the machine after it.
///
/// # Errors
/// When a file exists but cannot be read, or the kernel's events cannot be heard.
pub fn await_card(root: &Path) -> Result<()> {
    let pattern = optional_text(&below(root, contract::CUSTOM_HOSTNAME))?;
    if !pattern.is_some_and(|pattern| pattern::needs_card(&pattern)) {
        return Ok(());
    }
    let events = UeventSocket::open()?;
    let deadline = Deadline::secs(CARD_SECS);
    while hardware_address(root, FIRST_CARD)?.is_none() && !deadline.has_passed() {
        poll::wait(&[(events.as_fd(), Interest::Read)], Some(deadline.remaining()))
            .context("waiting for a network card")?;
        while events.next_event().is_some() {}
    }
    Ok(())
}

/// Source: Linux Documentation/ABI/testing/sysfs-class-net.
fn hardware_address(root: &Path, interface: &str) -> Result<Option<String>> {
    let text = optional_text(&root.join("sys/class/net").join(interface).join("address"))?;
    Ok(text.map(|text| text.trim().to_ascii_lowercase()))
}

/// Returns place and content of the file with an interface's address: the data disk's, else a custom image's, in which
/// the card's hardware address is more particular than its name.
fn interface_file(root: &Path, interface: &str) -> Result<Option<(String, String)>> {
    let by_address = hardware_address(root, interface)?;
    let in_image = by_address.iter().map(String::as_str).chain([interface]);
    let in_image = in_image.map(|name| format!("{}/{name}", contract::CUSTOM_NETWORK_DIR));
    for place in [format!("{INTERFACES_DIR}/{interface}")].into_iter().chain(in_image) {
        if let Some(text) = optional_text(&below(root, &place))? {
            return Ok(Some((place, text)));
        }
    }
    Ok(None)
}

/// Returns the interfaces with a living DHCP client of the contract's pid files.
fn clients(root: &Path) -> Result<Vec<String>> {
    let run = root.join("run");
    let mut interfaces = Vec::new();
    for name in names_in(&run)? {
        let interface = name.strip_prefix("udhcpc.").and_then(|rest| rest.strip_suffix(".pid"));
        let Some(interface) = interface else { continue };
        let pid = optional_text(&run.join(&name))?.unwrap_or_default();
        let comm = optional_text(&root.join("proc").join(pid.trim()).join("comm"))?;
        if comm.is_some_and(|comm| comm.trim() == "udhcpc") {
            interfaces.push(interface.to_owned());
        }
    }
    Ok(interfaces)
}

/// Symbolic links count as what they are: one that dangles is replaced like a file.
fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Returns the names in a directory, sorted; none if there is no directory.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
        Ok(entries) => {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
    };
    names.sort();
    Ok(names)
}

fn below(root: &Path, path: &str) -> std::path::PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn optional_text(path: &Path) -> Result<Option<String>> {
    let bytes = read_optional(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/cmdline", "b2d.hostname=alpha b2d.ip=eth1,10.0.0.5/8 b2d.nodhcp\n");
        assert_eq!(NetFacts::read(dir.path()).unwrap(), NetFacts::default());
        put("var/lib/boot2docker/etc/hostname", "beta\n");
        put("usr/share/boot2docker/custom/hostname", "node-{mac6}");
        put("sys/class/net/eth0/address", "52:54:00:12:34:AB\n");
        put("sys/class/net/eth1/address", "52:54:00:12:34:ac\n");
        put("run/boot2docker/net/eth0.lease", "ip=10.0.2.15\nmask=24\n");
        put("run/boot2docker/net/.eth1.lease.new", "ip=");
        put("run/boot2docker/net/eth0.kept", "");
        put("run/boot2docker/net/eth9.unanswered", "");
        put("run/udhcpc.eth0.pid", "77\n");
        put("proc/77/comm", "udhcpc\n");
        put("run/udhcpc.eth1.pid", "78\n");
        put("etc/resolv.conf.b2d", "nameserver 1.1.1.1\n");
        put("etc/resolv.conf/mine", "");
        let name = NameFacts::read(dir.path()).unwrap();
        let expected = NameFacts {
            on_cmdline: Some("alpha".into()),
            on_disk: Some("beta\n".into()),
            pattern: Some("node-{mac6}".into()),
            card: Some("52:54:00:12:34:ab".into()),
            hosts: String::new(),
            current: hostname::get(),
            clients: vec!["eth0".into()],
        };
        assert_eq!(name, expected);
        let interface = InterfaceFacts::read(dir.path(), "eth1").unwrap();
        assert_eq!((interface.on_cmdline, interface.is_dhcp_off), (vec!["eth1,10.0.0.5/8".to_owned()], true));
        assert_eq!(interface.in_file, None);
        // The more particular one each time: by the card's name, by its hardware address, on the data disk.
        for place in [
            "usr/share/boot2docker/custom/network/eth1",
            "usr/share/boot2docker/custom/network/52:54:00:12:34:ac",
            "var/lib/boot2docker/etc/network/eth1",
        ] {
            put(place, place);
            let found = InterfaceFacts::read(dir.path(), "eth1").unwrap().in_file;
            assert_eq!(found, Some((format!("/{place}"), place.to_owned())));
        }
        let net = NetFacts::read(dir.path()).unwrap();
        assert_eq!(net.leases.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(net.leases["eth0"]["mask"], "24");
        assert_eq!((net.kept, net.unanswered), (["eth0".into()].into(), ["eth9".into()].into()));
        assert!(net.is_resolv_conf_in_the_way);
        assert_eq!(net.fallback.as_deref(), Some("nameserver 1.1.1.1\n"));
    }
}
