//! The firewall's front end, compiled as one program with all extensions in it: dockerd calls it a hundred times at each
//! start, and half of a call was loading libraries and extensions.
//!
//! The source is upstream's archive of the version that Debian has; without nftables, as `rootfs/image.toml` explains.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::digest::KeyBuilder;
use crate::enter::{Bind, Spec};
use crate::progress::Progress;
use crate::project::Project;
use crate::source_archive::SourceArchive;
use crate::tools::ToolsTree;
use crate::tree::{GuestPath, Node, Tree};
use crate::{download, host, object, run, step};

/// The source package.
pub const PACKAGE: &str = "iptables";

/// The one program behind all names, in the source's folder and in the cache.
const PROGRAM: &str = "xtables-legacy-multi";

/// Where the image has it.
pub(crate) const PATH: &str = "/usr/sbin/xtables-legacy-multi";

/// Raised when the code below changes the result.
const REVISION: u32 = 1;

/// Where the tools tree sees the source.
const BUILD: &str = "/build";

/// No libraries but those of C are needed, which are in the image anyway: without even these the program would be four times
/// as large. Left out is what needs libraries of its own, the nft front end and the match `connlabel`, and tools that are not in
/// the image.
const SCRIPT: &str = "./configure --prefix=/usr --disable-nftables --disable-connlabel --disable-bpf-compiler \
    --disable-libipq --enable-static --disable-shared CFLAGS='-Os -ffunction-sections -fdata-sections' && \
    make -j\"$JOBS\" LDFLAGS='-no-pie -Wl,--gc-sections' && strip iptables/xtables-legacy-multi";

/// Licence of the programs. Source: iptables, the heads of its source files.
pub(crate) const LICENCE: &str = "GPL-2.0-or-later";

/// File of the source with the licence's text.
const LICENCE_FILE: &str = "COPYING";

/// The compiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iptables {
    folder: PathBuf,
}

impl Iptables {
    /// Returns a name for exactly this program, the same on every host.
    #[must_use]
    pub fn key(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Puts the program into the image.
    ///
    /// # Errors
    /// When it cannot be read, or a library that it needs is not in `tree`.
    pub fn add_to(&self, tree: &mut Tree) -> Result<()> {
        let file = self.folder.join(PROGRAM);
        let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let path = GuestPath::new(PATH);
        let object = object::parse(&bytes).with_context(|| format!("reading the ELF headers of {PATH}"))?;
        let object = object.with_context(|| format!("reading {}: it is no program", file.display()))?;
        for name in &object.needed {
            let is_there = object.places_of(name, &path).any(|place| tree.get(&place).is_some());
            ensure!(is_there, "{PATH} needs {name}, which no file of the image brings");
        }
        tree.insert(path, Node::file(bytes, 0o755));
        Ok(())
    }
}

/// Returns the licence's text out of the source `archive`.
///
/// # Errors
/// When it is not there.
pub(crate) fn licence_text(archive: &Path) -> Result<Vec<u8>> {
    let reading = || format!("reading {LICENCE_FILE} of {}", archive.display());
    let mut source = tar::Archive::new(download::unpacked(archive)?);
    for entry in source.entries().with_context(reading)? {
        let mut entry = entry.with_context(reading)?;
        if entry.path().with_context(reading)?.iter().skip(1).eq([LICENCE_FILE]) {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).with_context(reading)?;
            return Ok(text);
        }
    }
    bail!("{}: no such file", reading())
}

/// Compiles the program, unless one of the same source and tools is in the cache.
///
/// # Errors
/// When it does not compile; the text has the compiler's last words and the path of its whole output.
pub fn build(
    project: &Project,
    tools: &ToolsTree,
    source: &SourceArchive,
    epoch: u64,
    ui: Progress,
) -> Result<Iptables> {
    let key = KeyBuilder::new("iptables", REVISION)
        .text(source.sha256())
        .text(&tools.key())
        .text(&epoch.to_string())
        .text(SCRIPT);
    let cache = project.cache_folder("iptables")?;
    let folder = step::shared(&cache, &key.finish(), "compiling this iptables", |part| {
        let bar = ui.spinner("compiling iptables");
        let work = part.join("work");
        source.unpack(&work)?;
        let log = project.target_folder("logs")?.join("iptables.log");
        step::remove(&log)?;
        let spec = Spec::new(tools, BUILD, &["/usr/bin/sh", "-c", SCRIPT])
            .bind(Bind::writable(&work, BUILD))
            .env("JOBS", &host::jobs().to_string())
            .env("SOURCE_DATE_EPOCH", &epoch.to_string());
        run::logged(&mut spec.command()?, &log, |line| bar.detail(line.trim()))?;
        let made = work.join("iptables").join(PROGRAM);
        fs::rename(&made, part.join(PROGRAM)).with_context(|| format!("keeping {}", made.display()))?;
        step::remove(&work)
    })?;
    Ok(Iptables { folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_whose_library_is_not_in_the_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(std::env::current_exe().unwrap(), folder.path().join(PROGRAM)).unwrap();
        let program = Iptables { folder: folder.path().to_path_buf() };
        let error = program.add_to(&mut Tree::default()).unwrap_err().to_string();
        assert!(error.starts_with(PATH) && error.ends_with("which no file of the image brings"), "{error}");
    }
}
