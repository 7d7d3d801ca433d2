//! What a test works with: this checkout, its tools tree, its ISO and a folder of the test's own.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use iso_builder::project::Project;
use iso_builder::qemu::QemuFiles;
use iso_builder::tools::ToolsTree;

/// Names an ISO to test instead of building one.
const ISO_VARIABLE: &str = "B2D_ISO";

/// The surroundings of one test.
#[derive(Debug, Clone)]
pub struct Lab {
    project: Project,
    tools: ToolsTree,
    folder: PathBuf,
    /// Held while anybody uses the folder, so that a second run of the tests waits for the first.
    _lock: Arc<File>,
}

impl Lab {
    /// Prepares an empty folder for the test `name`; builds the ISO first, unless it is up to date.
    ///
    /// # Errors
    /// When the ISO cannot be built, or the folder cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let project = Project::find()?;
        iso_under_test(&project)?;
        let tools = ToolsTree::open(&project)?;
        let folders = project.target_folder("boot-tests")?;
        let lock = File::create(folders.join(format!("{name}.lock")))
            .and_then(|file| file.lock().map(|()| Arc::new(file)))
            .with_context(|| format!("locking the folder of the test {name}"))?;
        let folder = folders.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self { project, tools, folder, _lock: lock })
    }

    /// Returns the ISO under test.
    #[must_use]
    pub fn iso(&self) -> PathBuf {
        iso_under_test(&self.project).expect("Lab::new has found it")
    }

    /// Returns the tools tree of this checkout.
    #[must_use]
    pub fn tools(&self) -> &ToolsTree {
        &self.tools
    }

    /// Returns the files QEMU reads besides a machine's own.
    #[must_use]
    pub fn qemu_files(&self) -> QemuFiles {
        QemuFiles::of(&self.tools)
    }

    /// Returns the folder of this test; it is kept until the test runs again.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder of the locks that bound the number of machines, for all checkouts of this user: they share
    /// the processors.
    #[must_use]
    pub fn slots(&self) -> PathBuf {
        self.project.cache().join("boot-slots")
    }
}

/// Returns the ISO under test; the first caller in this process builds it as a user would.
fn iso_under_test(project: &Project) -> Result<PathBuf> {
    static ISO: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let iso = ISO.get_or_init(|| find_or_build(project).map_err(|error| format!("{error:#}")));
    iso.clone().map_err(|error| anyhow!(error))
}

fn find_or_build(project: &Project) -> Result<PathBuf> {
    let iso = match env::var_os(ISO_VARIABLE) {
        Some(iso) => PathBuf::from(iso),
        None => {
            build(project)?;
            project.iso()
        }
    };
    ensure!(iso.is_file(), "finding the ISO under test: {} does not exist", iso.display());
    Ok(iso)
}

/// Runs the README's command. It takes a lock of its own, so many tests may do this at once.
fn build(project: &Project) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["run", "-q", "-p", "iso-builder", "--", "build"])
        .current_dir(project.root())
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "building the ISO: `cargo run -p iso-builder -- build`: {status}");
    Ok(())
}
