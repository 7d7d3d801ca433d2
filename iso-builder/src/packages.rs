//! Packages of a build: resolved once, pinned in the lock, downloaded, checked, kept in the cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, DownloadError};
use crate::config::Config;
use crate::digest::KeyBuilder;
use crate::image::Recipe;
use crate::lock::{Lock, LockedPackage, PackageSet};
use crate::mirror::{Mirror, MirrorOptions};
use crate::progress::{Bar, Progress};
use crate::project::Project;
use crate::step;

/// Raised when resolving asks for other packages with the same configuration.
const REVISION: u32 = 1;

/// Downloads at a time; more make a mirror slower, not faster.
const DOWNLOADS: usize = 4;

/// How the lock may be treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct LockOptions {
    /// Fail instead of changing boot2docker.lock
    #[arg(long, global = true)]
    pub locked: bool,
}

/// The packages of a build, all in the cache.
#[derive(Debug)]
pub struct Packages {
    lock: Lock,
    folder: PathBuf,
}

impl Packages {
    /// Makes sure that every package of the lock is in the cache, resolving anew where the lock is no use.
    ///
    /// Nothing is asked of the network when the lock fits the request and the cache has everything.
    ///
    /// # Errors
    /// When a mirror, a package or the lock is not usable, or `--locked` forbids the change that is needed.
    pub fn prepare(
        project: &Project,
        config: &Config,
        recipe: &Recipe,
        options: (&MirrorOptions, &LockOptions),
        ui: Progress,
    ) -> Result<Self> {
        let fetcher = Fetcher { project, folder: project.cache_folder("debs")?, options: options.0, ui };
        let request = request(config, recipe);
        let old = Lock::read(&project.lock_file())?;
        let usable = old.as_ref().filter(|lock| lock.request == request);
        let reason = match usable {
            Some(lock) => match fetcher.fetch(&config.suite, &lock.packages)? {
                Fetched::All => return Ok(Self { lock: lock.clone(), folder: fetcher.folder }),
                Fetched::Gone(url) => format!("{url} is no longer on the mirror"),
            },
            None if old.is_some() => "other packages are asked for than it holds".to_owned(),
            None => "there is none yet".to_owned(),
        };
        if options.1.locked {
            bail!("using {}: {reason}, and --locked forbids to resolve anew", project.lock_file().display());
        }
        ui.note(&format!("resolving packages anew: {}: {reason}", project.lock_file().display()));
        let lock = fetcher.resolve(config, recipe, request)?;
        for line in old.iter().flat_map(|old| lock.changes_since(old)) {
            ui.note(&format!("  {line}"));
        }
        step::write_atomically(&project.lock_file(), lock.to_text().as_bytes())?;
        Ok(Self { lock, folder: fetcher.folder })
    }

    /// Returns the packages of one set and where they are.
    #[must_use]
    pub fn files(&self, set: PackageSet) -> Vec<(&LockedPackage, PathBuf)> {
        self.lock.set(set).map(|package| (package, self.folder.join(package.file_name()))).collect()
    }

    /// Returns the engine's version as users write it, for instance `28.5.2`.
    ///
    /// # Errors
    /// When the engine's package is not in the lock.
    pub fn engine_version(&self) -> Result<String> {
        let mut engine = self.lock.set(PackageSet::Engine);
        let package =
            engine.find(|package| package.name == "docker.io").context("finding docker.io in the lock")?;
        Ok(upstream_version(&package.version).to_owned())
    }
}

/// Strips epoch, revision and repacking marks: `1:28.5.2+dfsg1-4` is `28.5.2`.
fn upstream_version(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    version.split(['+', '~']).next().unwrap_or(version)
}

fn request(config: &Config, recipe: &Recipe) -> String {
    let mut key = KeyBuilder::new("packages", REVISION).text(&config.suite).text(&config.kernel_package);
    for list in [&config.engine_suites, &config.engine_packages, &config.tools_packages, &recipe.packages()] {
        key = list.iter().fold(key.text(&list.len().to_string()), |key, name| key.text(name));
    }
    key.finish()
}

struct Fetcher<'a> {
    project: &'a Project,
    folder: PathBuf,
    options: &'a MirrorOptions,
    ui: Progress,
}

enum Fetched {
    All,
    Gone(String),
}

impl Fetcher<'_> {
    fn apt<'m>(&self, suite: &'m str, mirror: &'m Mirror) -> Result<Apt<'m>> {
        Apt::open(&self.project.cache_folder(&format!("apt/{suite}"))?, suite, mirror)
    }

    fn update(&self, apt: &Apt<'_>, suite: &str, config: &Config) -> Result<()> {
        if let Some(days) = apt.update(config.expired_index_days)? {
            self.ui.note(&format!(
                "the mirror's index of suite {suite} expired {days} days ago; using it, for the mirror has no newer"
            ));
        }
        Ok(())
    }

    fn resolve(&self, config: &Config, recipe: &Recipe, request: String) -> Result<Lock> {
        let mirror = Mirror::discover(self.options)?;
        let base = self.apt(&config.suite, &mirror)?;
        let bar = self.ui.spinner("reading the package indexes");
        self.update(&base, &config.suite, config)?;
        let engine_names: BTreeSet<_> = config.engine_packages.iter().collect();
        // The engine's own packages join the request so that their libraries are part of the base.
        let mut image_names = recipe.packages();
        image_names.extend(config.engine_packages.iter().cloned());
        let mut image = base.resolve(PackageSet::Image, &image_names)?;
        image.retain(|package| !engine_names.contains(&package.name));
        let mut packages = base.resolve(PackageSet::Tools, &config.tools_packages)?;
        let kernel = base.resolve(PackageSet::Kernel, std::slice::from_ref(&config.kernel_package))?;
        packages.extend(kernel.into_iter().filter(|package| package.name == config.kernel_package));
        packages.extend(image.iter().cloned());
        drop(bar);
        let mut refused = Vec::new();
        for suite in &config.engine_suites {
            let apt = self.apt(suite, &mirror)?;
            self.update(&apt, suite, config)?;
            let mut engine = apt.resolve(PackageSet::Engine, &config.engine_packages)?;
            engine.retain(|package| engine_names.contains(&package.name));
            let candidate: Vec<_> = engine.into_iter().chain(image.iter().cloned()).collect();
            if let Fetched::Gone(url) = self.fetch(suite, &candidate)? {
                bail!("downloading {url}: the mirror lists it but does not have it; try again later");
            }
            let files: Vec<_> =
                candidate.iter().map(|package| (package, self.folder.join(package.file_name()))).collect();
            match recipe.select(&files, self.ui) {
                Ok(_) => {
                    packages.extend(candidate);
                    let lock = Lock::new(request, suite.clone(), packages);
                    if let Fetched::Gone(url) = self.fetch(&config.suite, &lock.packages)? {
                        bail!("downloading {url}: the mirror lists it but does not have it; try again later");
                    }
                    return Ok(lock);
                }
                Err(error) => {
                    self.ui.note(&format!("the engine of suite {suite} does not fit: {error:#}"));
                    refused.push(format!("{suite}: {error:#}"));
                }
            }
        }
        bail!("choosing an engine that runs on suite {}: {}", config.suite, refused.join("; "))
    }

    /// Downloads what the cache lacks. Every file is checked before it gets its final name.
    fn fetch(&self, suite: &str, packages: &[LockedPackage]) -> Result<Fetched> {
        let missing: Vec<_> =
            packages.iter().filter(|package| !self.folder.join(package.file_name()).is_file()).collect();
        if missing.is_empty() {
            return Ok(Fetched::All);
        }
        let mirror = Mirror::discover(self.options)?;
        let apt = self.apt(suite, &mirror)?;
        let total = missing.iter().map(|package| package.size).sum();
        let bar = self.ui.bytes(&format!("downloading {} packages", missing.len()), total);
        let next = AtomicUsize::new(0);
        let stopped = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..DOWNLOADS.min(missing.len()) {
                scope.spawn(|| {
                    while let Some(package) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = fetch_one(&apt, package, &self.folder, &bar) {
                            next.store(missing.len(), Ordering::Relaxed);
                            stopped.lock().expect("no thread panics holding it").get_or_insert(error);
                        }
                    }
                });
            }
        });
        match stopped.into_inner().expect("no thread panics holding it") {
            None => Ok(Fetched::All),
            Some(error) => match error.downcast::<DownloadError>() {
                Ok(DownloadError::Gone { url }) => Ok(Fetched::Gone(url)),
                Ok(other) => Err(other.into()),
                Err(error) => Err(error),
            },
        }
    }
}

fn fetch_one(apt: &Apt<'_>, package: &LockedPackage, folder: &Path, bar: &Bar) -> Result<()> {
    let finished = folder.join(package.file_name());
    let part = finished.with_extension("part");
    step::remove(&part)?;
    let fetched =
        apt.download(package, &part).map_err(anyhow::Error::from).and_then(|()| package.verify(&part));
    if let Err(error) = fetched {
        step::remove(&part)?;
        return Err(error);
    }
    fs::rename(&part, &finished).with_context(|| format!("renaming {}", part.display()))?;
    bar.advance(package.size);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_versions_are_what_users_write() {
        let cases = [
            ("28.5.2+dfsg1-4", "28.5.2"),
            ("1:28.5.2~rc1-1", "28.5.2"),
            ("26.1.5+dfsg1-9+b9", "26.1.5"),
            ("27.0.3", "27.0.3"),
        ];
        for (version, expected) in cases {
            assert_eq!(upstream_version(version), expected, "{version}");
        }
    }
}
