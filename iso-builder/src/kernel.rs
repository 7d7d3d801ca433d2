//! The kernel: Debian's source or another, our patches and the user's in order, fragments likewise; lost options are errors.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::KernelChanges;
use crate::digest::KeyBuilder;
use crate::enter::{Bind, Spec};
use crate::kconfig;
use crate::progress::{Bar, Progress};
use crate::project::Project;
use crate::source_archive::SourceArchive;
use crate::tools::ToolsTree;
use crate::{host, run, step};

/// Raised when the code below changes the result.
const REVISION: u32 = 1;

/// Where the tree sees the kernel's source.
const BUILD: &str = "/build";

/// The version lies in the setup code, which is never larger. Unit: bytes.
const SETUP_BYTES: u64 = 32 << 10;

/// A finished kernel in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// Returns the path of the bootable image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.join("bzImage")
    }

    /// Returns the folder whose `lib/modules` goes into the image.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }

    /// Returns a name for exactly this kernel.
    #[must_use]
    pub fn key(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// What `kernel-config/` says.
#[derive(Debug)]
struct Recipe {
    fragments: kconfig::Fragments,
    patches: Vec<PathBuf>,
}

impl Recipe {
    /// Reads the project's folder and what a configuration changes.
    fn read(folder: &Path, changes: &KernelChanges) -> Result<Self> {
        let mut patches = series(&folder.join("patches"))?;
        if let Some(more) = &changes.patches {
            let listed =
                series(&more.value).map_err(|error| more.mistake(format!("kernel.patches: {error:#}")))?;
            for patch in listed {
                // patch(1) is run in another folder.
                patches.push(
                    std::path::absolute(&patch).with_context(|| format!("resolving {}", patch.display()))?,
                );
            }
        }
        let mut fragments = kconfig::Fragments::read(folder)?;
        let mut texts = Vec::new();
        for file in &changes.fragments {
            let text = fs::read_to_string(&file.value).map_err(|error| {
                file.mistake(format!("kernel.fragments: reading {}: {error}", file.value.display()))
            })?;
            texts.push((file.value.clone(), text));
        }
        if !changes.modules.is_empty() {
            let lines = changes.modules.iter().map(|module| format!("{}=m\n", module.value));
            texts.push((PathBuf::from("kernel.modules"), lines.collect()));
        }
        fragments.override_by(texts)?;
        Ok(Self { fragments, patches })
    }
}

/// Returns the patches of a folder in the order of its file `series`, as quilt has it.
fn series(folder: &Path) -> Result<Vec<PathBuf>> {
    let series = folder.join("series");
    let text = fs::read_to_string(&series).with_context(|| format!("reading {}", series.display()))?;
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let patches: Vec<_> = names.map(|name| folder.join(name)).collect();
    if let Some(missing) = patches.iter().find(|path| !path.is_file()) {
        bail!("reading {}: it lists {}, which is not there", series.display(), missing.display());
    }
    Ok(patches)
}

/// Checks what a configuration changes in the kernel, as far as that takes no source.
///
/// # Errors
/// When a file is missing, or an option is set twice.
pub fn check(project: &Project, changes: &KernelChanges) -> Result<()> {
    Recipe::read(&project.root().join("kernel-config"), changes).map(drop)
}

/// Returns the kernel, compiling it unless one of the same source, recipe and tools is in the cache.
///
/// # Errors
/// When a patch does not apply, an option does not survive, or it does not compile.
pub fn build(
    project: &Project,
    tools: &ToolsTree,
    source: &SourceArchive,
    changes: &KernelChanges,
    epoch: u64,
    ui: Progress,
) -> Result<Kernel> {
    let recipe_folder = project.root().join("kernel-config");
    let recipe = Recipe::read(&recipe_folder, changes)?;
    let mut key = KeyBuilder::new("kernel", REVISION)
        .text(source.sha256())
        .text(&tools.key())
        .text(&epoch.to_string())
        .text(&recipe.fragments.concatenated());
    for patch in &recipe.patches {
        key = key.tree(patch)?;
    }
    let folder =
        step::shared(&project.cache_folder("kernel")?, &key.finish(), "building this kernel", |part| {
            let log = project.target_folder("logs")?.join("kernel.log");
            step::remove(&log)?;
            let bar = ui.spinner("building the kernel");
            let work = Work { tools, folder: part.join("work"), log, epoch, bar };
            work.bar.detail("unpacking the source");
            source.unpack(&work.folder)?;
            work.patch(&recipe.patches)?;
            work.configure(&recipe.fragments)?;
            work.compile(part)?;
            step::remove(&work.folder)
        })?;
    Ok(Kernel { folder })
}

/// A kernel build under way.
struct Work<'a> {
    tools: &'a ToolsTree,
    folder: PathBuf,
    log: PathBuf,
    epoch: u64,
    bar: Bar,
}

impl Work<'_> {
    fn patch(&self, patches: &[PathBuf]) -> Result<()> {
        for patch in patches {
            self.bar.detail("patching");
            let mut command = self.tools.program("patch");
            command
                .args(["-p1", "--fuzz=0", "--forward", "--batch", "-d"])
                .arg(&self.folder)
                .arg("-i")
                .arg(patch);
            run::output(&mut command).with_context(|| format!("applying the patch {}", patch.display()))?;
        }
        Ok(())
    }

    fn configure(&self, fragments: &kconfig::Fragments) -> Result<()> {
        let requested = self.folder.join("requested.config");
        step::write_atomically(&requested, fragments.concatenated().as_bytes())?;
        self.make(&[&format!("KCONFIG_ALLCONFIG={BUILD}/requested.config"), "allnoconfig"])?;
        let path = self.folder.join(".config");
        let resulting = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        fragments.check(&resulting)
    }

    fn compile(&self, part: &Path) -> Result<()> {
        self.make(&[&format!("-j{}", host::jobs()), "bzImage", "modules"])?;
        let staging =
            ["INSTALL_MOD_PATH=/build/modules-out", "INSTALL_MOD_STRIP=1", "DEPMOD=/usr/sbin/depmod"];
        self.make(&[staging[0], staging[1], staging[2], "modules_install"])?;
        for (from, to) in
            [("arch/x86/boot/bzImage", "bzImage"), (".config", "config"), ("modules-out", "modules")]
        {
            fs::rename(self.folder.join(from), part.join(to)).with_context(|| format!("keeping {from}"))?;
        }
        remove_source_links(&part.join("modules"))
    }

    fn make(&self, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["/usr/bin/make"];
        all.extend(arguments);
        let spec = Spec::new(self.tools, BUILD, &all)
            .bind(Bind::writable(&self.folder, BUILD))
            .env("KBUILD_BUILD_TIMESTAMP", &format!("@{}", self.epoch))
            .env("KBUILD_BUILD_USER", "boot2docker")
            .env("KBUILD_BUILD_HOST", "boot2docker")
            .env("KBUILD_BUILD_VERSION", "1")
            .env("SOURCE_DATE_EPOCH", &self.epoch.to_string());
        let mut objects = 0;
        run::logged(&mut spec.command()?, &self.log, |line| {
            if line.trim_start().starts_with("CC") {
                objects += 1;
                self.bar.detail(&format!("{objects} files compiled"));
            }
        })
    }
}

/// `modules_install` leaves links to the build folder, which is about to vanish.
fn remove_source_links(modules: &Path) -> Result<()> {
    let folder = modules.join("lib/modules");
    for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let version = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        for name in ["build", "source"] {
            step::remove(&version.join(name))?;
        }
    }
    Ok(())
}

/// Reads the version out of a bzImage, as `uname -r` will print it.
///
/// # Errors
/// When the file is no x86 kernel.
/// Source: kernel Documentation/arch/x86/boot.rst, `kernel_version` at offset 0x20e.
pub fn release(image: &Path) -> Result<String> {
    let reading = || format!("reading {}", image.display());
    let mut head = Vec::new();
    let file = File::open(image).with_context(reading)?;
    file.take(SETUP_BYTES).read_to_end(&mut head).with_context(reading)?;
    release_in(&head).with_context(reading)
}

/// As [`release`], of a kernel's first bytes.
///
/// # Errors
/// When they are no x86 kernel.
pub(crate) fn release_in(image: &[u8]) -> Result<String> {
    const POINTER: usize = 0x20e;
    const SETUP: usize = 0x200;
    let pointer = image.get(POINTER..POINTER + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
    let text = image.get(SETUP + usize::from(pointer)..).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(128)]);
    let release = text.split([' ', '\0']).next().unwrap_or_default();
    if release.is_empty() {
        bail!("there is no version in it; it is no Linux kernel");
    }
    Ok(release.to_owned())
}
