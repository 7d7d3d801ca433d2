//! `iso-builder clean`: what builds have made in `target/`, and what of the cache has not been used for long.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::project::Project;
use crate::{step, turn};

/// Names of what the builder makes in `target/`; cargo's own files stay.
const MADE: [&str; 14] = [
    "boot2docker.iso",
    "boot2docker.iso.sha256",
    "boot2docker.licences.tar.zst",
    "boot2docker.spdx.json",
    "custom",
    "guest",
    "initrd",
    "iso",
    "layers",
    "logs",
    "run",
    "sbom",
    "tools",
    "verify",
];

/// Folders of the cache; each thing in them was made or downloaded by itself, and its time is that of its last use.
const CACHED: [&str; 10] =
    ["apt", "compiled", "debs", "downloads", "guest", "iptables", "kernel", "layers", "peer", "tools"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes what builds have made in `target/` of this checkout.
///
/// # Errors
/// When something cannot be removed.
pub fn target(project: &Project) -> Result<()> {
    let _turn =
        turn::take(&project.target_folder("")?.join("iso-builder.lock"), "building in this checkout")?;
    MADE.iter().try_for_each(|name| step::remove(&project.target().join(name)))
}

/// Removes from the cache what no build has used for `days`; returns what that was.
///
/// # Errors
/// When something cannot be looked at or removed.
pub fn cache(project: &Project, days: u32) -> Result<Vec<String>> {
    let cache = project.cache_folder("")?;
    let _all = turn::take(&cache.join("in-use.lock"), "using the cache")?;
    unused_for(&cache, DAY * days)
}

fn unused_for(cache: &Path, age: Duration) -> Result<Vec<String>> {
    let now = SystemTime::now();
    let mut removed = Vec::new();
    for name in CACHED {
        let folder = cache.join(name);
        if !folder.is_dir() {
            continue;
        }
        let listing = || format!("listing {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(listing)? {
            let entry = entry.with_context(listing)?;
            let used = entry.metadata().and_then(|metadata| metadata.modified()).with_context(listing)?;
            // A time that is yet to come counts as now.
            if now.duration_since(used).unwrap_or_default() >= age {
                step::remove(&entry.path())?;
                removed.push(format!("{name}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    removed.sort();
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_used_for_long_goes() {
        let cache = tempfile::tempdir().unwrap();
        let at = |name: &str| cache.path().join(name);
        let then = |days: u32| SystemTime::now() - DAY * days;
        let set = |path: &Path, time| fs::File::open(path).unwrap().set_modified(time).unwrap();
        for (name, days) in [("kernel/old", 31), ("kernel/new", 29), ("tools/future", 0), ("other/old", 99)] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("file"), "").unwrap();
            set(&at(name), then(days));
        }
        set(&at("tools/future"), SystemTime::now() + DAY);
        fs::create_dir(at("debs")).unwrap();
        for (name, days) in [("debs/old.deb", 40), ("debs/new.deb", 1)] {
            fs::write(at(name), "").unwrap();
            set(&at(name), then(days));
        }
        assert_eq!(unused_for(cache.path(), DAY * 30).unwrap(), ["debs/old.deb", "kernel/old"]);
        assert!(!at("kernel/old").exists());
        let rest = ["debs/new.deb", "kernel/new", "tools/future"];
        assert_eq!(unused_for(cache.path(), Duration::ZERO).unwrap(), rest);
        assert!(at("other/old").exists(), "not ours");
    }
}
