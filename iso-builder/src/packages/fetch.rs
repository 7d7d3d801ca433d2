//! Downloads packages: several at a time, each checked before it gets its final name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

use super::LockOptions;
use crate::apt::{Apt, DownloadError};
use crate::config::Config;
use crate::lock::LockedPackage;
use crate::mirror::{Mirror, MirrorOptions};
use crate::progress::{Bar, Progress};
use crate::project::Project;
use crate::{step, turn};

/// Downloads at a time; more make a mirror slower, not faster.
const DOWNLOADS: usize = 4;

/// Brings packages of a mirror into the cache.
pub(super) struct Fetcher<'a> {
    pub(super) project: &'a Project,
    pub(super) folder: PathBuf,
    pub(super) options: &'a MirrorOptions,
    pub(super) offline: bool,
    pub(super) ui: Progress,
}

/// What came of it.
pub(super) enum Fetched {
    /// Every package is in the cache.
    All,
    /// The mirror no longer has a file.
    Gone {
        /// Its package.
        name: String,
        /// Where it was.
        url: String,
    },
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        project: &'a Project,
        (options, lock): (&'a MirrorOptions, &LockOptions),
        ui: Progress,
    ) -> Result<Self> {
        Ok(Self { project, folder: project.cache_folder("debs")?, options, offline: lock.offline, ui })
    }

    pub(super) fn apt<'m>(&self, suite: &'m str, mirror: &'m Mirror) -> Result<Apt<'m>> {
        Apt::open(&self.project.cache_folder(&format!("apt/{suite}"))?, suite, mirror)
    }

    pub(super) fn update(&self, apt: &Apt<'_>, suite: &str, config: &Config) -> Result<()> {
        if let Some(days) = apt.update(config.expired_index_days)? {
            self.ui.note(&format!(
                "the mirror's index of suite {suite} expired {days} days ago; using it, for the mirror has no newer"
            ));
        }
        Ok(())
    }

    /// Downloads what the cache lacks. Every file is checked before it gets its final name.
    pub(super) fn fetch(&self, suite: &str, packages: &[LockedPackage]) -> Result<Fetched> {
        let file = |package: &LockedPackage| self.folder.join(package.file_name());
        let (present, missing): (Vec<_>, Vec<_>) =
            packages.iter().partition(|package| file(package).is_file());
        present.into_iter().for_each(|package| step::mark_used(&file(package)));
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
        let missing: Vec<_> = missing.into_iter().filter(|package| !file(package).is_file()).collect();
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
                Ok(DownloadError::Gone { name, url }) => Ok(Fetched::Gone { name, url }),
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
