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
use crate::lock::{Lock, LockedPackage, PackageSet, Requests};
use crate::mirror::{Mirror, MirrorOptions};
use crate::progress::{Bar, Progress};
use crate::project::Project;
use crate::{step, turn};

/// Raised when resolving asks for other packages with the same configuration.
const REVISION: u32 = 2;

/// Downloads at a time; more make a mirror slower, not faster.
const DOWNLOADS: usize = 4;

/// How the lock may be treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct LockOptions {
    /// Fail instead of changing boot2docker.lock
    #[arg(long, global = true)]
    pub locked: bool,
    /// Download nothing: packages and crates must be in the cache
    #[arg(long, global = true)]
    pub offline: bool,
}

/// What of an old lock is given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Update {
    /// Nothing but what other packages are asked for than.
    #[default]
    Nothing,
    /// Every version.
    All,
    /// The version of this package, and what its new one needs.
    Package(String),
}

/// The packages of a build, all in the cache.
#[derive(Debug)]
pub struct Packages {
    lock: Lock,
    groups: Vec<String>,
    folder: PathBuf,
}

impl Packages {
    /// Makes sure that every package of the lock that the build needs is in the cache, resolving anew where
    /// the lock is no use.
    ///
    /// The lock has the packages of all groups of `recipe`; only those of the groups that are on are
    /// downloaded. Nothing is asked of the network when the lock fits the request and the cache has everything.
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
        let fetcher = Fetcher {
            project,
            folder: project.cache_folder("debs")?,
            options: options.0,
            offline: options.1.offline,
            ui,
        };
        let requests = requests(config, recipe)?;
        let old = Lock::read(&project.lock_file())?;
        let finish = |lock| Self { lock, groups: config.groups.clone(), folder: fetcher.folder.clone() };
        let usable = old.as_ref().filter(|lock| lock.request == requests);
        let reason = match usable {
            Some(lock) => match fetcher.fetch(&config.suite, &needed(lock, &config.groups))? {
                Fetched::All => return Ok(finish(lock.clone())),
                Fetched::Gone(url) => format!("{url} is no longer on the mirror"),
            },
            None if old.is_some() => "other packages are asked for than it holds".to_owned(),
            None => "there is none yet".to_owned(),
        };
        if options.1.locked {
            bail!("using {}: {reason}, and --locked forbids to resolve anew", project.lock_file().display());
        }
        ui.note(&format!("resolving packages anew: {}: {reason}", project.lock_file().display()));
        if options.1.offline {
            bail!("resolving packages anew: --offline forbids to ask the mirror");
        }
        let update = &Update::Nothing;
        let lock =
            Resolver { fetcher: &fetcher, config, recipe, old: old.as_ref(), update }.resolve(requests)?;
        for line in old.iter().flat_map(|old| lock.changes_since(old)) {
            ui.note(&format!("  {line}"));
        }
        step::write_atomically(&project.lock_file(), lock.to_text().as_bytes())?;
        Ok(finish(lock))
    }

    /// Returns the packages of one set that the build needs, and where they are.
    #[must_use]
    pub fn files(&self, set: PackageSet) -> Vec<(&LockedPackage, PathBuf)> {
        self.lock
            .set(set)
            .filter(|package| is_needed(package, &self.groups))
            .map(|package| (package, self.folder.join(package.file_name())))
            .collect()
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

/// Makes the lock anew, as `update` says; returns what changed, one line a package.
///
/// # Errors
/// When the mirror or the lock is not usable, or no package has the name that is to be updated.
pub fn update(
    project: &Project,
    config: &Config,
    recipe: &Recipe,
    mirror: &MirrorOptions,
    update: &Update,
    ui: Progress,
) -> Result<Vec<String>> {
    let old = Lock::read(&project.lock_file())?;
    if let Update::Package(name) = update
        && !old.iter().flat_map(|old| &old.packages).any(|package| package.name == *name)
    {
        bail!("updating {name}: {} has no such package", project.lock_file().display());
    }
    let fetcher =
        Fetcher { project, folder: project.cache_folder("debs")?, options: mirror, offline: false, ui };
    let resolver = Resolver { fetcher: &fetcher, config, recipe, old: old.as_ref(), update };
    let lock = resolver.resolve(requests(config, recipe)?)?;
    step::write_atomically(&project.lock_file(), lock.to_text().as_bytes())?;
    let nothing = Lock::new(Requests::default(), String::new(), Vec::new());
    Ok(lock.changes_since(old.as_ref().unwrap_or(&nothing)))
}

fn is_needed(package: &LockedPackage, groups: &[String]) -> bool {
    package.groups.is_empty() || package.groups.iter().any(|group| groups.contains(group))
}

fn needed(lock: &Lock, groups: &[String]) -> Vec<LockedPackage> {
    lock.packages.iter().filter(|package| is_needed(package, groups)).cloned().collect()
}

fn requests(config: &Config, recipe: &Recipe) -> Result<Requests> {
    let list = |key: KeyBuilder, names: &[String]| {
        names.iter().fold(key.text(&names.len().to_string()), |key, name| key.text(name))
    };
    let key = |set: PackageSet| KeyBuilder::new(set.name(), REVISION).text(&config.suite);
    // The engine's libraries are part of the image's set.
    let mut image = list(key(PackageSet::Image), &config.engine_packages);
    image = list(image, &recipe.with_groups(&[])?.packages());
    for group in recipe.groups() {
        let alone = recipe.with_groups(std::slice::from_ref(&group.name))?;
        image = list(image.text(&group.name), &alone.packages());
    }
    let engine = list(key(PackageSet::Engine), &config.engine_suites);
    Ok(Requests {
        engine: list(engine, &config.engine_packages).finish(),
        image: image.finish(),
        kernel: key(PackageSet::Kernel).text(&config.kernel_package).finish(),
        tools: list(key(PackageSet::Tools), &config.tools_packages).finish(),
    })
}

struct Fetcher<'a> {
    project: &'a Project,
    folder: PathBuf,
    options: &'a MirrorOptions,
    offline: bool,
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

    /// Downloads what the cache lacks. Every file is checked before it gets its final name.
    fn fetch(&self, suite: &str, packages: &[LockedPackage]) -> Result<Fetched> {
        let missing: Vec<_> =
            packages.iter().filter(|package| !self.folder.join(package.file_name()).is_file()).collect();
        if missing.is_empty() {
            return Ok(Fetched::All);
        }
        if self.offline {
            let names: Vec<_> = missing.iter().map(|package| package.name.as_str()).collect();
            bail!(
                "looking for packages in {}: {} are missing, and --offline forbids to download them: {}",
                self.folder.display(),
                names.len(),
                names.join(" ")
            );
        }
        let _turn = turn::take(&self.project.cache_folder("")?.join("debs.lock"), "downloading packages")?;
        let missing: Vec<_> =
            missing.into_iter().filter(|package| !self.folder.join(package.file_name()).is_file()).collect();
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

/// Makes a new lock. What the old one has for the same request stays; the rest keeps its version if it can.
struct Resolver<'a> {
    fetcher: &'a Fetcher<'a>,
    config: &'a Config,
    recipe: &'a Recipe,
    old: Option<&'a Lock>,
    update: &'a Update,
}

impl Resolver<'_> {
    fn resolve(&self, requests: Requests) -> Result<Lock> {
        let Self { fetcher, config, .. } = self;
        let mirror = Mirror::discover(fetcher.options)?;
        let _turn = turn::take(&fetcher.project.cache_folder("apt")?.join("lock"), "resolving packages")?;
        let base = fetcher.apt(&config.suite, &mirror)?;
        let bar = fetcher.ui.spinner("reading the package indexes");
        fetcher.update(&base, &config.suite, config)?;
        let mut packages = self
            .kept(PackageSet::Tools, |old| old.tools == requests.tools)
            .map_or_else(|| self.set(&base, PackageSet::Tools, &config.tools_packages), Ok)?;
        packages.extend(
            self.kept(PackageSet::Kernel, |old| old.kernel == requests.kernel)
                .map_or_else(|| self.kernel(&base), Ok)?,
        );
        let image = self
            .kept(PackageSet::Image, |old| old.image == requests.image)
            .map_or_else(|| self.image(&base), Ok)?;
        drop(bar);
        let (suite, engine) = self.engine(&requests, &image, &mirror)?;
        packages.extend(image);
        packages.extend(engine);
        let lock = Lock::new(requests, suite, packages);
        if let Fetched::Gone(url) = fetcher.fetch(&config.suite, &lock.packages)? {
            bail!("downloading {url}: the mirror lists it but does not have it; try again later");
        }
        Ok(lock)
    }

    /// Returns what the old lock has of a set, when the same was asked for.
    fn kept(&self, set: PackageSet, is_same: impl Fn(&Requests) -> bool) -> Option<Vec<LockedPackage>> {
        let old = self.old.filter(|old| is_same(&old.request))?;
        let is_wanted_anew = match self.update {
            Update::Nothing => false,
            Update::All => true,
            Update::Package(name) => old.set(set).any(|package| package.name == *name),
        };
        (!is_wanted_anew).then(|| old.set(set).cloned().collect())
    }

    /// Returns the packages whose version shall stay when their set is resolved anew.
    fn preferred(&self, set: PackageSet) -> Vec<&LockedPackage> {
        let old = self.old.into_iter().flat_map(|old| old.set(set));
        old.filter(|package| match self.update {
            Update::Nothing => true,
            Update::All => false,
            Update::Package(name) => package.name != *name,
        })
        .collect()
    }

    fn set(&self, apt: &Apt<'_>, set: PackageSet, names: &[String]) -> Result<Vec<LockedPackage>> {
        apt.prefer(&self.preferred(set))?;
        let packages = apt.resolve(set, names)?;
        apt.prefer(&[])?;
        Ok(packages)
    }

    fn kernel(&self, base: &Apt<'_>) -> Result<Vec<LockedPackage>> {
        let name = &self.config.kernel_package;
        let mut packages = self.set(base, PackageSet::Kernel, std::slice::from_ref(name))?;
        packages.retain(|package| package.name == *name);
        Ok(packages)
    }

    /// Resolves what every image needs, then what each group adds to that.
    fn image(&self, base: &Apt<'_>) -> Result<Vec<LockedPackage>> {
        // The engine's own packages join the request so that their libraries are part of the base.
        let with = |recipe: &Recipe| {
            let names: Vec<_> =
                recipe.packages().into_iter().chain(self.config.engine_packages.iter().cloned()).collect();
            let mut packages = self.set(base, PackageSet::Image, &names)?;
            packages.retain(|package| !self.config.engine_packages.contains(&package.name));
            anyhow::Ok(packages)
        };
        let mut packages = with(&self.recipe.with_groups(&[])?)?;
        let everywhere: BTreeSet<_> = packages.iter().map(|package| package.name.clone()).collect();
        for group in self.recipe.groups() {
            let alone = self.recipe.with_groups(std::slice::from_ref(&group.name))?;
            for package in with(&alone)? {
                if everywhere.contains(&package.name) {
                    continue;
                }
                match packages.iter_mut().find(|known| known.name == package.name) {
                    Some(known) => known.groups.push(group.name.clone()),
                    None => packages.push(LockedPackage { groups: vec![group.name.clone()], ..package }),
                }
            }
        }
        Ok(packages)
    }

    /// Returns the first engine that runs on the image's libraries, and its suite.
    fn engine(
        &self,
        requests: &Requests,
        image: &[LockedPackage],
        mirror: &Mirror,
    ) -> Result<(String, Vec<LockedPackage>)> {
        let Self { fetcher, config, recipe, old, .. } = self;
        let kept = self.kept(PackageSet::Engine, |old| old.engine == requests.engine).zip(*old);
        let mut refused = Vec::new();
        for suite in &config.engine_suites {
            let engine = match &kept {
                Some((engine, old)) if old.engine_suite == *suite => engine.clone(),
                _ => {
                    let apt = fetcher.apt(suite, mirror)?;
                    fetcher.update(&apt, suite, config)?;
                    let mut engine = self.set(&apt, PackageSet::Engine, &config.engine_packages)?;
                    engine.retain(|package| config.engine_packages.contains(&package.name));
                    engine
                }
            };
            let candidate: Vec<_> = engine.iter().cloned().chain(image.iter().cloned()).collect();
            if let Fetched::Gone(url) = fetcher.fetch(suite, &candidate)? {
                bail!("downloading {url}: the mirror lists it but does not have it; try again later");
            }
            let files: Vec<_> =
                candidate.iter().map(|package| (package, fetcher.folder.join(package.file_name()))).collect();
            match recipe.select(&files, fetcher.ui) {
                Ok(_) => return Ok((suite.clone(), engine)),
                Err(error) => {
                    fetcher.ui.note(&format!("the engine of suite {suite} does not fit: {error:#}"));
                    refused.push(format!("{suite}: {error:#}"));
                }
            }
        }
        bail!("choosing an engine that runs on suite {}: {}", config.suite, refused.join("; "))
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
