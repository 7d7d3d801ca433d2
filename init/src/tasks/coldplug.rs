//! Drivers for the devices that were there before PID 1 listened for new ones: each device without a driver has its
//! alias looked up by modprobe, if a module may have it: on many virtual machines none has, and to start modprobe takes longer
//! than to find that out. What is built into the kernel has found its devices already and costs nothing here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline};

use crate::works::COLDPLUG_LIMIT;

/// What stands for other characters in the pattern of an alias. Source: fnmatch(3).
const SIGNS: [char; 4] = ['*', '?', '[', '\\'];

/// Many aliases, each looked up; a missing one is no error; the blacklist counts.
pub const MODPROBE: [&str; 2] = ["/usr/sbin/modprobe", "-abq"];

/// Loads drivers for all devices that have none.
///
/// # Errors
/// When modprobe cannot be started or hangs.
pub fn run(root: &Path) -> Result<()> {
    let all = aliases(root);
    let aliases = with_module(root, &all);
    log::info!("coldplug: {} kinds of devices without a driver, {} to look up", all.len(), aliases.len());
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

/// Returns those of `aliases` that a module may have; all of them if the list of modules' aliases cannot be read.
fn with_module(root: &Path, aliases: &BTreeSet<String>) -> BTreeSet<String> {
    let Some(lists) = alias_lists(root) else { return aliases.clone() };
    let mut wanted: Vec<_> = aliases.iter().map(|alias| (alias.replace('-', "_"), alias, false)).collect();
    for pattern in lists.iter().flat_map(|list| list.lines()).filter_map(pattern_of) {
        let (beginning, rest) = pattern.split_at(pattern.find(SIGNS).unwrap_or(pattern.len()));
        for (alias, _, is_had) in &mut wanted {
            *is_had |= alias.strip_prefix(beginning).is_some_and(|alias| may_match(rest, alias));
        }
    }
    wanted.into_iter().filter(|(.., is_had)| *is_had).map(|(_, alias, _)| alias.clone()).collect()
}

/// Reads what depmod and people have written down. Source: modprobe.d(5).
fn alias_lists(root: &Path) -> Option<Vec<String>> {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok()?;
    let of_modules = root.join("usr/lib/modules").join(release.trim()).join("modules.alias");
    let mut lists = vec![fs::read_to_string(of_modules).ok()?.replace('-', "_")];
    for folder in ["etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d"] {
        for file in children(&root.join(folder)) {
            // A line may go on in the next one.
            lists.push(fs::read_to_string(file).ok()?.replace("\\\n", " ").replace('-', "_"));
        }
    }
    Some(lists)
}

/// Returns the pattern of a line `alias PATTERN MODULE`.
fn pattern_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    if words.next()? == "alias" { words.next() } else { None }
}

/// Says whether the rest of a pattern can be that of an alias; one with other signs than stars may be anything.
fn may_match(pattern: &str, mut alias: &str) -> bool {
    if pattern.contains(['?', '[', '\\']) {
        return true;
    }
    let mut pieces = pattern.split('*');
    let Some(behind) = pieces.next().and_then(|first| alias.strip_prefix(first)) else { return false };
    alias = behind;
    let Some(last) = pieces.next_back() else { return alias.is_empty() };
    for piece in pieces {
        let Some((_, behind)) = alias.split_once(piece) else { return false };
        alias = behind;
    }
    alias.ends_with(last)
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
    fn only_aliases_that_a_module_may_have_are_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let all: BTreeSet<String> =
            ["pci:v1d2sv3", "acpi:PNP-1:", "usb:v5", "of:x"].map(str::to_owned).into();
        assert_eq!(with_module(dir.path(), &all), all, "no list");
        write("proc/sys/kernel/osrelease", "6.1-b2d\n");
        write(
            "usr/lib/modules/6.1-b2d/modules.alias",
            "# Aliases\nalias pci:v1d*sv* e100\nalias acpi:PNP-1: x\n",
        );
        let expected = ["acpi:PNP-1:", "pci:v1d2sv3"].map(str::to_owned);
        assert_eq!(with_module(dir.path(), &all), expected.clone().into());
        write("etc/modprobe.d/own.conf", "blacklist y\n\talias \\\n usb:v[0-9]* y\n");
        assert_eq!(with_module(dir.path(), &all).len(), 3);
    }

    #[test]
    fn stars_stand_for_anything_and_other_signs_for_doubt() {
        let alias = "pci:v00008086d00001237sv00001AF4bc06sc00i00";
        for (pattern, expected) in [
            (alias, true),
            ("pci:v00008086d00001237", false),
            ("pci:v00008086d00001237*", true),
            ("pci:v*d*sv*bc06sc*i*", true),
            ("pci:v*d*sv*bc06sc*i00", true),
            ("pci:v*d*sv*bc06sc*i01", false),
            ("pci:v*bc06sc*d00001237*", false),
            ("pci:v*d*sv*bc03sc*i*", false),
            ("usb:*", false),
            ("*", true),
            ("pci:v0000808?d*", true),
            ("pci:v*d[0-9]*", true),
            ("pci:v*d\\0*", true),
        ] {
            assert_eq!(may_match(pattern, alias), expected, "{pattern}");
        }
    }

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
