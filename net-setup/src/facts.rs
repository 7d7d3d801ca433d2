//! Reads what the plans depend on, below a root path. Decides nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::contract;
use b2d_sys::effects::files::read_optional;

use crate::lease::{Variables, read_state};

/// Name servers when no lease brought any.
pub const FALLBACK_RESOLV_CONF: &str = "etc/resolv.conf.b2d";
/// End of a lease's file name.
const LEASE_SUFFIX: &str = ".lease";

/// What the machine's name depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFacts {
    /// `b2d.hostname=` of the kernel command line.
    pub on_cmdline: Option<String>,
    /// Content of the persistent file.
    pub on_disk: Option<String>,
    /// Content of `/etc/hosts`.
    pub hosts: String,
}

/// What the network's configuration depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetFacts {
    /// Leases by interface, as kept by earlier calls.
    pub leases: BTreeMap<String, Variables>,
    /// `resolv.conf` when no lease brings name servers.
    pub fallback: Option<String>,
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
            hosts: optional_text(&root.join("etc/hosts"))?.unwrap_or_default(),
        })
    }
}

impl NetFacts {
    /// Reads the facts below `root`.
    ///
    /// # Errors
    /// When a file exists but cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let dir = below(root, contract::NET_STATE_DIR);
        let mut leases = BTreeMap::new();
        match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
            Ok(entries) => {
                for entry in entries.flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    // A name with a dot in front is a file that is just being written.
                    let interface = name.strip_suffix(LEASE_SUFFIX).filter(|name| !name.starts_with('.'));
                    if let (Some(interface), Some(text)) = (interface, optional_text(&entry.path())?) {
                        leases.insert(interface.to_owned(), read_state(&text));
                    }
                }
            }
        }
        Ok(Self { leases, fallback: optional_text(&root.join(FALLBACK_RESOLV_CONF))? })
    }
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
        put("proc/cmdline", "b2d.hostname=alpha\n");
        assert_eq!(NetFacts::read(dir.path()).unwrap(), NetFacts::default());
        put("var/lib/boot2docker/etc/hostname", "beta\n");
        put("run/boot2docker/net/eth0.lease", "ip=10.0.2.15\nmask=24\n");
        put("run/boot2docker/net/.eth1.lease.new", "ip=");
        put("etc/resolv.conf.b2d", "nameserver 1.1.1.1\n");
        let name = NameFacts::read(dir.path()).unwrap();
        let expected = NameFacts {
            on_cmdline: Some("alpha".into()),
            on_disk: Some("beta\n".into()),
            hosts: String::new(),
        };
        assert_eq!(name, expected);
        let net = NetFacts::read(dir.path()).unwrap();
        assert_eq!(net.leases.keys().collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(net.leases["eth0"]["mask"], "24");
        assert_eq!(net.fallback.as_deref(), Some("nameserver 1.1.1.1\n"));
    }
}
