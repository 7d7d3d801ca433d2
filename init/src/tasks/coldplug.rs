//! Drivers for the devices that were there before PID 1 listened for new ones: each device without a driver has its
//! alias looked up by modprobe. What is built into the kernel has found its devices already and costs nothing here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline};

use crate::works::COLDPLUG_LIMIT;

/// Many aliases, each looked up; a missing one is no error; the blacklist counts.
pub const MODPROBE: [&str; 2] = ["/usr/sbin/modprobe", "-abq"];

/// Loads drivers for all devices that have none.
///
/// # Errors
/// When modprobe cannot be started or hangs.
pub fn run(root: &Path) -> Result<()> {
    let aliases = aliases(root);
    log::info!("coldplug: {} kinds of devices without a driver", aliases.len());
    if aliases.is_empty() {
        return Ok(());
    }
    match Cmd::new(MODPROBE[0]).arg(MODPROBE[1]).args(&aliases).run(Deadline::after(COLDPLUG_LIMIT)) {
        // modprobe fails when there is no driver for one of them.
        Ok(_) | Err(CmdError::Failed { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the aliases of the devices below `root` that have no driver.
fn aliases(root: &Path) -> BTreeSet<String> {
    let buses = children(&root.join("sys/bus"));
    let devices = buses.iter().flat_map(|bus| children(&bus.join("devices")));
    devices.filter_map(|device| wanted_alias(&device)).collect()
}

/// Returns a device's alias, unless it has a driver or needs none.
pub fn wanted_alias(device: &Path) -> Option<String> {
    if device.join("driver").exists() {
        return None;
    }
    let alias = fs::read_to_string(device.join("modalias")).ok()?;
    Some(alias.trim().to_owned()).filter(|alias| !alias.is_empty())
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_with_a_driver_or_without_an_alias_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let device = |name: &str, alias: Option<&str>, has_driver: bool| {
            let path = dir.path().join("sys/bus/pci/devices").join(name);
            fs::create_dir_all(&path).unwrap();
            if let Some(alias) = alias {
                fs::write(path.join("modalias"), format!("{alias}\n")).unwrap();
            }
            if has_driver {
                fs::create_dir(path.join("driver")).unwrap();
            }
        };
        device("a", Some("pci:v1"), true);
        device("b", Some("pci:v2"), false);
        device("c", None, false);
        device("d", Some("pci:v2"), false);
        device("e", Some(""), false);
        assert_eq!(aliases(dir.path()), ["pci:v2".to_owned()].into());
        assert_eq!(aliases(&dir.path().join("nowhere")), [].into());
    }
}
