//! Where things are: the checkout, its `target/` folder and the user's cache.
//! Knows paths only; creates nothing but the two folders it hands out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::step;

/// File that marks the top of a checkout and pins every package.
const LOCK_FILE: &str = "boot2docker.lock";

/// A checkout of this project, with the user's cache beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
    lock: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Project {
    /// Returns the checkout that holds the current folder, or else the one this program was built from.
    ///
    /// # Errors
    /// When neither is a checkout, or when no folder for the cache can be named.
    pub fn find() -> Result<Self> {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
        let here = env::current_dir().context("reading the current folder")?;
        let root =
            here.ancestors().chain([built_from]).find(|folder| is_checkout(folder)).with_context(|| {
                format!("finding the boot2docker sources: {} is in no checkout", here.display())
            })?;
        Ok(Self {
            root: root.to_path_buf(),
            lock: root.join(LOCK_FILE),
            target: root.join("target"),
            cache: user_cache()?,
        })
    }

    /// Returns the top folder of the checkout.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns `target/`, where everything is built that belongs to this checkout alone.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the folder shared by all checkouts of this user: packages, tools trees, kernels.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Returns the path of the finished ISO.
    #[must_use]
    pub fn iso(&self) -> PathBuf {
        self.target.join("boot2docker.iso")
    }

    /// Returns the path of the package lock.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.lock.clone()
    }

    /// Returns the checkout with the package lock in another file, which begins as a copy of the checkout's own.
    ///
    /// # Errors
    /// When it does not exist and cannot be made.
    pub fn with_lock_file(self, lock: PathBuf) -> Result<Self> {
        if !lock.exists() {
            let text = fs::read(&self.lock).with_context(|| format!("reading {}", self.lock.display()))?;
            step::write_atomically(&lock, &text)?;
        }
        Ok(Self { lock, ..self })
    }

    /// Creates and returns a folder below the cache.
    ///
    /// # Errors
    /// When the folder cannot be created; the text names it and how to choose another place.
    pub fn cache_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.cache.join(name);
        fs::create_dir_all(&folder).with_context(|| {
            format!("creating the cache folder {} (BOOT2DOCKER_CACHE names another place)", folder.display())
        })?;
        Ok(folder)
    }

    /// Creates and returns a folder below `target/`.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn target_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }
}

fn is_checkout(folder: &Path) -> bool {
    folder.join("rootfs/image.toml").is_file() && folder.join("kernel-config").is_dir()
}

/// Source: XDG Base Directory Specification, `$XDG_CACHE_HOME`.
fn user_cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("BOOT2DOCKER_CACHE") {
        return std::path::absolute(folder).context("resolving BOOT2DOCKER_CACHE");
    }
    if let Some(folder) = set("XDG_CACHE_HOME") {
        return Ok(folder.join("boot2docker"));
    }
    match set("HOME") {
        Some(home) => Ok(home.join(".cache/boot2docker")),
        None => bail!("choosing a cache folder: HOME is not set; set BOOT2DOCKER_CACHE to a folder"),
    }
}
