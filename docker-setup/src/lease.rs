//! Waits a moment for the first lease: a certificate that names the machine's address at once spares dockerd a restart.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::contract::NET_STATE_DIR;
use b2d_sys::effects::clock;
use b2d_sys::effects::cmd::Deadline;
use b2d_sys::effects::inotify::DirWatch;
use b2d_sys::effects::poll::{self, Interest};

/// Docker is up this much later where nobody answers: as long as the machine has taken to get here, within these bounds.
/// Where that was long, a lease takes longer as well, and dockerd's restart before all.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Waits until each of `interfaces` that leads somewhere has its lease, or patience ends.
///
/// # Errors
/// When the leases cannot be watched.
pub fn await_first(interfaces: &[String]) -> Result<()> {
    let deadline = Deadline::after(patience(clock::since_kernel_start()));
    let watch = DirWatch::new()?;
    watch.add(Path::new(NET_STATE_DIR))?;
    while !deadline.has_passed() && !outstanding(Path::new("/"), interfaces).is_empty() {
        poll::wait(&[(watch.as_fd(), Interest::Read)], Some(deadline.remaining()))
            .context("waiting for a lease")?;
        watch.drain();
    }
    Ok(())
}

fn patience(since_boot: Duration) -> Duration {
    since_boot.clamp(PATIENCE.0, PATIENCE.1)
}

/// Returns those of `interfaces` that are plugged in and ask for an address.
fn outstanding<'a>(root: &Path, interfaces: &'a [String]) -> Vec<&'a str> {
    if KernelCmdline::read(root).is_ok_and(|cmdline| cmdline.has("b2d.nodhcp")) {
        return Vec::new();
    }
    let carrier = |name: &str| root.join("sys/class/net").join(name).join("carrier");
    // An interface that is down has no carrier to read.
    let is_plugged = |name: &str| fs::read_to_string(carrier(name)).is_ok_and(|state| state.trim() == "1");
    let has_lease = |name: &str| lease(root, name).exists();
    interfaces.iter().map(String::as_str).filter(|name| is_plugged(name) && !has_lease(name)).collect()
}

/// Written by `net-setup` once the address is set.
fn lease(root: &Path, interface: &str) -> PathBuf {
    root.join(NET_STATE_DIR.trim_start_matches('/')).join(format!("{interface}.lease"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_is_given_more_time() {
        for (since_boot, expected) in [(300, 1000), (2500, 2500), (60_000, 5000)] {
            assert_eq!(patience(Duration::from_millis(since_boot)), Duration::from_millis(expected));
        }
    }

    #[test]
    fn only_who_asks_and_can_be_answered_is_waited_for() {
        let interfaces = ["eth0", "eth1"].map(str::to_owned);
        for (case, files, expected) in [
            ("no card", vec![], vec![]),
            ("unplugged", vec![("sys/class/net/eth0/carrier", "0\n")], vec![]),
            ("asking", vec![("sys/class/net/eth0/carrier", "1\n")], vec!["eth0"]),
            (
                "one has a lease",
                vec![
                    ("sys/class/net/eth0/carrier", "1\n"),
                    ("sys/class/net/eth1/carrier", "1\n"),
                    ("run/boot2docker/net/eth0.lease", "ip=10.0.2.15\n"),
                ],
                vec!["eth1"],
            ),
            (
                "DHCP is off",
                vec![("sys/class/net/eth0/carrier", "1\n"), ("proc/cmdline", "b2d.nodhcp")],
                vec![],
            ),
            ("not in a certificate", vec![("sys/class/net/eth9/carrier", "1\n")], vec![]),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            assert_eq!(outstanding(root.path(), &interfaces), expected, "{case}");
        }
    }
}
