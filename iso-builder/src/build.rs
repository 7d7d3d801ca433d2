//! The build as a table of contents: each step gets what the ones before it made.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::compiled::{self, Compiled};
use crate::config::{Config, KernelChanges};
use crate::custom::{self, Image};
use crate::digest::{self, KeyBuilder};
use crate::image::Recipe;
use crate::iso::Parts;
use crate::kernel::Kernel;
use crate::layers::{Inputs, Layer};
use crate::lock::PackageSet;
use crate::mirror::MirrorOptions;
use crate::packages::{self, LockOptions, Packages, Update};
use crate::progress::Progress;
use crate::project::Project;
use crate::sbom::spdx::Document;
use crate::sbom::{self, Bill};
use crate::source_archive::SourceArchive;
use crate::tools::ToolsTree;
use crate::turn::{self, Turn};
use crate::{download, guest, host, initrd, kernel, squashfs, step};

/// Raised when the code below changes how a custom layer gets into the initramfs.
const CUSTOM_REVISION: u32 = 1;

/// A build under way: the sources, what to build, and the turns that keep other builds out.
#[derive(Debug)]
pub struct Build {
    project: Project,
    config: Config,
    recipe: Recipe,
    ui: Progress,
    offline: bool,
    /// This checkout's `target/`, and a share in the cache: steps of the cache have turns of their own.
    _turns: [Turn; 2],
}

impl Build {
    /// Checks host and configuration and waits for other builds of this checkout to end.
    ///
    /// An `offline` build downloads nothing.
    ///
    /// # Errors
    /// When the host lacks something, or the configuration or the recipe makes no sense.
    pub fn start(config: Option<&Path>, offline: bool) -> Result<Self> {
        let loaded = Config::load(config)?;
        let mut project = Project::find()?;
        if let Some(file) = config.filter(|_| !loaded.extra_packages.is_empty()) {
            // The checkout's own lock has no place for the packages of one user.
            project = project.with_lock_file(file.with_extension("lock"))?;
        }
        let recipe = Recipe::of(&project)?;
        let recipe = recipe.with_packages(&loaded.extra_packages);
        recipe
            .with_groups(&loaded.groups)
            .with_context(|| config.map_or("default.toml".into(), |path| path.display().to_string()))?;
        if loaded.kernel != KernelChanges::default() {
            kernel::check(&project, &loaded.kernel)?;
        }
        host::check()?;
        let ui = Progress::new();
        let turns = [
            turn::take(&project.target_folder("")?.join("iso-builder.lock"), "building in this checkout")?,
            turn::share(&project.cache_folder("")?.join("in-use.lock"))?,
        ];
        Ok(Self { project, config: loaded, recipe, ui, offline, _turns: turns })
    }

    /// Returns the checkout that is built.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Resolves the packages anew, as `update` says; returns what changed, one line a package.
    ///
    /// # Errors
    /// When the mirror or the lock is not usable.
    pub fn update_lock(&self, mirror: &MirrorOptions, update: &Update) -> Result<Vec<String>> {
        if self.offline {
            bail!("resolving packages anew: --offline forbids to ask the mirror");
        }
        packages::update(&self.project, &self.config, &self.recipe, mirror, update, self.ui)
    }

    /// Downloads the packages and unpacks the tools tree.
    ///
    /// # Errors
    /// Those of the steps.
    pub fn fetch(&self, mirror: &MirrorOptions, lock: &LockOptions) -> Result<(Packages, ToolsTree)> {
        let Self { project, config, recipe, ui, .. } = self;
        let packages = Packages::prepare(project, config, recipe, (mirror, lock), *ui)?;
        let tools = ToolsTree::prepare(project, &packages.files(PackageSet::Tools), ui)?;
        Ok((packages, tools))
    }

    /// Compiles the kernel.
    ///
    /// # Errors
    /// Those of the step.
    pub fn kernel(&self, packages: &Packages, tools: &ToolsTree) -> Result<Kernel> {
        let Self { project, config, ui, .. } = self;
        let source = self.kernel_source(packages)?;
        kernel::build(project, tools, &source, &config.kernel, config.epoch, *ui)
    }

    /// Downloads the packages, those that the kernel needs first, and compiles it while the others arrive: it takes longest.
    /// It is in the cache then.
    fn packages_beside_the_kernel(&self, mirror: &MirrorOptions, lock: &LockOptions) -> Result<Packages> {
        let Self { project, config, recipe, ui, .. } = self;
        let early = Packages::prepare_kernel(project, config, recipe, (mirror, lock), *ui)?;
        std::thread::scope(|scope| {
            let all = scope.spawn(|| Packages::prepare(project, config, recipe, (mirror, lock), *ui));
            if let Some(early) = early {
                let tools = ToolsTree::prepare(project, &early.files(PackageSet::Tools), ui)?;
                self.kernel(&early, &tools)?;
            }
            all.join().expect("downloading does not panic")
        })
    }

    fn kernel_source(&self, packages: &Packages) -> Result<SourceArchive> {
        if let Some(source) = &self.config.kernel.source {
            let file = download::fetch("kernel.source", source, &self.project, self.offline, self.ui)?;
            return Ok(SourceArchive::File { file, sha256: source.sha256.clone() });
        }
        let sources = packages.files(PackageSet::Kernel);
        let (package, file) = sources.first().context("finding the kernel's source in the lock")?;
        Ok(SourceArchive::Package(Box::new((*package).clone()), file.clone()))
    }

    /// Compiles the programs of `recipe`.
    fn compiled<'a>(
        &self,
        recipe: &'a Recipe,
        packages: &'a Packages,
        tools: &ToolsTree,
    ) -> Result<Vec<Compiled<'a>>> {
        let Self { project, config, ui, .. } = self;
        let sources = packages.files(PackageSet::Source);
        let build = |program| compiled::build(project, tools, program, &sources, config.epoch, *ui);
        recipe.programs.iter().map(build).collect()
    }

    /// Returns the engine's version.
    fn version(&self, packages: &Packages) -> Result<String> {
        match &self.config.engine_archive {
            Some(archive) => Ok(archive.version.clone()),
            None => packages.engine_version(),
        }
    }

    /// Compiles the guest programs and packs the layers; returns PID 1, the layers and the bill of materials.
    ///
    /// # Errors
    /// Those of the steps.
    pub fn rootfs(
        &self,
        packages: &Packages,
        tools: &ToolsTree,
        kernel: &Kernel,
    ) -> Result<(PathBuf, [Layer; 3], Bill)> {
        let Self { project, config, recipe, ui, .. } = self;
        let programs = guest::build(project, tools, config.epoch, self.offline, *ui)?;
        let version = self.version(packages)?;
        let engine = config.engine_archive.as_ref();
        let engine =
            engine.map(|it| download::fetch("engine.archive", &it.archive, project, self.offline, *ui));
        let engine = engine.transpose()?;
        let recipe = &recipe.with_groups(&config.groups)?;
        let inputs = Inputs { project, tools, config, recipe, version: &version, ui: *ui };
        let mut files = packages.files(PackageSet::Engine);
        files.extend(packages.files(PackageSet::Image));
        let kernel_source = &self.kernel_source(packages)?;
        let compiled = self.compiled(recipe, packages, tools)?;
        let bill = sbom::Inputs {
            project,
            config,
            recipe,
            packages: &files,
            compiled: &compiled,
            kernel_source,
            kernel_release: &kernel::release(&kernel.image())?,
            version: &version,
            ui: *ui,
        };
        let bill = bill.bill(self.offline)?;
        let [base, large] = inputs.base(&files, kernel, &compiled, engine.as_deref())?;
        let layers = [base, large, inputs.own(&programs, &bill.in_image())?];
        Ok((programs.join(guest::INIT), layers, bill))
    }

    /// Returns the initramfs with the layer of what the configuration bakes in, and its bill of materials; or `initrd` if
    /// that is nothing.
    fn customized(
        &self,
        tools: &ToolsTree,
        layers: &[Layer],
        initrd: PathBuf,
    ) -> Result<(PathBuf, Option<Document>)> {
        let Self { project, config, .. } = self;
        if !config.custom.has_layer() && config.post_process.is_none() {
            return Ok((initrd, None));
        }
        let read = |file: &Path| std::fs::read(file).with_context(|| format!("reading {}", file.display()));
        let opened = layers.iter().map(|layer| squashfs::Layer::open(layer.name, read(&layer.file)?));
        let image = Image::new(opened.collect::<Result<_>>()?);
        let mut tree = custom::tree(&config.custom, &image)?;
        if let Some(program) = &config.post_process {
            tree = custom::post_process::run(tools, program, &tree, config.epoch)?;
        }
        let time = u32::try_from(config.epoch).context("the time stamp does not fit into a squashfs")?;
        let baked = custom::pack(&tree, &image, time)?;
        let sum = digest::of_reader(&mut &baked.squashfs[..]).context("hashing the custom layer")?;
        let key = KeyBuilder::new("custom", CUSTOM_REVISION).text(&step::key_of(&initrd)).text(&sum);
        let folder = step::latest(&project.target_folder("custom")?, &key.finish(), |part| {
            let bytes = initrd::with_layer(&read(&initrd)?, &baked.name, &baked.squashfs, time)?;
            step::write_atomically(&part.join("initrd.img"), &bytes)
        })?;
        Ok((folder.join("initrd.img"), baked.bill))
    }

    /// Builds everything and writes the ISO to `out`.
    ///
    /// # Errors
    /// Those of the steps; `out` is then what it was before.
    pub fn iso(&self, mirror: &MirrorOptions, lock: &LockOptions, out: &Path) -> Result<()> {
        check_writable(out)?;
        let packages = self.packages_beside_the_kernel(mirror, lock)?;
        let tools = ToolsTree::prepare(&self.project, &packages.files(PackageSet::Tools), &self.ui)?;
        let kernel = self.kernel(&packages, &tools)?;
        let (init, layers, bill) = self.rootfs(&packages, &tools, &kernel)?;
        let initrd = initrd::build(&self.project, &init, &layers, self.config.epoch)?;
        let (initrd, customized) = self.customized(&tools, &layers, initrd)?;
        let Self { project, config, ui, .. } = self;
        let version = self.version(&packages)?;
        let parts = Parts {
            project,
            tools: &tools,
            config,
            kernel: &kernel,
            initrd: &initrd,
            version: &version,
            ui: *ui,
        };
        parts.build(out)?;
        bill.publish(out, customized.as_ref())?;
        let size = std::fs::metadata(out).with_context(|| format!("reading {}", out.display()))?.len();
        let mib = size as f64 / f64::from(1 << 20);
        ui.note(&format!(
            "{}: {mib:.1} MiB, label {}, Linux {}",
            out.display(),
            parts.label(),
            kernel::release(&kernel.image())?
        ));
        Ok(())
    }
}

/// Finds out before an hour of work that the result could not be written.
fn check_writable(out: &Path) -> Result<()> {
    if out.is_dir() {
        bail!("writing {}: it is a folder; name a file", out.display());
    }
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    tempfile::tempfile_in(folder).map(drop).with_context(|| {
        format!("writing {}: the folder {} cannot be written", out.display(), folder.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let error = format!("{:#}", check_writable(folder.path()).unwrap_err());
        assert!(error.ends_with("it is a folder; name a file"), "{error}");
        let error = format!("{:#}", check_writable(&folder.path().join("none/out.iso")).unwrap_err());
        assert!(error.contains("none/out.iso: the folder"), "{error}");
        check_writable(&folder.path().join("out.iso")).unwrap();
    }
}
