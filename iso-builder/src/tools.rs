//! The tools tree: compiler, packers, boot loaders and QEMU, unpacked from packages, never installed.
//!
//! A tool runs in one of two ways: [`ToolsTree::program`] starts it on the host's own paths through the
//! tree's dynamic loader, without any privilege; [`crate::enter`] runs it with the tree as root folder.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::deb;
use crate::digest::KeyBuilder;
use crate::lock::LockedPackage;
use crate::progress::Progress;
use crate::project::Project;
use crate::step;

/// Raised when the code below changes what a tree looks like.
const REVISION: u32 = 2;

/// Folders that [`crate::enter`] mounts on; the tree itself is read-only then.
pub(crate) const MOUNT_POINTS: [&str; 10] =
    ["src", "build", "rust", "cargo", "out", "proc", "dev", "sys", "tmp", "run"];

/// Names that a package's maintainer script would link through the alternatives system.
const ALTERNATIVES: [(&str, &str); 2] = [("usr/bin/awk", "mawk"), ("usr/bin/cc", "gcc")];

/// Environment of every program from the tree.
const FIXED_ENVIRONMENT: [(&str, &str); 3] = [("LC_ALL", "C"), ("TZ", "UTC"), ("PATH", "/usr/sbin:/usr/bin")];

/// What a program from the tree still learns of the caller: where it may write, and on which terminal it is.
const KEPT_ENVIRONMENT: [&str; 3] = ["HOME", "TERM", "TMPDIR"];

/// Where libraries live in the tree, in search order.
const LIBRARY_FOLDERS: [&str; 3] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib/x86_64-linux-gnu/pulseaudio"];

/// An unpacked tools tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsTree {
    root: PathBuf,
}

impl ToolsTree {
    /// Returns the tools tree that the last build of this checkout used.
    ///
    /// # Errors
    /// When this checkout was never built; the text says how to.
    pub fn open(project: &Project) -> Result<Self> {
        let link = project.target().join("tools");
        let root = fs::canonicalize(&link).with_context(|| {
            format!(
                "opening the tools tree {} (run `cargo run -p iso-builder -- fetch` first)",
                link.display()
            )
        })?;
        Ok(Self { root })
    }

    /// Unpacks the tools tree of `packages` into the cache, unless it is there, and links it into `target/`.
    ///
    /// # Errors
    /// When a package cannot be read or the tree cannot be written; an unfinished tree is never used.
    pub fn prepare(project: &Project, packages: &[(&LockedPackage, PathBuf)], ui: &Progress) -> Result<Self> {
        let root = step::shared(
            &project.cache_folder("tools")?,
            &key(packages),
            "unpacking the tools tree",
            |part| {
                let bar = ui.count("unpacking the tools tree", packages.len() as u64);
                // base-files first: it makes /bin, /sbin and /lib links into /usr.
                let (base, rest): (Vec<_>, Vec<_>) =
                    packages.iter().partition(|(package, _)| package.name == "base-files");
                for (package, file) in base.into_iter().chain(rest) {
                    package.verify(file)?;
                    deb::unpack(file, part)?;
                    bar.advance(1);
                }
                finish_tree(part)
            },
        )?;
        link_into_target(project, &root)?;
        Ok(Self { root })
    }

    /// Returns the tree's folder on the host.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a name for exactly this tree, the same on every host.
    #[must_use]
    pub fn key(&self) -> String {
        self.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Returns the host path of a file in the tree, given by its absolute path in the tree.
    #[must_use]
    pub fn path(&self, in_tree: &str) -> PathBuf {
        self.root.join(in_tree.trim_start_matches('/'))
    }

    /// Returns a command that runs `name` from the tree on the host's own paths.
    ///
    /// The tree's dynamic loader is started with the tree's libraries, so the host's C library does not matter;
    /// its environment is fixed, so that the host's settings do not either.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let file = ["usr/bin", "usr/sbin"]
            .iter()
            .map(|folder| self.root.join(folder).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| self.root.join("usr/bin").join(name));
        let mut libraries = OsString::new();
        for folder in LIBRARY_FOLDERS {
            if !libraries.is_empty() {
                libraries.push(":");
            }
            libraries.push(self.root.join(folder));
        }
        let mut command = Command::new(self.root.join("usr/lib64/ld-linux-x86-64.so.2"));
        // Nothing of the caller's environment reaches an output: locale, time zone, SOURCE_DATE_EPOCH, MTOOLSRC, ...
        command.env_clear().envs(FIXED_ENVIRONMENT);
        command.envs(KEPT_ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        command.arg("--library-path").arg(libraries).arg("--argv0").arg(name).arg(file);
        command.env("QEMU_MODULE_DIR", self.root.join("usr/lib/x86_64-linux-gnu/qemu"));
        command
    }
}

fn key(packages: &[(&LockedPackage, PathBuf)]) -> String {
    packages
        .iter()
        .fold(KeyBuilder::new("tools", REVISION), |key, (package, _)| key.text(&package.sha256))
        .finish()
}

fn finish_tree(tree: &Path) -> Result<()> {
    for folder in MOUNT_POINTS {
        fs::create_dir_all(tree.join(folder))
            .with_context(|| format!("creating /{folder} in the tools tree"))?;
    }
    for (link, target) in ALTERNATIVES {
        symlink(target, tree.join(link)).with_context(|| format!("linking /{link} in the tools tree"))?;
    }
    Ok(())
}

fn link_into_target(project: &Project, root: &Path) -> Result<()> {
    let link = project.target_folder("")?.join("tools");
    if fs::read_link(&link).is_ok_and(|current| current == root) {
        return Ok(());
    }
    step::replace_symlink(root, &link)
}
