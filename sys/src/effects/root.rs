//! Moving to another root directory, as stage 0 does once.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::mount;

/// Makes the mount at `new_root` the root of the mount tree and of this process.
/// Unlike a mere chroot, `pivot_root` works afterwards, which container runtimes need.
///
/// # Errors
/// When `new_root` is no mount point; the old root may be hidden then.
pub fn switch(new_root: &Path) -> Result<()> {
    rustix::process::chdir(new_root).with_context(|| format!("entering {}", new_root.display()))?;
    mount::move_to(Path::new("."), Path::new("/"))?;
    rustix::process::chroot(".").context("changing the root directory")?;
    rustix::process::chdir("/").context("entering the new root")
}

/// Connects standard input, output and error to a terminal or other device.
///
/// # Errors
/// When it cannot be opened.
pub fn attach_stdio(path: &Path) -> Result<()> {
    let attach = || -> std::io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        dup2_stdin(&file)?;
        dup2_stdout(&file)?;
        Ok(dup2_stderr(&file)?)
    };
    attach().with_context(|| format!("attaching the standard streams to {}", path.display()))
}
