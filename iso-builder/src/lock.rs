//! `boot2docker.lock`: every package by name, version, size and SHA-256, so that all builds use the same.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::digest;
use crate::document;

/// Version of the file format.
const FORMAT: u32 = 2;

/// What a package is for. The order is the order in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageSet {
    /// The container engine, from a suite of its own.
    Engine,
    /// Everything else in the image, libraries included.
    Image,
    /// The kernel's source.
    Kernel,
    /// Upstream's archives, out of source packages, of what is compiled.
    Source,
    /// The tools tree.
    Tools,
    /// The system that the benchmark compares with; never in the lock.
    #[serde(skip)]
    Peer,
}

impl PackageSet {
    /// Returns the name used in the lock and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Source => "source",
            Self::Tools => "tools",
            Self::Peer => "peer",
        }
    }
}

/// One pinned package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedPackage {
    /// What it is for.
    pub set: PackageSet,
    /// Binary package name.
    pub name: String,
    /// Full version, epoch and revision included.
    pub version: String,
    /// `main` or `security`: the archive that `path` is relative to.
    pub archive: Archive,
    /// Path in the archive, percent-decoded.
    pub path: String,
    /// Size of the file. Units: bytes.
    pub size: u64,
    /// SHA-256 of the file in lower-case hex.
    pub sha256: String,
    /// Groups of `rootfs/image.toml` that need it; none means that every image does.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// The two archives of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// The archive proper.
    Main,
    /// Its security updates.
    Security,
}

impl Archive {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Security => "security",
        }
    }
}

impl LockedPackage {
    /// Returns the name of the file in the cache; the digest makes it unique.
    #[must_use]
    pub fn file_name(&self) -> String {
        let kind = if self.set == PackageSet::Source { "orig" } else { "deb" };
        format!("{}_{}_{}.{kind}", self.name, self.version.replace(':', "%3a"), &self.sha256[..16])
    }

    /// Checks a file against the lock.
    ///
    /// # Errors
    /// When its SHA-256 is another; the text names the file, both digests and the fix.
    pub fn verify(&self, file: &Path) -> Result<()> {
        let found = digest::of_file(file)?;
        if found != self.sha256 {
            bail!(
                "checking {}: SHA-256 is {found} but the lock says {}; remove the file to download it again",
                file.display(),
                self.sha256
            );
        }
        Ok(())
    }
}

/// Digests of what was asked for, set by set; another one means that this set must be resolved anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Requests {
    /// The engine's suites and packages.
    pub engine: String,
    /// The packages and groups of `rootfs/image.toml`.
    pub image: String,
    /// The package of the kernel's source.
    pub kernel: String,
    /// The sources of `rootfs/compiled.toml`; a lock of an older release does not say.
    #[serde(default)]
    pub source: String,
    /// The packages of the tools tree.
    pub tools: String,
}

/// The whole lock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// What was asked for.
    pub request: Requests,
    /// The suite that the engine came from.
    pub engine_suite: String,
    /// All packages, sorted.
    #[serde(rename = "package")]
    pub packages: Vec<LockedPackage>,
}

impl Lock {
    /// Makes a lock from resolved packages.
    #[must_use]
    pub fn new(request: Requests, engine_suite: String, mut packages: Vec<LockedPackage>) -> Self {
        packages.sort();
        packages.dedup();
        Self { format: FORMAT, request, engine_suite, packages }
    }

    /// Reads a lock; `None` when there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read or understood; the text says that removing it makes a new one.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let lock: Self =
            document::parse(path, &text).context("reading the lock (remove it to resolve anew)")?;
        if lock.format != FORMAT {
            bail!(
                "reading {}: format {} is not {FORMAT}; remove it to resolve anew",
                path.display(),
                lock.format
            );
        }
        if let Some(package) = lock.packages.iter().find(|package| !is_sha256(&package.sha256)) {
            bail!(
                "reading {}: `{}` is no SHA-256 (package {})",
                path.display(),
                package.sha256,
                package.name
            );
        }
        Ok(Some(lock))
    }

    /// Returns the file's text: one line a package, so that a change of version is a change of one line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::from("# Written by iso-builder: every package a build uses. Commit it.\n");
        let Self { format, request, engine_suite, packages } = self;
        let Requests { engine, image, kernel, source, tools } = request;
        write!(
            text,
            "format = {format}\nrequest = {{ engine = \"{engine}\", image = \"{image}\", \
             kernel = \"{kernel}\", source = \"{source}\", tools = \"{tools}\" }}\n\
             engine-suite = \"{engine_suite}\"\npackage = [\n"
        )
        .expect("writing to a String cannot fail");
        for LockedPackage { set, name, version, archive, path, size, sha256, groups } in packages {
            let groups = if groups.is_empty() { String::new() } else { format!(", groups = {groups:?}") };
            writeln!(
                text,
                "  {{ set = \"{}\", name = \"{name}\", version = \"{version}\", archive = \"{}\", \
                 path = \"{path}\", size = {size}, sha256 = \"{sha256}\"{groups} }},",
                set.name(),
                archive.name()
            )
            .expect("writing to a String cannot fail");
        }
        text.push_str("]\n");
        text
    }

    /// Returns the packages of one set.
    pub fn set(&self, set: PackageSet) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().filter(move |package| package.set == set)
    }

    /// Returns what changed since `old`, one readable line a package.
    #[must_use]
    pub fn changes_since(&self, old: &Self) -> Vec<String> {
        let find = |lock: &Self, wanted: &LockedPackage| {
            lock.packages
                .iter()
                .find(|package| (package.set, &package.name) == (wanted.set, &wanted.name))
                .map(|package| package.version.clone())
        };
        let mut lines = Vec::new();
        for package in &self.packages {
            let (set, name, version) = (package.set.name(), &package.name, &package.version);
            match find(old, package) {
                None => lines.push(format!("{set}: {name} {version} added")),
                Some(before) if before != *version => {
                    lines.push(format!("{set}: {name} {before} -> {version}"))
                }
                Some(_) => {}
            }
        }
        for package in old.packages.iter().filter(|package| find(self, package).is_none()) {
            lines.push(format!("{}: {} {} removed", package.set.name(), package.name, package.version));
        }
        lines
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            set: PackageSet::Image,
            name: name.into(),
            version: version.into(),
            archive: Archive::Main,
            path: format!("pool/main/{name}.deb"),
            size: 7,
            sha256: "0123456789abcdef".repeat(4),
            groups: Vec::new(),
        }
    }

    fn lock(packages: Vec<LockedPackage>) -> Lock {
        Lock::new(Requests::default(), "forky".into(), packages)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot2docker.lock");
        let mut optional = package("nfs-common", "1:2.8");
        optional.groups = vec!["nfs".into(), "nfs-server".into()];
        let written = lock(vec![package("sudo", "1.9"), optional, package("bash", "1:5.2")]);
        std::fs::write(&path, written.to_text()).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(written));
        assert_eq!(Lock::read(&folder.path().join("none")).unwrap(), None);
    }

    #[test]
    fn changes_are_told_by_name_and_version() {
        let old = lock(vec![package("a", "1"), package("b", "1")]);
        let new = lock(vec![package("a", "2"), package("c", "1")]);
        assert_eq!(new.changes_since(&old), ["image: a 1 -> 2", "image: c 1 added", "image: b 1 removed"]);
    }

    #[test]
    fn a_file_with_another_digest_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.deb");
        std::fs::write(&path, "tampered").unwrap();
        let error = package("a", "1").verify(&path).unwrap_err().to_string();
        assert!(error.contains("a.deb: SHA-256 is "), "{error}");
    }

    #[test]
    fn a_lock_with_a_broken_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot2docker.lock");
        let mut broken = package("a", "1");
        broken.sha256 = "short".into();
        std::fs::write(&path, lock(vec![broken]).to_text()).unwrap();
        let error = Lock::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("`short` is no SHA-256 (package a)"), "{error}");
    }
}
