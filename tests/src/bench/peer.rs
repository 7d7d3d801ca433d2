//! The system we compare with: Debian's minimal base with systemd, its packaged kernel and the engine of our own lock,
//! installed by Debian's package manager into a folder and written to a disk image.
//!
//! Everything is at its default, with three exceptions: the network is configured by systemd-networkd with DHCP, the
//! boot loader does not wait for a key, and a unit starts the benchmark's probe.

mod disk;
mod install;
mod packages;

pub use disk::APPEND;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use iso_builder::digest::KeyBuilder;
use iso_builder::project::Project;
use iso_builder::step;

use super::guest::GuestFiles;
use super::subject::{self, State};
use crate::Lab;

/// Raised when the code of this module changes what the peer is.
const REVISION: u32 = 1;

/// A finished peer: a disk image and the files a machine without boot loader starts it with.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The disk image.
    pub disk: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// What it is made of, one `name version` a line.
    pub manifest: String,
}

impl Peer {
    /// Returns how much of its disk the system takes, without what the benchmark put there. Unit: MiB.
    ///
    /// # Errors
    /// When the installed system cannot be read.
    pub fn size_mib(&self) -> Result<f64> {
        let root = self.kernel.parent().and_then(Path::parent).context("finding the peer's root folder")?;
        Ok(bytes_below(root)? as f64 / f64::from(1 << 20))
    }

    /// Tells whether this process may install a system: package scripts change owners and make devices.
    #[must_use]
    pub fn can_be_made() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Returns the peer, installing it first unless the cache has it.
    ///
    /// # Errors
    /// When this is not root, the mirror cannot be reached, or a package cannot be installed.
    pub fn prepare(lab: &Lab, project: &Project, files: &GuestFiles, state: State) -> Result<Self> {
        let root = installed(project)?;
        let boot = root.join("boot");
        let (kernel, initrd) = (file_named(&boot, "vmlinuz-")?, file_named(&boot, "initrd.img-")?);
        let key = KeyBuilder::new("peer-disk", REVISION).text(&root.to_string_lossy()).text(&files.key());
        let folder = project.target_folder(&format!("bench/peer-{}", state.name()))?;
        let at = |folder: &Path| Self {
            disk: folder.join("disk.img"),
            kernel: kernel.clone(),
            initrd: initrd.clone(),
            manifest: String::new(),
        };
        let folder = step::latest(&folder, &key.finish(), |part| {
            let peer = at(part);
            disk::write(lab.tools(), &root, files, (&kernel, &initrd), &peer.disk)?;
            state.reach(lab, &subject::of_peer(&peer, subject::DEFAULT_SIZE))
        })?;
        let manifest = root.join(install::MANIFEST);
        let manifest =
            fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
        Ok(Self { manifest, ..at(&folder) })
    }
}

/// Returns the folder of the installed system; it stays in the cache until what is asked for changes.
fn installed(project: &Project) -> Result<PathBuf> {
    let wanted = packages::Wanted::read(project)?;
    let cache = project.cache_folder("peer")?;
    let lock = cache.join("lock");
    let lock = File::create(&lock).with_context(|| format!("creating {}", lock.display()))?;
    lock.lock().context("waiting for another process that makes the peer")?;
    let key = KeyBuilder::new("peer", REVISION).text(&wanted.key());
    step::cached(&cache, &key.finish(), |part| {
        ensure!(
            Peer::can_be_made(),
            "making the peer: installing Debian packages into a folder changes owners and so needs root"
        );
        let packages = wanted.fetch(project, &cache)?;
        eprintln!("bench: installing {} packages for the peer (a few minutes, once)", packages.len());
        install::install(&packages, part, &cache.join("install.log"))
    })
}

/// Returns what the files below `folder` take on a disk.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
        let metadata = entry.metadata().with_context(|| format!("reading {}", entry.path().display()))?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += bytes_below(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// Returns the only file of `folder` whose name begins with `prefix`.
fn file_named(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "finding {prefix}* in {}: there are {}", folder.display(), found.len());
    Ok(found.remove(0))
}
