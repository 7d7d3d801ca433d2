//! Resolves names to pinned packages.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::Update;
use super::fetch::{Fetched, Fetcher};
use crate::apt::Apt;
use crate::config::Config;
use crate::image::Recipe;
use crate::lock::{Lock, LockedPackage, PackageSet, Requests};
use crate::mirror::Mirror;
use crate::tree::Tree;
use crate::turn;

/// Makes a new lock. What the old one has for the same request stays; the rest keeps its version if it can.
pub(super) struct Resolver<'a> {
    pub(super) fetcher: &'a Fetcher<'a>,
    pub(super) config: &'a Config,
    pub(super) recipe: &'a Recipe,
    pub(super) old: Option<&'a Lock>,
    pub(super) update: &'a Update,
}

impl Resolver<'_> {
    pub(super) fn resolve(&self, requests: Requests) -> Result<Lock> {
        let Self { fetcher, config, .. } = self;
        let mirror = Mirror::discover(fetcher.options)?;
        let _turn = turn::take(&fetcher.project.cache_folder("apt")?.join("lock"), "resolving packages")?;
        let base = fetcher.apt(&config.suite, &mirror)?;
        let bar = fetcher.ui.spinner("reading the package indexes");
        fetcher.update(&base, &config.suite, config)?;
        let mut packages = self
            .kept(PackageSet::Tools, |old| old.request.tools == requests.tools)
            .map_or_else(|| self.set(&base, PackageSet::Tools, &config.tools_packages), Ok)?;
        packages.extend(
            self.kept(PackageSet::Kernel, |old| old.request.kernel == requests.kernel)
                .map_or_else(|| self.kernel(&base), Ok)?,
        );
        let image = self
            .kept(PackageSet::Image, |old| old.request.image == requests.image)
            .map_or_else(|| self.image(&base), Ok)?;
        packages.extend(
            self.kept(PackageSet::Source, |old| old.request.source == requests.source)
                .map_or_else(|| self.sources(&base, &mirror), Ok)?,
        );
        drop(bar);
        let (suite, engine) = self.engine(&requests, &image, &mirror)?;
        packages.extend(image);
        packages.extend(engine);
        let lock = Lock::new(requests, suite, packages);
        if let Fetched::Gone { url, .. } = fetcher.fetch(&config.suite, &lock.packages)? {
            bail!("downloading {url}: the mirror lists it but does not have it; try again later");
        }
        Ok(lock)
    }

    /// Returns what the old lock has of a set, when the same was asked for.
    fn kept(&self, set: PackageSet, is_same: impl Fn(&Lock) -> bool) -> Option<Vec<LockedPackage>> {
        let old = self.old.filter(|old| is_same(old))?;
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

    /// Finds the newest sources of what is compiled, each in its suite.
    fn sources(&self, base: &Apt<'_>, mirror: &Mirror) -> Result<Vec<LockedPackage>> {
        let Self { fetcher, config, recipe, .. } = self;
        let sources = recipe.programs.iter().flat_map(|program| &program.sources);
        let mut others = BTreeMap::new();
        for suite in sources.filter_map(|source| source.suite.as_ref()) {
            if !others.contains_key(suite) {
                let apt = fetcher.apt(suite, mirror)?;
                fetcher.update(&apt, suite, config)?;
                others.insert(suite, apt);
            }
        }
        let mut packages: Vec<LockedPackage> = Vec::new();
        for program in &recipe.programs {
            let groups: Vec<_> = program.group.iter().cloned().collect();
            for source in &program.sources {
                let apt = source.suite.as_ref().map_or(base, |suite| &others[suite]);
                match packages.iter_mut().find(|known| known.name == source.name) {
                    // No group means that all images need it.
                    Some(known) if known.groups.is_empty() || groups.is_empty() => known.groups.clear(),
                    Some(known) => known.groups.extend(groups.clone()),
                    None => {
                        packages.push(LockedPackage { groups: groups.clone(), ..apt.source(&source.name)? });
                    }
                }
            }
        }
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
        let kept = self.kept(PackageSet::Engine, |old| old.request.engine == requests.engine).zip(*old);
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
            if let Fetched::Gone { url, .. } = fetcher.fetch(suite, &candidate)? {
                bail!("downloading {url}: the mirror lists it but does not have it; try again later");
            }
            let files: Vec<_> =
                candidate.iter().map(|package| (package, fetcher.folder.join(package.file_name()))).collect();
            match recipe.select(&files, Tree::default(), fetcher.ui) {
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
