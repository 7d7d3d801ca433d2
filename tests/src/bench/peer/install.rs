//! Installs packages into an empty folder by Debian's own dpkg, run with that folder as its root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use iso_builder::enter::Spec;
use iso_builder::{deb, run, step};

use super::packages::Package;

/// Names and versions of all that is installed, one a line, in the installed system's root folder.
pub const MANIFEST: &str = "manifest.txt";

/// Where the packages appear in the new system while it is made.
const PACKAGES: &str = "/packages";

/// Answers "no" to every script that wants to start a service. Source: policy-rc.d interface of invoke-rc.d(8).
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// Debian's default for machines with one address by DHCP, in the words of systemd.network(5).
const NETWORK: &str = "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n";

/// The root file system and nothing else.
const FSTAB: &str = "/dev/vda1 / ext4 errors=remount-ro 0 1\n";

/// Installs `packages` below `root`.
///
/// # Errors
/// When a package's script fails; the text ends with the path of `log`, which holds everything dpkg said.
pub fn install(packages: &[Package], root: &Path, log: &Path) -> Result<()> {
    step::remove(log)?;
    lay_ground(packages, root)?;
    let system = System { root, log };
    let paths = |wanted: bool| -> Vec<String> {
        let chosen = packages.iter().filter(|package| package.is_essential == wanted);
        chosen.map(|package| format!("{PACKAGES}/{}", package.package.file_name())).collect()
    };
    // Scripts find nothing but the essential packages unpacked; so those come first, whole.
    system.dpkg(&["--install", "--force-depends"], &paths(true))?;
    system.dpkg(&["--unpack", "--force-depends"], &paths(false))?;
    system.dpkg(&["--configure", "--force-depends", "--pending"], &[])?;
    system.run(&["/usr/bin/systemctl", "enable", "systemd-networkd.service"])?;
    settle(packages, root)
}

/// Unpacks the essential packages without asking their scripts, so that dpkg itself can run.
fn lay_ground(packages: &[Package], root: &Path) -> Result<()> {
    let essential: Vec<_> = packages.iter().filter(|package| package.is_essential).collect();
    let (base, rest): (Vec<_>, Vec<_>) =
        essential.into_iter().partition(|package| package.package.name == "base-files");
    ensure!(!base.is_empty(), "installing the peer: base-files is not among the essential packages");
    for package in base.into_iter().chain(rest) {
        deb::unpack(&package.file, root)?;
    }
    let in_root = |name: &str| root.join(name.trim_start_matches('/'));
    for folder in [PACKAGES, "/proc", "/dev", "/run", "/tmp", "/usr/sbin"] {
        let folder = in_root(folder);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    for package in packages {
        let copy = in_root(PACKAGES).join(package.package.file_name());
        fs::hard_link(&package.file, &copy)
            .or_else(|_| fs::copy(&package.file, &copy).map(drop))
            .with_context(|| format!("showing {} to the peer", package.file.display()))?;
    }
    step::write_atomically(&in_root("/var/lib/dpkg/status"), b"")?;
    let policy = in_root("/usr/sbin/policy-rc.d");
    step::write_atomically(&policy, POLICY.as_bytes())?;
    fs::set_permissions(&policy, Permissions::from_mode(0o755)).context("making policy-rc.d executable")
}

/// Writes what an installer would ask for, and removes the traces of the installation.
fn settle(packages: &[Package], root: &Path) -> Result<()> {
    for (path, text) in [
        ("etc/fstab", FSTAB),
        ("etc/hostname", "peer\n"),
        ("etc/hosts", "127.0.0.1 localhost peer\n::1 localhost\n"),
        ("etc/systemd/network/50-dhcp.network", NETWORK),
    ] {
        step::write_atomically(&root.join(path), text.as_bytes())?;
        fs::set_permissions(root.join(path), Permissions::from_mode(0o644))
            .with_context(|| format!("opening /{path} of the peer to all"))?;
    }
    for path in [PACKAGES, "usr/sbin/policy-rc.d"] {
        step::remove(&root.join(path.trim_start_matches('/')))?;
    }
    let line = |package: &Package| format!("{} {}\n", package.package.name, package.package.version);
    let mut lines: Vec<_> = packages.iter().map(line).collect();
    lines.sort();
    step::write_atomically(&root.join(MANIFEST), lines.concat().as_bytes())
}

/// The system under construction.
struct System<'a> {
    root: &'a Path,
    log: &'a Path,
}

impl System<'_> {
    fn dpkg(&self, options: &[&str], files: &[String]) -> Result<()> {
        let mut arguments = vec!["/usr/bin/dpkg", "--force-unsafe-io", "--force-confold"];
        arguments.extend(options);
        arguments.extend(files.iter().map(String::as_str));
        self.run(&arguments)
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let spec = Spec::in_system(self.root, "/", arguments)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true");
        run::logged(&mut spec.command()?, self.log, |_| {}).context("installing the peer")
    }
}
