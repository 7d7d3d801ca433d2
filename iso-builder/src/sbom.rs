//! The bill of materials: every package, crate and kernel in the ISO, as SPDX 2.3, and their licences' texts.
//!
//! Made of what the build knows already, with nothing of the clock or of chance in it.

mod crates;
mod debian;
mod licence;
pub mod spdx;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::compiled::{self, Compiled, Program};
use crate::config::{Config, EngineArchive};
use crate::digest::{self, KeyBuilder};
use crate::image::Recipe;
use crate::iso::publish_sum;
use crate::lock::LockedPackage;
use crate::progress::Progress;
use crate::project::Project;
use crate::source_archive::SourceArchive;
use crate::tree::Tree;
use crate::{engine, guest, step};
use debian::Binary;
use spdx::{Document, Package, Reference, Relationship};

/// Raised when the code below changes the result.
const REVISION: u32 = 7;

/// Name of the document in the image and, with the ISO's name before it, beside the ISO.
pub const FILE: &str = "boot2docker.spdx.json";

/// What takes the place of `iso` in the ISO's name.
const DOCUMENT: &str = "spdx.json";

/// Name of the lock in the image.
const LOCK_FILE: &str = "boot2docker.lock";

/// Archive of the licences' texts, in the image and beside the ISO.
const LICENCES: &str = "licences.tar.zst";

/// Licence of the kernel. Source: linux, COPYING.
const LINUX_LICENCE: &str = "GPL-2.0-only WITH Linux-syscall-note";

/// Level for the archive of licences.
const LICENCES_LEVEL: i32 = 19;

/// What the bill is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The checkout.
    pub project: &'a Project,
    /// Time stamp.
    pub config: &'a Config,
    /// Which files are taken out of the packages.
    pub recipe: &'a Recipe,
    /// The packages of the image, and where they are.
    pub packages: &'a [(&'a LockedPackage, PathBuf)],
    /// What is compiled.
    pub compiled: &'a [Compiled<'a>],
    /// The kernel's source.
    pub kernel_source: &'a SourceArchive,
    /// The kernel's version, as `uname -r` prints it.
    pub kernel_release: &'a str,
    /// The engine's version.
    pub version: &'a str,
    /// Where progress is shown.
    pub ui: Progress,
}

/// The finished bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    folder: PathBuf,
}

impl Bill {
    /// Returns the folder whose files are to be in the image.
    #[must_use]
    pub fn in_image(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// Puts the document, the licences and the ISO's own digest beside the ISO at `iso`. The document is `customized` if
    /// the image has a layer more.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn publish(&self, iso: &Path, customized: Option<&Document>) -> Result<()> {
        let copy = |from: &Path, to: &Path| {
            let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
            step::write_atomically(to, &bytes)
        };
        match customized {
            Some(document) => publish_document(document, iso)?,
            None => copy(&self.in_image().join(FILE), &iso.with_extension(DOCUMENT))?,
        }
        copy(&self.in_image().join(LICENCES), &iso.with_extension(LICENCES))?;
        publish_sum(iso, &digest::of_file(iso)?)
    }
}

/// Puts a document beside the ISO at `iso`.
///
/// # Errors
/// When it cannot be written.
pub fn publish_document(document: &Document, iso: &Path) -> Result<()> {
    step::write_atomically(&iso.with_extension(DOCUMENT), document.to_text().as_bytes())
}

impl Inputs<'_> {
    /// Makes the bill, unless nothing it depends on has changed.
    ///
    /// # Errors
    /// When a package cannot be read or cargo does not name the crates.
    pub fn bill(&self, offline: bool) -> Result<Bill> {
        let mut key = KeyBuilder::new("sbom", REVISION)
            .text(&self.config.epoch.to_string())
            .text(&self.recipe.to_key())
            .text(self.kernel_source.sha256())
            .text(self.config.engine_archive.as_ref().map_or("", |engine| &engine.archive.sha256))
            .text(self.kernel_release)
            .text(self.version)
            .tree(&self.project.root().join("Cargo.lock"))?
            .tree(&self.project.root().join("Cargo.toml"))?
            .tree(&self.project.lock_file())?;
        for folder in guest::CRATES {
            key = key.tree(&self.project.root().join(folder).join("Cargo.toml"))?;
        }
        for program in self.compiled {
            key = key.text(&program.key());
        }
        for (package, _) in self.packages {
            key = key.text(&package.sha256);
        }
        let folder = step::latest(&self.project.target_folder("sbom")?, &key.finish(), |part| {
            let bar = self.ui.spinner("writing the bill of materials");
            let result = self.write(part, offline);
            drop(bar);
            result
        })?;
        Ok(Bill { folder })
    }

    fn write(&self, part: &Path, offline: bool) -> Result<()> {
        let recipe = self.recipe.without_packages(engine::left_out(self.config));
        let mut brought = Tree::default();
        self.compiled.iter().try_for_each(|program| program.add_to(&mut brought))?;
        let used = recipe.packages_used(self.packages, brought, self.ui)?;
        let used: Vec<_> = self.packages.iter().filter(|(package, _)| used.contains(&package.name)).collect();
        let binaries = used
            .iter()
            .map(|(package, file)| debian::read(package, file, self.packages))
            .collect::<Result<Vec<_>>>()?;
        let graph = crates::read(self.project, offline)?;
        let image = part.join("image");
        fs::create_dir(&image).with_context(|| format!("creating {}", image.display()))?;
        step::write_atomically(&image.join(FILE), self.document(&binaries, &graph)?.to_text().as_bytes())?;
        let lock = fs::read(self.project.lock_file()).context("reading the lock")?;
        step::write_atomically(&image.join(LOCK_FILE), &lock)?;
        let mut texts: Vec<_> = binaries
            .iter()
            .filter_map(|binary| Some((format!("debian/{}", binary.name), binary.copyright.clone()?)))
            .collect();
        for compiled in self.compiled {
            let files = compiled.licence_texts()?.into_iter();
            texts.extend(files.map(|(path, text)| (format!("source/{}", path.display()), text)));
        }
        texts.extend(graph.licence_texts()?);
        let archive = licence_archive(texts, self.config.epoch).context("packing the licences")?;
        step::write_atomically(&image.join(LICENCES), &archive)
    }

    fn document(&self, binaries: &[Binary], graph: &crates::Graph) -> Result<Document> {
        let system = Package {
            purpose: Some("OPERATING_SYSTEM".into()),
            comment: Some("an aggregate; each part has a licence of its own".into()),
            ..Package::new("SPDXRef-boot2docker", "boot2docker", self.version)
        };
        let source = match self.kernel_source {
            SourceArchive::Package(package, _) => {
                Package { licence_declared: LINUX_LICENCE.into(), ..debian::package(package) }
            }
            SourceArchive::File { sha256, .. } => Package {
                checksums: spdx::sha256(sha256),
                licence_declared: LINUX_LICENCE.into(),
                comment: Some("an archive that the configuration of this build names".into()),
                ..Package::new("SPDXRef-kernel-source", "linux", self.kernel_release)
            },
        };
        let kernel = Package {
            licence_declared: LINUX_LICENCE.into(),
            comment: Some("with the patches and the configuration of kernel-config/".into()),
            ..Package::new("SPDXRef-kernel", "linux", self.kernel_release)
        };
        let mut relations = vec![
            Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", &system.id),
            Relationship::new(&system.id, "CONTAINS", &kernel.id),
            Relationship::new(&kernel.id, "GENERATED_FROM", &source.id),
        ];
        let mut packages = vec![system.clone(), kernel, source];
        for compiled in self.compiled {
            let (parts, links) = self.compiled_packages(compiled, &system.id);
            packages.extend(parts);
            relations.extend(links);
        }
        if let Some(EngineArchive { archive, version }) = &self.config.engine_archive {
            let engine = Package {
                checksums: spdx::sha256(&archive.sha256),
                comment: Some("an archive that the configuration of this build names".into()),
                ..Package::new("SPDXRef-engine", "docker", version)
            };
            relations.push(Relationship::new(&system.id, "CONTAINS", &engine.id));
            packages.push(engine);
        }
        let mut sources = BTreeSet::new();
        for binary in binaries {
            relations.push(Relationship::new(&system.id, "CONTAINS", &binary.package.id));
            let source = binary.source_package();
            relations.push(Relationship::new(&binary.package.id, "GENERATED_FROM", &source.id));
            if sources.insert(source.id.clone()) {
                packages.push(source);
            }
            packages.push(binary.package.clone());
        }
        for (package, relation) in graph.packages(&system.id) {
            packages.push(package);
            relations.extend(relation);
        }
        let licences = binaries.iter().flat_map(|binary| binary.licences.clone()).collect();
        Document::new(self.version, self.config.epoch, packages, relations, licences)
    }

    /// Describes a program that is compiled, and its sources; `system` contains it.
    fn compiled_packages(&self, compiled: &Compiled<'_>, system: &str) -> (Vec<Package>, Vec<Relationship>) {
        let Program { name, licence, .. } = compiled.program;
        let version = compiled.sources.first().map_or(self.version, |(source, _)| &source.version);
        let program = Package {
            licence_declared: licence.clone(),
            comment: Some(format!("compiled as {} says", compiled::FILE)),
            ..Package::new(&spdx::id(&["compiled", name]), name, version)
        };
        let mut relations = vec![Relationship::new(system, "CONTAINS", &program.id)];
        let mut packages = vec![program.clone()];
        for (number, (source, _)) in compiled.sources.iter().enumerate() {
            let licence = if number == 0 { licence.clone() } else { spdx::NO_ASSERTION.into() };
            let source = Package { licence_declared: licence, ..debian::package(source) };
            relations.push(Relationship::new(&program.id, "GENERATED_FROM", &source.id));
            packages.push(source);
        }
        (packages, relations)
    }
}

/// Packs texts, by name; where two are the same, the second is a hard link to the first.
fn licence_archive(mut texts: Vec<(String, Vec<u8>)>, epoch: u64) -> Result<Vec<u8>> {
    texts.sort();
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), LICENCES_LEVEL)?);
    let mut seen = std::collections::BTreeMap::new();
    for (name, bytes) in texts {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(epoch);
        match seen.get(&bytes) {
            Some(first) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                archive.append_link(&mut header, &name, first)?;
            }
            None => {
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, &name, &bytes[..])?;
                seen.insert(bytes, name);
            }
        }
    }
    Ok(archive.into_inner()?.finish()?)
}

/// Returns the reference by which scanners look a package up. Source: the purl specification.
fn purl(locator: String) -> Vec<Reference> {
    vec![Reference { category: "PACKAGE-MANAGER".into(), kind: "purl".into(), locator }]
}

#[cfg(test)]
mod tests;
