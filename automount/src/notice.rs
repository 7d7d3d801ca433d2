//! What people should know who log in later: in the message of the day, which survives no boot.

use b2d_sys::effects::mount;

use crate::step::{Source, Summary};

/// From here on a disk fills up faster than people expect.
const NEARLY_FULL_PERCENT: u64 = 90;

/// Returns what is worth knowing about where the data lies, a line each.
pub fn lines(summary: &Summary, percent_used: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if summary.source == Source::Ram {
        lines.push(summary.to_string());
        lines.push("attach a blank disk, or one labelled boot2docker-data, and reboot".to_owned());
    } else if percent_used >= NEARLY_FULL_PERCENT {
        lines.push(format!(
            "the data disk {} is {percent_used} % full; `docker system prune` frees space, a larger disk is grown into",
            summary.device
        ));
    }
    lines
}

/// Returns what is worth knowing now.
pub fn now(summary: &Summary) -> Vec<String> {
    let percent_used = mount::percent_used(&summary.mountpoint).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        0
    });
    lines(summary, percent_used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    #[test]
    fn a_missing_and_a_full_disk_are_told() {
        let ram = plan::ram("no usable disk".into()).summary;
        let disk = Summary { source: Source::Disk, device: "/dev/sda1".into(), ..ram.clone() };
        assert_eq!(lines(&ram, 0)[0], "running from RAM, everything is lost at power-off: no usable disk");
        assert!(lines(&disk, 90)[0].starts_with("the data disk /dev/sda1 is 90 % full"));
        assert!(lines(&disk, 89).is_empty());
    }
}
