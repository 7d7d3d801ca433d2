//! The peer's packages: resolved by the host's apt with private state, downloaded, checked against the signed index.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use iso_builder::apt::Apt;
use iso_builder::config::Config;
use iso_builder::digest::KeyBuilder;
use iso_builder::lock::{Lock, LockedPackage, PackageSet};
use iso_builder::mirror::{Mirror, MirrorOptions};
use iso_builder::project::Project;
use iso_builder::step;

/// What Debian calls essential: the part that the rest may rely on without saying so.
const ESSENTIAL: &str = "?essential";

/// A minimal Debian that runs Docker, as its documentation would have one made.
const PACKAGES: [&str; 13] = [
    "apt",
    "chrony",
    "docker.io",
    "e2fsprogs",
    "grub-pc-bin",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "systemd-sysv",
    "udev",
    "zstd", // initramfs-tools recommends it and packs with it then, as every installed Debian does
];

/// What the peer shall be made of.
#[derive(Debug)]
pub struct Wanted {
    suite: String,
    expired_index_days: u32,
    /// The engine of our own image, so that both run the same.
    engine: Vec<LockedPackage>,
}

/// A package in the order of installation.
#[derive(Debug)]
pub struct Package {
    /// What it is.
    pub package: LockedPackage,
    /// Where it lies.
    pub file: PathBuf,
    /// Whether Debian's scripts need it in order to run at all.
    pub is_essential: bool,
}

impl Wanted {
    /// Reads suite and engine of this checkout.
    ///
    /// # Errors
    /// When there is no lock.
    pub fn read(project: &Project) -> Result<Self> {
        let config = Config::load(None)?;
        let lock = Lock::read(&project.lock_file())?.context("reading the lock: build the ISO first")?;
        Ok(Self {
            suite: config.suite,
            expired_index_days: config.expired_index_days,
            engine: lock.set(PackageSet::Engine).cloned().collect(),
        })
    }

    /// Returns a digest of what is wanted.
    #[must_use]
    pub fn key(&self) -> String {
        let key = KeyBuilder::new("wanted", 1).text(&self.suite);
        let key = PACKAGES.iter().fold(key, |key, name| key.text(name));
        self.engine.iter().fold(key, |key, package| key.text(&package.sha256)).finish()
    }

    /// Resolves and downloads the packages, the essential ones first.
    ///
    /// # Errors
    /// When the mirror cannot be reached or a package is not what the index says.
    pub fn fetch(&self, project: &Project, cache: &Path) -> Result<Vec<Package>> {
        let mirror = Mirror::discover(&MirrorOptions::default())?;
        let apt = Apt::open(&cache.join("apt"), &self.suite, &mirror)?;
        apt.update(self.expired_index_days)?;
        let essential = apt.resolve(PackageSet::Peer, &[ESSENTIAL.to_owned()])?;
        let names: Vec<_> = [ESSENTIAL].iter().chain(&PACKAGES).map(|&name| name.to_owned()).collect();
        let all = apt.resolve(PackageSet::Peer, &names)?;
        let first: BTreeSet<_> = essential.iter().map(|package| package.name.clone()).collect();
        let folders = [project.cache_folder("debs")?, cache.join("debs")];
        fs::create_dir_all(&folders[1]).with_context(|| format!("creating {}", folders[1].display()))?;
        let mut packages = Vec::new();
        for package in self.with_our_engine(all) {
            let file = download(&apt, &package, &folders)?;
            packages.push(Package { is_essential: first.contains(&package.name), package, file });
        }
        packages.sort_by_key(|package| !package.is_essential);
        Ok(packages)
    }

    /// Puts the engine's packages of our lock in the place of the suite's own.
    fn with_our_engine(&self, resolved: Vec<LockedPackage>) -> Vec<LockedPackage> {
        let is_engine = |package: &LockedPackage| self.engine.iter().any(|own| own.name == package.name);
        let mut packages: Vec<_> = resolved.into_iter().filter(|package| !is_engine(package)).collect();
        packages.extend(self.engine.iter().cloned());
        packages
    }
}

/// Returns where `package` lies: in the builder's folder, or else in the second, downloaded if need be.
fn download(apt: &Apt<'_>, package: &LockedPackage, folders: &[PathBuf; 2]) -> Result<PathBuf> {
    let places = folders.each_ref().map(|folder| folder.join(package.file_name()));
    if let Some(file) = places.iter().find(|file| file.is_file()) {
        package.verify(file)?;
        return Ok(file.clone());
    }
    let [_, file] = places;
    let part = file.with_extension("part");
    step::remove(&part)?;
    if let Err(error) = apt.download(package, &part) {
        bail!("downloading {} for the peer: {error}", package.name);
    }
    package.verify(&part)?;
    fs::rename(&part, &file).with_context(|| format!("renaming {}", part.display()))?;
    Ok(file)
}
