//! Growing a mounted btrfs, for which there is a system call and, in the image, no program.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use linux_raw_sys::btrfs::btrfs_ioctl_vol_args;
use linux_raw_sys::ioctl::BTRFS_IOC_RESIZE;

/// "As far as the device reaches." Source: Linux `fs/btrfs/ioctl.c`, btrfs_ioctl_resize.
const AS_FAR_AS_POSSIBLE: &[u8] = b"max";

/// Grows the btrfs mounted at `mountpoint` to the end of its first device.
///
/// # Errors
/// When something else is mounted there, or the kernel refuses.
pub fn grow(mountpoint: &Path) -> Result<()> {
    resize(mountpoint).with_context(|| format!("growing the btrfs on {}", mountpoint.display()))
}

#[expect(unsafe_code, reason = "rustix has no btrfs calls")]
fn resize(mountpoint: &Path) -> io::Result<()> {
    let root = File::open(mountpoint)?;
    let mut args = btrfs_ioctl_vol_args { fd: 0, name: [0; 4088] };
    for (to, from) in args.name.iter_mut().zip(AS_FAR_AS_POSSIBLE) {
        *to = from.cast_signed();
    }
    // SAFETY: the descriptor is open, and the kernel reads one btrfs_ioctl_vol_args, which outlives the call.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), BTRFS_IOC_RESIZE.into(), &raw const args) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_system_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = grow(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("growing the btrfs on {}", dir.path().display()));
    }
}
