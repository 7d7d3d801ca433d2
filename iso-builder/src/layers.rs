//! The image's root, as squashfs layers that the initramfs stacks: two of what comes from packages and the kernel, which
//! take a minute to compress and rarely change, and one of what is ours, which takes a second.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::compiled::Compiled;
use crate::config::Config;
use crate::digest::KeyBuilder;
use crate::identity::Identity;
use crate::image::Recipe;
use crate::kernel::Kernel;
use crate::lock::LockedPackage;
use crate::progress::Progress;
use crate::project::Project;
use crate::tools::ToolsTree;
use crate::tree::{GuestPath, Node, Tree};
use crate::{engine, guest, host, prelink, run, step};

/// Raised when the code below changes the result.
const REVISION: u32 = 3;

/// How mksquashfs cuts files into blocks.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    /// Size of a block. Units: bytes.
    bytes: u32,
    /// Whether small files and the ends of others share blocks.
    shares: bool,
}

/// Many small files share a block, and who needs one of them unpacks all: smaller blocks would be faster still, but pack worse
/// (docs/performance.md).
const SMALL_FILES: Blocks = Blocks { bytes: 128 << 10, shares: true };

/// A boot reads most of the large files, so their blocks are those that pack best. Little would be saved if the ends of so few files
/// shared one, and the kernel would keep 1 MiB of memory for it.
const LARGE_FILES: Blocks = Blocks { bytes: 1 << 20, shares: false };

/// Files of packages from this size on are large. Units: bytes.
const LARGE_FILE_BYTES: usize = 8 << 20;

/// Names of the layers with what comes from packages and the kernel: its small files, its large ones.
pub(crate) const OF_PACKAGES: [&str; 2] = ["10-base.squashfs", "20-large.squashfs"];

/// zstd level of our own layer: it is small, and made each time a guest program changes.
const OWN_LEVEL: u32 = 19;

/// Files of ours that are filled with what the image knows of itself.
const TEMPLATES: &str = "rootfs/templates";

/// Files of ours that are taken as they are.
const FILES: &str = "rootfs/files";

/// Files of ours that are there when a group is on, each below a folder with the group's name.
const GROUPS: &str = "rootfs/groups";

/// Folder of the image with lock and bill of materials.
const BILL: &str = "/usr/share/boot2docker";

/// A squashfs and the name that gives it its place in the stack: a higher name lies above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// File name inside the initramfs.
    pub name: &'static str,
    /// The squashfs on the host.
    pub file: PathBuf,
}

impl Layer {
    /// Returns a name for exactly this layer, the same on every host.
    #[must_use]
    pub fn key(&self) -> String {
        step::key_of(&self.file)
    }
}

/// What all layers depend on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The checkout.
    pub project: &'a Project,
    /// The packers.
    pub tools: &'a ToolsTree,
    /// Levels and time stamp.
    pub config: &'a Config,
    /// What goes in.
    pub recipe: &'a Recipe,
    /// The engine's version, for the image's identity.
    pub version: &'a str,
    /// Where progress is shown.
    pub ui: Progress,
}

impl Inputs<'_> {
    fn key(&self, layer: &str, level: u32) -> KeyBuilder {
        KeyBuilder::new(layer, REVISION)
            .text(&self.config.epoch.to_string())
            .text(&level.to_string())
            .text(&self.tools.key())
            .text(&self.recipe.to_key())
    }

    /// Packs everything that comes from packages, what is `compiled`, and the kernel's modules, as [`OF_PACKAGES`]. The programs
    /// of the archive `engine` take the place of the engine's packages.
    ///
    /// # Errors
    /// When a file, library or symbol version is missing, or packing fails.
    pub fn base(
        &self,
        packages: &[(&LockedPackage, PathBuf)],
        kernel: &Kernel,
        compiled: &[Compiled<'_>],
        engine: Option<&Path>,
    ) -> Result<[Layer; 2]> {
        let level = self.config.compression_level;
        let mut key = self.key("base", level).text(&kernel.key());
        for program in compiled {
            key = key.text(&program.key());
        }
        for (package, _) in packages {
            key = key.text(&package.sha256);
        }
        if let Some(archive) = &self.config.engine_archive {
            key = key.text("engine and its libraries").text(&archive.archive.sha256);
        }
        // Packing it takes a minute and no file of the checkout is in it, so all checkouts share it.
        let cache = self.project.cache_folder("layers")?;
        let folder = step::shared(&cache, &key.finish(), "packing this layer", |part| {
            let recipe = self.recipe.without_packages(engine::left_out(self.config));
            let mut brought = Tree::default();
            if let Some(archive) = engine {
                engine::add(&mut brought, archive, |path| self.recipe.component_of(path).is_some())?;
            }
            compiled.iter().try_for_each(|program| program.add_to(&mut brought))?;
            let mut tree = recipe.select(packages, brought, self.ui)?;
            prelink::go_programs(&mut tree)?;
            self.recipe.add_folders_and_links(&mut tree);
            self.add_busybox_applets(&mut tree)?;
            let modules = kernel.modules().join("lib");
            add_folder(&mut tree, &modules, Path::new("/usr/lib"), &|_, bytes| bytes)?;
            tree.add_parents(|path| self.recipe.describe_folder(path));
            let mut large = tree.take_large_files(LARGE_FILE_BYTES);
            large.add_parents(|path| tree.get(path).cloned());
            let _bar = self.ui.spinner("packing the base layers");
            for ((tree, blocks), name) in
                [(tree, SMALL_FILES), (large, LARGE_FILES)].into_iter().zip(OF_PACKAGES)
            {
                self.pack(&tree, level, blocks, &part.join(name))?;
            }
            Ok(())
        })?;
        Ok(OF_PACKAGES.map(|name| Layer { name, file: folder.join(name) }))
    }

    /// Packs what this project brings: its programs, the files below `rootfs/` and those in the folder `bill`.
    ///
    /// # Errors
    /// When a file cannot be read or packing fails.
    pub fn own(&self, programs: &Path, bill: &Path) -> Result<Layer> {
        let root = self.project.root();
        // PID 1's program comes along from the initramfs, but the image's identity is also its.
        let program = programs.join(guest::BOOT);
        let mut key =
            self.key("own without PID 1", OWN_LEVEL).text(self.version).tree(programs)?.tree(bill)?;
        for folder in [FILES, TEMPLATES] {
            key = key.tree(&root.join(folder))?;
        }
        let groups = self.recipe.groups().iter().map(|group| root.join(GROUPS).join(&group.name));
        let groups: Vec<_> = groups.filter(|folder| folder.is_dir()).collect();
        for folder in &groups {
            key = key.tree(folder)?;
        }
        let key = key.finish();
        let identity = Identity::new(self.version, &key, self.config.epoch)?;
        let folder = step::latest(&self.project.target_folder("layers")?.join("own"), &key, |part| {
            let mut tree = Tree::default();
            let fill = |_: &Path, bytes: Vec<u8>| identity.fill(bytes);
            add_folder(&mut tree, &root.join(FILES), Path::new("/"), &|_, bytes| bytes)?;
            add_folder(&mut tree, &root.join(TEMPLATES), Path::new("/"), &fill)?;
            for folder in &groups {
                add_folder(&mut tree, folder, Path::new("/"), &|_, bytes| bytes)?;
            }
            let bytes = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
            let path = |name| GuestPath::new(Path::new("/usr/sbin").join(name));
            tree.insert(path(guest::BOOT), Node::file(bytes, 0o755));
            for name in guest::BOOT_PROGRAMS {
                tree.insert(path(name), Node::symlink(guest::BOOT));
            }
            add_folder(&mut tree, bill, Path::new(BILL), &|_, bytes| bytes)?;
            self.recipe.apply_attributes(&mut tree)?;
            tree.add_parents(|path| self.recipe.describe_folder(path));
            self.pack(&tree, OWN_LEVEL, SMALL_FILES, &part.join("layer.squashfs"))
        })?;
        Ok(Layer { name: "50-boot2docker.squashfs", file: folder.join("layer.squashfs") })
    }

    /// Links every applet of busybox whose path nothing else has taken.
    fn add_busybox_applets(&self, tree: &mut Tree) -> Result<()> {
        let program = self.tools.path("/usr/bin/busybox");
        let listed = run::text(std::process::Command::new(&program).arg("--list-full"))
            .context("asking busybox for its applets")?;
        for applet in listed.lines().filter(|applet| applet.contains('/')) {
            let path = GuestPath::new(Path::new("/").join(applet));
            let taken = ["/usr/bin", "/usr/sbin"].iter().any(|folder| {
                path.as_path()
                    .file_name()
                    .is_some_and(|name| tree.get(&GuestPath::new(Path::new(folder).join(name))).is_some())
            });
            if !taken && !self.recipe.is_hidden_applet(applet) {
                tree.insert(path, Node::symlink("/usr/bin/busybox"));
            }
        }
        Ok(())
    }

    fn pack(&self, tree: &Tree, level: u32, blocks: Blocks, out: &Path) -> Result<()> {
        let mut command = self.tools.program("mksquashfs");
        command.arg("-").arg(out).args(["-tar", "-comp", "zstd", "-Xcompression-level", &level.to_string()]);
        command.args([
            "-b",
            &blocks.bytes.to_string(),
            "-noappend",
            "-no-progress",
            "-quiet",
            "-no-xattrs",
            "-no-exports",
        ]);
        if !blocks.shares {
            command.arg("-no-fragments");
        }
        let epoch = self.config.epoch.to_string();
        command.args(["-processors", &host::jobs().to_string()]);
        command.args(["-mkfs-time", &epoch, "-all-time", &epoch]);
        command.args(["-root-mode", "0755", "-root-uid", "0", "-root-gid", "0"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting mksquashfs")?;
        let input = child.stdin.take().context("opening the input of mksquashfs")?;
        let written = tree.write_tar(std::io::BufWriter::new(input), self.config.epoch);
        let output = child.wait_with_output().context("waiting for mksquashfs")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("packing {}: mksquashfs: {}: {}", out.display(), output.status, words.trim());
        }
        written.with_context(|| format!("packing {}", out.display()))
    }
}

/// Adds a folder of the host below `to`, recursively; `change` sees every file's path and bytes.
fn add_folder(
    tree: &mut Tree,
    from: &Path,
    to: &Path,
    change: &dyn Fn(&Path, Vec<u8>) -> Vec<u8>,
) -> Result<()> {
    let listing = || format!("listing {}", from.display());
    for entry in fs::read_dir(from).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let reading = || format!("reading {}", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(reading)?;
        if metadata.is_dir() {
            add_folder(tree, &path, &target, change)?;
        } else if metadata.is_symlink() {
            let link = fs::read_link(&path).with_context(reading)?;
            tree.insert(GuestPath::new(&target), Node::symlink(link));
        } else {
            // git records of a file's mode only whether it is executable.
            let mode = if metadata.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
            let bytes = change(&target, fs::read(&path).with_context(reading)?);
            tree.insert(GuestPath::new(&target), Node::file(bytes, mode));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    #[test]
    fn a_folder_keeps_links_executable_bits_and_gets_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("version"), "@VERSION@\n").unwrap();
        fs::write(etc.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(etc.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("version", etc.join("alias")).unwrap();
        let mut tree = Tree::default();
        let identity = Identity::new("1.2", "0", 0).unwrap();
        add_folder(&mut tree, folder.path(), Path::new("/"), &|_, bytes| identity.fill(bytes)).unwrap();
        let node = |path| tree.get(&GuestPath::new(path)).unwrap();
        assert_eq!(node("/etc/version").content, Content::File((*b"1.2\n").into()));
        assert_eq!((node("/etc/version").mode, node("/etc/run").mode), (0o644, 0o755));
        assert_eq!(node("/etc/alias").content, Content::Symlink("version".into()));
    }
}
