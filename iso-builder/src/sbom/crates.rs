//! The crates that the guest programs are linked of, as cargo resolves them for the image's target.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::purl;
use super::spdx::{self, NO_ASSERTION, Package, Relationship};
use crate::project::Project;
use crate::{guest, run};

/// Names that licence files of crates begin with, in upper case.
const LICENCE_FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// What is read of `cargo metadata`; there is much more in it. Source: cargo, "External tools", format version 1.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Debug, Clone, Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Nothing for the crates of this workspace.
    source: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl Crate {
    /// Returns whether the compiler runs it instead of linking it.
    fn is_macro(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// Nothing for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CargoLock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Crates and which of them link which.
#[derive(Debug)]
pub(super) struct Graph {
    crates: BTreeMap<String, Crate>,
    links: BTreeSet<(String, String)>,
    checksums: BTreeMap<(String, String), String>,
}

/// Asks cargo for the crates of the guest programs.
pub(super) fn read(project: &Project, offline: bool) -> Result<Graph> {
    guest::fetch_crates(project, offline)?;
    let mut cargo = Command::new("cargo");
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--filter-platform",
        guest::TARGET,
    ]);
    let text = run::text(cargo.current_dir(project.root())).context("asking cargo for the crates")?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading what cargo says of the crates")?;
    let lock = project.root().join("Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let lock: CargoLock = toml::from_str(&text).context("reading Cargo.lock")?;
    Ok(graph(metadata, lock))
}

fn graph(metadata: Metadata, lock: CargoLock) -> Graph {
    let by_id: BTreeMap<_, _> =
        metadata.packages.into_iter().map(|package| (package.id.clone(), package)).collect();
    let nodes: BTreeMap<_, _> = metadata.resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let is_program =
        |package: &Crate| package.source.is_none() && guest::PROGRAMS.contains(&package.name.as_str());
    let mut open: Vec<_> =
        by_id.values().filter(|package| is_program(package)).map(|it| it.id.clone()).collect();
    let (mut crates, mut links) = (BTreeMap::new(), BTreeSet::new());
    while let Some(id) = open.pop() {
        let Some(package) = by_id.get(&id) else { continue };
        if crates.insert(id.clone(), package.clone()).is_some() {
            continue;
        }
        for dependency in nodes.get(&id).into_iter().flat_map(|node| &node.deps) {
            // What is only run while compiling or testing is not in the image.
            let is_macro = by_id.get(&dependency.pkg).is_some_and(Crate::is_macro);
            if !is_macro && dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()) {
                links.insert((id.clone(), dependency.pkg.clone()));
                open.push(dependency.pkg.clone());
            }
        }
    }
    let checksums = lock
        .package
        .into_iter()
        .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
        .collect();
    Graph { crates, links, checksums }
}

impl Graph {
    /// Returns each crate with its relationships; `system` contains the programs.
    pub(super) fn packages(&self, system: &str) -> Vec<(Package, Vec<Relationship>)> {
        let mut packages = Vec::new();
        for package in self.crates.values() {
            let id = id(package);
            let mut relations: Vec<_> = self
                .links
                .iter()
                .filter(|(user, _)| *user == package.id)
                .filter_map(|(_, used)| {
                    Some(Relationship::new(&id, "STATIC_LINK", &self::id(self.crates.get(used)?)))
                })
                .collect();
            if guest::PROGRAMS.contains(&package.name.as_str()) {
                relations.push(Relationship::new(system, "CONTAINS", &id));
            }
            packages.push((self.package(package, &id), relations));
        }
        packages
    }

    fn package(&self, package: &Crate, id: &str) -> Package {
        let Crate { name, version, license, source, repository, .. } = package;
        let checksum = self.checksums.get(&(name.clone(), version.clone()));
        // Before 2018 a slash meant "or".
        let licence = license.as_ref().map(|text| text.replace('/', " OR ").replace("  ", " "));
        Package {
            licence_declared: licence.unwrap_or_else(|| NO_ASSERTION.into()),
            homepage: repository.clone(),
            checksums: checksum.map(|digest| spdx::sha256(digest)).unwrap_or_default(),
            external_refs: source
                .as_ref()
                .map(|_| purl(format!("pkg:cargo/{name}@{version}")))
                .unwrap_or_default(),
            ..Package::new(id, name, version)
        }
    }

    /// Returns the licence files of the crates that come from elsewhere, by a path for each.
    pub(super) fn licence_texts(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut texts = Vec::new();
        for package in self.crates.values().filter(|package| package.source.is_some()) {
            let folder = package.manifest_path.parent().unwrap_or(Path::new("."));
            let listing = || format!("listing {}", folder.display());
            for entry in fs::read_dir(folder).with_context(listing)? {
                let path = entry.with_context(listing)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_licence = LICENCE_FILES.iter().any(|start| name.to_uppercase().starts_with(start));
                if is_licence && path.is_file() {
                    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                    texts.push((format!("crates/{}-{}/{name}", package.name, package.version), bytes));
                }
            }
        }
        Ok(texts)
    }
}

fn id(package: &Crate) -> String {
    spdx::id(&["crate", &package.name, &package.version])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_into_a_program_counts() {
        let package = |name: &str, source: &str| {
            format!(
                "{{\"id\":\"{name}\",\"name\":\"{name}\",\"version\":\"1.0.0\",\"license\":\"MIT/Apache-2.0\",\
                 \"source\":{source},\"repository\":null,\"manifest_path\":\"/x/Cargo.toml\",\"targets\":[]}}"
            )
        };
        let names =
            [("init", "null"), ("log", "\"r\""), ("cc", "\"r\""), ("iso-builder", "null"), ("clap", "\"r\"")];
        let packages = names.map(|(name, source)| package(name, source)).join(",");
        let text = format!(
            "{{\"packages\":[{packages}],\"resolve\":{{\"nodes\":[\
             {{\"id\":\"init\",\"deps\":[{{\"pkg\":\"log\",\"dep_kinds\":[{{\"kind\":null}}]}},\
             {{\"pkg\":\"cc\",\"dep_kinds\":[{{\"kind\":\"build\"}}]}}]}},\
             {{\"id\":\"iso-builder\",\"deps\":[{{\"pkg\":\"clap\",\"dep_kinds\":[{{\"kind\":null}}]}}]}}]}}}}"
        );
        let digest = "a".repeat(64);
        let lock = format!("[[package]]\nname = \"log\"\nversion = \"1.0.0\"\nchecksum = \"{digest}\"\n");
        let graph = graph(serde_json::from_str(&text).unwrap(), toml::from_str(&lock).unwrap());
        let packages = graph.packages("SPDXRef-boot2docker");
        let shown: Vec<_> = packages
            .iter()
            .map(|(package, _)| (package.name.as_str(), package.licence_declared.as_str(), package.sha256()))
            .collect();
        let licence = "MIT OR Apache-2.0";
        assert_eq!(shown, [("init", licence, None), ("log", licence, Some(digest.as_str()))]);
        let expected = [
            Relationship::new("SPDXRef-crate-init-1.0.0", "STATIC_LINK", "SPDXRef-crate-log-1.0.0"),
            Relationship::new("SPDXRef-boot2docker", "CONTAINS", "SPDXRef-crate-init-1.0.0"),
        ];
        assert_eq!(packages[0].1, expected);
    }
}
