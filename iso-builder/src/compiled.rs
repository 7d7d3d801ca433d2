//! Programs compiled from upstream's source inside the tools tree, as `rootfs/compiled.toml` says.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::digest::KeyBuilder;
use crate::enter::{Bind, Spec};
use crate::image::Group;
use crate::lock::LockedPackage;
use crate::progress::Progress;
use crate::project::Project;
use crate::source_archive::SourceArchive;
use crate::tools::ToolsTree;
use crate::tree::{GuestPath, Node, Tree};
use crate::{document, download, host, run, step};

/// Raised when the code below changes the result.
const REVISION: u32 = 1;

/// Where the tools tree sees the sources.
const BUILD: &str = "/build";

/// Where the recipe is in the checkout.
pub const FILE: &str = "rootfs/compiled.toml";

/// All programs that are compiled, as the recipe has them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    #[serde(rename = "program", default)]
    programs: Vec<Program>,
}

/// What is compiled in one go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Program {
    /// What messages and the bill of materials call it.
    pub name: String,
    /// The group of `rootfs/image.toml` that it belongs to; without one it is in every image.
    pub group: Option<String>,
    /// What it is compiled from, its own source first.
    pub sources: Vec<Source>,
    script: String,
    /// Paths of what the script makes, and in the image.
    files: BTreeMap<PathBuf, PathBuf>,
    /// SPDX expression.
    pub licence: String,
    /// Files with the licences' texts, each below the name of its source.
    #[serde(default)]
    licence_files: Vec<PathBuf>,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Source {
    /// Its name in Debian.
    pub name: String,
    /// The suite whose version is taken; without one it is that of all packages.
    pub suite: Option<String>,
}

/// Reads the recipe of the checkout.
///
/// # Errors
/// When it cannot be read, or names a group that is not one of `groups`.
pub fn read(project: &Project, groups: &[Group]) -> Result<Vec<Program>> {
    let path = project.root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let Recipe { programs } = document::parse(&path, &text)?;
    for Program { name, group, .. } in &programs {
        if let Some(group) = group {
            let is_known = groups.iter().any(|known| known.name == *group);
            ensure!(is_known, "{}: `{name}` is in group `{group}`, which image.toml lacks", path.display());
        }
    }
    Ok(programs)
}

/// A compiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled<'a> {
    /// What it is.
    pub program: &'a Program,
    /// The archives of its sources, in their order.
    pub sources: Vec<(&'a LockedPackage, PathBuf)>,
    folder: PathBuf,
}

/// Compiles a program of `all` sources, unless the same is in the cache.
///
/// # Errors
/// When a source is not there or it does not compile; the text has the compiler's last words and the path of its whole output.
pub fn build<'a>(
    project: &Project,
    tools: &ToolsTree,
    program: &'a Program,
    all: &[(&'a LockedPackage, PathBuf)],
    epoch: u64,
    ui: Progress,
) -> Result<Compiled<'a>> {
    let find = |source: &Source| {
        let found = all.iter().find(|(package, _)| package.name == source.name).cloned();
        found.with_context(|| format!("finding the source of {} in the lock", source.name))
    };
    let sources = program.sources.iter().map(find).collect::<Result<Vec<_>>>()?;
    let name = &program.name;
    let mut key = KeyBuilder::new("compiled", REVISION).text(&tools.key()).text(&epoch.to_string());
    key = key.text(name).text(&program.script);
    for made in program.files.keys() {
        key = key.text(&made.to_string_lossy());
    }
    for (source, _) in &sources {
        key = key.text(&source.name).text(&source.sha256);
    }
    let cache = project.cache_folder("compiled")?;
    let folder = step::shared(&cache, &key.finish(), &format!("compiling this {name}"), |part| {
        let bar = ui.spinner(&format!("compiling {name}"));
        let work = part.join("work");
        fs::create_dir(&work).with_context(|| format!("creating {}", work.display()))?;
        for (package, file) in &sources {
            package.verify(file)?;
            let archive = SourceArchive::File { file: file.clone(), sha256: package.sha256.clone() };
            archive.unpack(&work.join(&package.name))?;
        }
        let log = project.target_folder("logs")?.join(format!("{name}.log"));
        step::remove(&log)?;
        let spec = Spec::new(tools, BUILD, &["/usr/bin/sh", "-e", "-c", &program.script])
            .bind(Bind::writable(&work, BUILD))
            .env("JOBS", &host::jobs().to_string())
            .env("SOURCE_DATE_EPOCH", &epoch.to_string());
        run::logged(&mut spec.command()?, &log, |line| bar.detail(line.trim()))
            .with_context(|| format!("compiling {name}, as {FILE} says"))?;
        for made in program.files.keys() {
            fs::rename(work.join(made), part.join(kept(made)))
                .with_context(|| format!("keeping {}, as {FILE} says", made.display()))?;
        }
        step::remove(&work)
    })?;
    Ok(Compiled { program, sources, folder })
}

/// Returns the name that something made has in the cache.
fn kept(made: &Path) -> String {
    made.to_string_lossy().replace('/', "_")
}

impl Compiled<'_> {
    /// Returns a name for exactly this program, the same on every host.
    #[must_use]
    pub fn key(&self) -> String {
        step::key_of(&self.folder.join("any"))
    }

    /// Puts the program into the image.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_to(&self, tree: &mut Tree) -> Result<()> {
        for (made, path) in &self.program.files {
            let file = self.folder.join(kept(made));
            let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let is_program =
                path.parent().is_some_and(|folder| folder.ends_with("bin") || folder.ends_with("sbin"));
            let mode = if is_program { 0o755 } else { 0o644 };
            tree.insert(GuestPath::new(path), Node::file(bytes, mode));
        }
        Ok(())
    }

    /// Returns the texts of the licences out of the sources, each with the file's path below the name of its source.
    ///
    /// # Errors
    /// When one is not there.
    pub(crate) fn licence_texts(&self) -> Result<Vec<(&Path, Vec<u8>)>> {
        let text = |path: &Path| {
            let found = self.sources.iter().find_map(|(source, archive)| {
                Some(licence_text(archive, path.strip_prefix(&source.name).ok()?))
            });
            found.with_context(|| format!("{FILE}: {} is in no source", path.display()))?
        };
        self.program.licence_files.iter().map(|path| Ok((path.as_path(), text(path)?))).collect()
    }
}

/// Returns the text of the file `name` in the source `archive`.
fn licence_text(archive: &Path, name: &Path) -> Result<Vec<u8>> {
    let reading = || format!("reading {} of {}", name.display(), archive.display());
    let mut source = tar::Archive::new(download::unpacked(archive)?);
    for entry in source.entries().with_context(reading)? {
        let mut entry = entry.with_context(reading)?;
        if entry.path().with_context(reading)?.iter().skip(1).eq(name.iter()) {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).with_context(reading)?;
            return Ok(text);
        }
    }
    bail!("{}: no such file", reading())
}

/// Returns the program whose file is at `path` in the image.
#[must_use]
pub fn program_at<'a>(programs: &'a [Program], path: &str) -> Option<&'a Program> {
    programs.iter().find(|program| program.files.values().any(|file| file == Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program {
            name: "tool".into(),
            group: None,
            sources: vec![Source { name: "tool".into(), suite: None }],
            script: "make".into(),
            files: [
                ("tool/bin".into(), "/usr/bin/tool".into()),
                ("lib.so.0".into(), "/usr/lib/lib.so.0".into()),
            ]
            .into(),
            licence: "MIT".into(),
            licence_files: vec!["tool/COPYING".into()],
        }
    }

    #[test]
    fn what_is_made_gets_into_the_image_under_its_own_path() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tool_bin", "lib.so.0"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let program = program();
        let compiled =
            Compiled { program: &program, sources: Vec::new(), folder: folder.path().to_path_buf() };
        let mut tree = Tree::default();
        compiled.add_to(&mut tree).unwrap();
        let found: Vec<_> = tree.iter().map(|(path, node)| (path.to_string(), node.mode)).collect();
        let expected = [("/usr/bin/tool", 0o755), ("/usr/lib/lib.so.0", 0o644)];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
        let programs = [program.clone()];
        assert_eq!(program_at(&programs, "/usr/bin/tool"), Some(&programs[0]));
        assert_eq!(program_at(&programs, "/usr/bin/other"), None);
    }

    #[test]
    fn a_licence_of_no_source_is_named() {
        let program = program();
        let compiled = Compiled { program: &program, sources: Vec::new(), folder: PathBuf::new() };
        let error = compiled.licence_texts().unwrap_err().to_string();
        assert_eq!(error, "rootfs/compiled.toml: tool/COPYING is in no source");
    }

    #[test]
    fn the_licence_is_read_from_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        builder.append_data(&mut header, "tool-1.0/COPYING", &b"free"[..]).unwrap();
        let file = folder.path().join("tool.tar.zst");
        fs::write(&file, zstd::encode_all(&builder.into_inner().unwrap()[..], 1).unwrap()).unwrap();
        assert_eq!(licence_text(&file, Path::new("COPYING")).unwrap(), b"free");
        let error = licence_text(&file, Path::new("LICENSE")).unwrap_err().to_string();
        assert!(error.starts_with("reading LICENSE of ") && error.ends_with(": no such file"), "{error}");
    }
}
