//! AppArmor's profile for containers. dockerd compiles it at its start unless the kernel has one of that name, and that is a
//! tenth of the way to Docker's API. So what one boot has compiled is kept on the data disk for the next: the very bytes that
//! the kernel was given, behind their checksum, under a name that only the same kernel and image ask for.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b2d_sys::contract::STATE_DIR;
use b2d_sys::effects::files::{ensure_dir, read_optional, remove_if_exists, write_atomic};
use xxhash_rust::xxh64::xxh64;

/// Name of dockerd's profile. Source: moby daemon/apparmor_default.go.
const PROFILE: &str = "docker-default";
/// AppArmor's files. Source: Linux security/apparmor/apparmorfs.c.
const KERNEL: &str = "sys/kernel/security/apparmor";
/// What says which kernel it is.
const KERNEL_NAMES: [&str; 2] = ["proc/sys/kernel/osrelease", "proc/sys/kernel/version"];
/// The programs that make the profile; somebody may have put others in their place.
const MAKERS: [&str; 2] = ["usr/sbin/dockerd", "usr/sbin/apparmor_parser"];
/// What the image is made of.
const LOCK: &str = "usr/share/boot2docker/boot2docker.lock";
/// There if the kernel had no such profile when dockerd was about to be started, so that dockerd compiles it.
const MARK: &str = "run/boot2docker/apparmor-is-compiled";
/// Length of the checksum before the profile.
const SUM_BYTES: usize = size_of::<u64>();
/// Abstractions here change what dockerd asks for.
const ABSTRACTIONS: &str = "etc/apparmor.d";

/// Gives the kernel of the system in `root` the profile that was kept, unless it has one.
///
/// # Errors
/// When the kernel refuses it; then it is forgotten, and dockerd compiles it.
pub fn load(root: &Path) -> Result<()> {
    let Some(path) = kept(root)? else { return Ok(()) };
    if loaded(root)?.is_some() {
        return Ok(());
    }
    let mark = root.join(MARK);
    let Some(bytes) = read_optional(&path).with_context(|| format!("reading {}", path.display()))? else {
        return fs::write(&mark, "").with_context(|| format!("writing {}", mark.display()));
    };
    let given = unpacked(&bytes).and_then(|policy| {
        let load = root.join(KERNEL).join(".load");
        fs::OpenOptions::new().write(true).open(&load).and_then(|mut file| file.write_all(policy))
    });
    if given.is_err() {
        remove_if_exists(&path).with_context(|| format!("removing {}", path.display()))?;
        fs::write(&mark, "").with_context(|| format!("writing {}", mark.display()))?;
    }
    given.with_context(|| format!("giving the kernel {}; dockerd compiles it anew", path.display()))?;
    log::info!("AppArmor has {PROFILE} as an earlier boot compiled it");
    Ok(())
}

/// Keeps the profile that dockerd has compiled, and forgets older ones.
///
/// # Errors
/// When it cannot be read or written.
pub fn keep(root: &Path) -> Result<()> {
    let Some(path) = kept(root)? else { return Ok(()) };
    let is_of_dockerd = root.join(MARK).exists() && !path.exists();
    let Some(profile) = loaded(root)?.filter(|_| is_of_dockerd) else { return Ok(()) };
    let raw = profile.join("raw_data");
    let policy = fs::read(&raw).with_context(|| format!("reading {}", raw.display()))?;
    let folder = path.parent().context("finding the folder of profiles")?;
    ensure_dir(folder, 0o700, None)?;
    write_atomic(&path, &packed(&policy), 0o600, None)?;
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let old = entry.with_context(|| format!("listing {}", folder.display()))?;
        if old.path() != path && old.file_name().to_string_lossy().starts_with(PROFILE) {
            remove_if_exists(&old.path()).with_context(|| format!("removing {}", old.path().display()))?;
        }
    }
    Ok(())
}

fn packed(policy: &[u8]) -> Vec<u8> {
    [&xxh64(policy, 0).to_le_bytes(), policy].concat()
}

/// Returns the profile in a kept file.
fn unpacked(bytes: &[u8]) -> io::Result<&[u8]> {
    let parts = bytes.split_at_checked(SUM_BYTES);
    let whole = parts.filter(|(sum, policy)| **sum == xxh64(policy, 0).to_le_bytes());
    whole.map(|(_, policy)| policy).ok_or_else(|| io::Error::other("it is damaged"))
}

/// Returns where the profile is kept for this kernel and these programs; None if it is none that can be kept.
fn kept(root: &Path) -> Result<Option<PathBuf>> {
    if !root.join(KERNEL).join("policy").exists() || root.join(ABSTRACTIONS).exists() {
        return Ok(None);
    }
    let mut names = String::new();
    for name in KERNEL_NAMES.into_iter().chain([LOCK]) {
        let path = root.join(name);
        names += &fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    }
    for name in MAKERS {
        // One that is not there is no reason to fail: then dockerd does without a profile.
        let Ok(file) = fs::metadata(root.join(name)) else { return Ok(None) };
        names += &format!("{name} {} {}\n", file.len(), file.mtime());
    }
    let folder = root.join(STATE_DIR.trim_start_matches('/')).join("apparmor");
    Ok(Some(folder.join(format!("{PROFILE}-{:016x}", xxh64(names.as_bytes(), 0)))))
}

/// Returns the kernel's folder of the profile, None if it has none of that name.
fn loaded(root: &Path) -> Result<Option<PathBuf>> {
    let profiles = root.join(KERNEL).join("policy/profiles");
    let listing = || format!("listing {}", profiles.display());
    for entry in fs::read_dir(&profiles).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        let name = path.join("name");
        let name = fs::read_to_string(&name).with_context(|| format!("reading {}", name.display()))?;
        if name.trim_end() == PROFILE {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what a boot does: loads what is kept, has dockerd compile, keeps.
    fn boot(root: &Path) {
        load(root).unwrap();
        let profile = "sys/kernel/security/apparmor/policy/profiles/docker-default.2";
        put(root, &format!("{profile}/name"), "docker-default\n");
        put(root, &format!("{profile}/raw_data"), "policy");
        keep(root).unwrap();
    }

    /// Returns a root with kernel, dockerd and compiler.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("proc/sys/kernel/osrelease", "6.12\n"),
            ("proc/sys/kernel/version", "#1\n"),
            ("usr/share/boot2docker/boot2docker.lock", "lock"),
            ("run/boot2docker/there", ""),
            ("usr/sbin/dockerd", "dockerd"),
            ("usr/sbin/apparmor_parser", "parser"),
            ("sys/kernel/security/apparmor/.load", ""),
            ("sys/kernel/security/apparmor/policy/profiles/other.1/name", "other\n"),
        ] {
            put(root.path(), path, content);
        }
        root
    }

    fn put(root: &Path, path: &str, content: &str) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), content).unwrap();
    }

    fn given(root: &Path) -> String {
        fs::read_to_string(root.join("sys/kernel/security/apparmor/.load")).unwrap()
    }

    /// Takes what `from` has kept to the data disk of `to`.
    fn carry(from: &Path, to: &Path) {
        let [from, to] = [from, to].map(|root| root.join("var/lib/boot2docker/apparmor"));
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }

    #[test]
    fn the_next_boot_gets_what_this_one_compiled() {
        let (this, next) = (root(), root());
        boot(this.path());
        assert_eq!(given(this.path()), "");
        carry(this.path(), next.path());
        boot(next.path());
        assert_eq!(given(next.path()), "policy");
    }

    /// A hook may have loaded one of its own by the time that dockerd is started.
    #[test]
    fn a_profile_that_is_there_stays_and_is_not_kept() {
        let root = root();
        let profile = "sys/kernel/security/apparmor/policy/profiles/docker-default.3";
        put(root.path(), &format!("{profile}/name"), "docker-default\n");
        boot(root.path());
        assert_eq!(given(root.path()), "");
        assert!(!root.path().join("var/lib/boot2docker").exists());
    }

    #[test]
    fn another_kernel_image_or_program_and_abstractions_get_nothing() {
        let this = root();
        boot(this.path());
        for change in [
            "proc/sys/kernel/version",
            "usr/share/boot2docker/boot2docker.lock",
            "usr/sbin/dockerd",
            "usr/sbin/apparmor_parser",
            "etc/apparmor.d/tunables/global",
        ] {
            let next = root();
            carry(this.path(), next.path());
            put(next.path(), change, "something else");
            load(next.path()).unwrap();
            assert_eq!(given(next.path()), "", "{change}");
        }
    }

    #[test]
    fn the_last_one_is_kept() {
        let root = root();
        boot(root.path());
        put(root.path(), "proc/sys/kernel/version", "#2\n");
        keep(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("var/lib/boot2docker/apparmor")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_damaged_or_refused_is_forgotten() {
        for is_damaged in [true, false] {
            let (this, next) = (root(), root());
            boot(this.path());
            carry(this.path(), next.path());
            let folder = next.path().join("var/lib/boot2docker/apparmor");
            if is_damaged {
                let kept = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
                fs::write(&kept, "12345678polite").unwrap();
            } else {
                fs::remove_file(next.path().join("sys/kernel/security/apparmor/.load")).unwrap();
            }
            let error = format!("{:#}", load(next.path()).unwrap_err());
            assert!(error.contains("dockerd compiles it anew"), "{error}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
            fs::remove_dir(&folder).unwrap();
            put(
                next.path(),
                "sys/kernel/security/apparmor/policy/profiles/docker-default.2/name",
                "docker-default\n",
            );
            put(
                next.path(),
                "sys/kernel/security/apparmor/policy/profiles/docker-default.2/raw_data",
                "policy",
            );
            keep(next.path()).unwrap();
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        }
    }
}
