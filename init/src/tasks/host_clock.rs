//! Shows chronyd the clock of the host, where the hypervisor does. Runs before each start of chronyd that was asked for.

use std::fs;
use std::path::Path;

use anyhow::Result;
use b2d_sys::contract;
use b2d_sys::effects::files::{ensure_dir, write_atomic};

/// Names of clocks that are the host's own, as the kernel's drivers give them.
/// Source: Linux `drivers/ptp/ptp_kvm_common.c`, `drivers/ptp/ptp_vmw.c`, `drivers/hv/hv_util.c`.
const HOST_CLOCKS: [&str; 3] = ["KVM virtual PTP", "hyperv", "ptp_vmw"];

/// Writes down the host's clocks.
///
/// # Errors
/// When the file cannot be written.
pub fn run(root: &Path) -> Result<()> {
    let file = Path::new(contract::HOST_CLOCK_CONF);
    ensure_dir(file.parent().unwrap_or(file), 0o755, None)?;
    write_atomic(file, lines(&host_clocks(root)).as_bytes(), 0o644, None)
}

/// Returns the names of the host's clocks below `root`, sorted.
fn host_clocks(root: &Path) -> Vec<String> {
    let class = root.join("sys/class/ptp");
    let Ok(entries) = fs::read_dir(&class) else { return Vec::new() };
    let is_hosts = |name: &String| {
        let clock = fs::read_to_string(class.join(name).join("clock_name"));
        clock.is_ok_and(|clock| HOST_CLOCKS.contains(&clock.trim()))
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(is_hosts).collect();
    names.sort();
    names
}

/// Returns lines for chrony.conf: asked often, as the host may sleep at any time; behind real servers, as the host may
/// be wrong.
fn lines(clocks: &[String]) -> String {
    clocks.iter().map(|name| format!("refclock PHC /dev/{name} poll 2 dpoll -2 stratum 2\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_cards_clock_is_not_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        for (device, name) in [("ptp0", "e1000e"), ("ptp1", "KVM virtual PTP")] {
            let clock = dir.path().join("sys/class/ptp").join(device);
            fs::create_dir_all(&clock).unwrap();
            fs::write(clock.join("clock_name"), format!("{name}\n")).unwrap();
        }
        assert_eq!(host_clocks(dir.path()), ["ptp1"]);
        assert_eq!(host_clocks(&dir.path().join("nowhere")), [] as [&str; 0]);
    }

    #[test]
    fn clocks_become_references() {
        assert_eq!(lines(&["ptp1".into()]), "refclock PHC /dev/ptp1 poll 2 dpoll -2 stratum 2\n");
        assert_eq!(lines(&[]), "");
    }
}
