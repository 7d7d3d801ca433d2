//! Mounting, moving and unmounting file systems.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};
use rustix::mount::MountPropagationFlags;
pub use rustix::mount::UnmountFlags;
use sys_mount::Mount;
pub use sys_mount::MountFlags;

use crate::mountinfo::{self, MountEntry};

/// Mounts `source` on the existing directory `target`; `data` holds the file system's own options, or nothing.
///
/// # Errors
/// When the kernel refuses; the message names source, type and target.
pub fn mount(source: &str, target: &Path, fstype: &str, flags: MountFlags, data: &str) -> Result<()> {
    raw(Path::new(source), target, fstype, flags, data)
        .with_context(|| format!("mounting {source} ({fstype}) on {}", target.display()))
}

/// Makes the tree below `source` visible at `target`, too.
///
/// # Errors
/// When the kernel refuses.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    raw(source, target, "none", MountFlags::BIND, "")
        .with_context(|| format!("bind-mounting {} on {}", source.display(), target.display()))
}

/// Moves the mount at `source` to `target`.
///
/// # Errors
/// When `source` is no mount point or the kernel refuses.
pub fn move_to(source: &Path, target: &Path) -> Result<()> {
    raw(source, target, "none", MountFlags::MOVE, "")
        .with_context(|| format!("moving the mount {} to {}", source.display(), target.display()))
}

/// Unmounts what is mounted at `target`; `UnmountFlags::empty()` fails while it is in use.
///
/// Not by sys-mount: its NOFOLLOW is open(2)'s, for which the kernel refuses every call.
///
/// # Errors
/// When it is in use or no mount point.
pub fn unmount(target: &Path, flags: UnmountFlags) -> Result<()> {
    rustix::mount::unmount(target, flags | UnmountFlags::NOFOLLOW)
        .with_context(|| format!("unmounting {}", target.display()))
}

/// Makes the file system mounted at `target` read-only, which writes it out.
///
/// # Errors
/// When files are open for writing.
pub fn remount_read_only(target: &Path) -> Result<()> {
    raw(Path::new("none"), target, "none", MountFlags::REMOUNT | MountFlags::RDONLY, "")
        .with_context(|| format!("remounting {} read-only", target.display()))
}

/// Lets mounts at `target` and below be seen in the mount namespaces of others that start from now on.
///
/// # Errors
/// When the kernel refuses.
pub fn share(target: &Path) -> Result<()> {
    rustix::mount::mount_change(target, MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .with_context(|| format!("sharing mounts below {}", target.display()))
}

/// Reads the mount table, in order of mounting.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn table() -> Result<Vec<MountEntry>> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    Ok(mountinfo::parse(&text)?)
}

/// Returns how much of the file system at `path` is in use, in percent of what anybody could use.
///
/// # Errors
/// When there is nothing at `path`.
pub fn percent_used(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).with_context(|| format!("asking how full {} is", path.display()))?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok((used * 100).checked_div(used + stat.f_bavail).unwrap_or(0))
}

fn raw(source: &Path, target: &Path, fstype: &str, flags: MountFlags, data: &str) -> io::Result<()> {
    Mount::builder().fstype(fstype).flags(flags).data(data).mount(source, target).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmounting_asks_what_the_kernel_understands() {
        // umount(2): EINVAL for flags it does not know, before it looks at the target.
        let error = unmount(Path::new("/no/such/mount"), UnmountFlags::DETACH).unwrap_err();
        let errno = error.downcast_ref::<rustix::io::Errno>();
        assert!(matches!(errno, Some(&rustix::io::Errno::NOENT | &rustix::io::Errno::PERM)), "{error:#}");
    }
}
