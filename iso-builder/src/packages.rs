//! Packages of a build: resolved once, pinned in the lock, downloaded, checked, kept in the cache.

mod fetch;
mod resolve;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::config::Config;
use crate::digest::KeyBuilder;
use crate::engine;
use crate::image::Recipe;
use crate::lock::{Lock, LockedPackage, PackageSet, Requests};
use crate::mirror::MirrorOptions;
use crate::progress::Progress;
use crate::project::Project;
use crate::step;
use fetch::{Fetched, Fetcher};
use resolve::Resolver;

/// Raised when resolving asks for other packages with the same configuration.
const REVISION: u32 = 2;

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
    need: Need,
    folder: PathBuf,
}

/// Which packages of a lock a build needs.
#[derive(Debug, Clone)]
struct Need {
    groups: Vec<String>,
    left_out: &'static [&'static str],
}

impl Need {
    fn of(config: &Config) -> Self {
        Self { groups: config.groups.clone(), left_out: engine::left_out(config) }
    }

    fn includes(&self, package: &LockedPackage) -> bool {
        let is_on = || package.groups.iter().any(|group| self.groups.contains(group));
        let is_for_image = matches!(package.set, PackageSet::Engine | PackageSet::Image);
        (package.groups.is_empty() || is_on())
            && !(is_for_image && self.left_out.contains(&package.name.as_str()))
    }

    fn packages(&self, lock: &Lock) -> Vec<LockedPackage> {
        lock.packages.iter().filter(|package| self.includes(package)).cloned().collect()
    }
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
        let fetcher = Fetcher::new(project, options, ui)?;
        let requests = requests(config, recipe)?;
        let old = Lock::read(&project.lock_file())?;
        let need = Need::of(config);
        let finish = |lock| Self { lock, need: need.clone(), folder: fetcher.folder.clone() };
        let usable = old.as_ref().filter(|lock| lock.request == requests);
        let (reason, update) = match usable {
            Some(lock) => match fetcher.fetch(&config.suite, &need.packages(lock))? {
                Fetched::All => return Ok(finish(lock.clone())),
                Fetched::Gone { name, url } => {
                    (format!("{url} is no longer on the mirror"), Update::Package(name))
                }
            },
            None if old.is_some() => {
                ("other packages are asked for than it holds".to_owned(), Update::Nothing)
            }
            None => ("there is none yet".to_owned(), Update::Nothing),
        };
        if options.1.locked {
            bail!("using {}: {reason}, and --locked forbids to resolve anew", project.lock_file().display());
        }
        ui.note(&format!("resolving packages anew: {}: {reason}", project.lock_file().display()));
        if options.1.offline {
            bail!("resolving packages anew: --offline forbids to ask the mirror");
        }
        let old_lock = old.as_ref();
        let lock = Resolver { fetcher: &fetcher, config, recipe, old: old_lock, update: &update }
            .resolve(requests)?;
        for line in old.iter().flat_map(|old| lock.changes_since(old)) {
            ui.note(&format!("  {line}"));
        }
        step::write_atomically(&project.lock_file(), lock.to_text().as_bytes())?;
        Ok(finish(lock))
    }

    /// As [`Packages::prepare`] for what the kernel is compiled from and with; none where the lock is no use for that.
    ///
    /// # Errors
    /// When a mirror or a package is not usable.
    pub fn prepare_kernel(
        project: &Project,
        config: &Config,
        recipe: &Recipe,
        options: (&MirrorOptions, &LockOptions),
        ui: Progress,
    ) -> Result<Option<Self>> {
        let Some(lock) = Lock::read(&project.lock_file())? else { return Ok(None) };
        if lock.request != requests(config, recipe)? {
            return Ok(None);
        }
        let fetcher = Fetcher::new(project, options, ui)?;
        let need = Need::of(config);
        let mut needed = need.packages(&lock);
        needed.retain(|package| matches!(package.set, PackageSet::Tools | PackageSet::Kernel));
        let fetched = fetcher.fetch(&config.suite, &needed)?;
        let Fetcher { folder, .. } = fetcher;
        Ok(matches!(fetched, Fetched::All).then(|| Self { lock, need, folder }))
    }

    /// Returns the packages of one set that the build needs, and where they are.
    #[must_use]
    pub fn files(&self, set: PackageSet) -> Vec<(&LockedPackage, PathBuf)> {
        self.lock
            .set(set)
            .filter(|package| self.need.includes(package))
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
    let fetcher = Fetcher::new(project, (mirror, &LockOptions::default()), ui)?;
    let resolver = Resolver { fetcher: &fetcher, config, recipe, old: old.as_ref(), update };
    let lock = resolver.resolve(requests(config, recipe)?)?;
    step::write_atomically(&project.lock_file(), lock.to_text().as_bytes())?;
    let nothing = Lock::new(Requests::default(), String::new(), Vec::new());
    Ok(lock.changes_since(old.as_ref().unwrap_or(&nothing)))
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
    let source = recipe.programs.iter().flat_map(|program| {
        let sources = program.sources.iter().flat_map(|source| [Some(&source.name), source.suite.as_ref()]);
        sources.chain([program.group.as_ref()]).map(|word| word.cloned().unwrap_or_default())
    });
    Ok(Requests {
        engine: list(engine, &config.engine_packages).finish(),
        image: image.finish(),
        kernel: key(PackageSet::Kernel).text(&config.kernel_package).finish(),
        source: list(key(PackageSet::Source), &source.collect::<Vec<_>>()).finish(),
        tools: list(key(PackageSet::Tools), &config.tools_packages).finish(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Archive;

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

    #[test]
    fn a_build_needs_what_its_groups_and_its_engine_need() {
        let package = |set, name: &str, groups: &[&str]| LockedPackage {
            set,
            name: name.into(),
            version: "1".into(),
            archive: Archive::Main,
            path: format!("pool/{name}.deb"),
            size: 7,
            sha256: "0123456789abcdef".repeat(4),
            groups: groups.iter().map(ToString::to_string).collect(),
        };
        let lock = Lock::new(
            Requests::default(),
            "forky".into(),
            vec![
                package(PackageSet::Engine, "docker.io", &[]),
                package(PackageSet::Image, "tini", &[]),
                package(PackageSet::Image, "nfs-common", &["nfs"]),
                package(PackageSet::Image, "sudo", &[]),
                package(PackageSet::Tools, "runc", &[]),
            ],
        );
        let names = |groups: &[&str], left_out| {
            let need = Need { groups: groups.iter().map(ToString::to_string).collect(), left_out };
            need.packages(&lock).into_iter().map(|package| package.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["nfs"], &[]), ["docker.io", "nfs-common", "sudo", "tini", "runc"]);
        assert_eq!(names(&[], &engine::REPLACED), ["sudo", "runc"]);
    }
}
