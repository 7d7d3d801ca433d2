//! Loop devices: a file as a block device.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{io, mem};

use anyhow::{Context, Result};
use linux_raw_sys::loop_device as uapi;

/// Tries when another process takes the free device first.
const ATTEMPTS: usize = 8;

/// Attaches `file` read-only to a free loop device and returns the device's path below `dev`, and the device open.
///
/// # Errors
/// As [`attach_part_read_only`].
pub fn attach_read_only(dev: &Path, file: &Path) -> Result<(PathBuf, OwnedFd)> {
    attach_part_read_only(dev, file, 0, 0)
}

/// Attaches the `size` bytes of `file` from byte `offset` on, all that follow if `size` is 0; else as [`attach_read_only`].
///
/// Direct I/O stays off: files on tmpfs and ramfs know none.
/// Source: uapi/linux/loop.h, LOOP_CTL_GET_FREE, LOOP_CONFIGURE.
///
/// # Errors
/// When the kernel has no loop driver, or the file cannot be opened.
pub fn attach_part_read_only(dev: &Path, file: &Path, offset: u64, size: u64) -> Result<(PathBuf, OwnedFd)> {
    let backing = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let control_path = dev.join("loop-control");
    let control = OpenOptions::new().read(true).write(true).open(&control_path);
    let control = control.with_context(|| format!("opening {}", control_path.display()))?;
    let mut last = io::Error::other("no attempt");
    for _ in 0..ATTEMPTS {
        let number = free_number(&control).context("asking for a free loop device")?;
        let path = dev.join(format!("loop{number}"));
        let device = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        match configure(&device, &backing, offset, size) {
            Ok(()) => return Ok((path, device.into())),
            Err(error) => last = error,
        }
    }
    Err(last).with_context(|| format!("attaching {} to a loop device", file.display()))
}

/// Detaches the loop device at `path`; a file system still mounted from it keeps it until unmounted.
///
/// # Errors
/// When it is not attached.
pub fn detach(path: &Path) -> Result<()> {
    let device = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    clear(&device).with_context(|| format!("detaching {}", path.display()))
}

#[expect(unsafe_code, reason = "rustix has no loop device calls")]
fn free_number(control: &File) -> io::Result<i32> {
    // SAFETY: the descriptor is open, and LOOP_CTL_GET_FREE takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), uapi::LOOP_CTL_GET_FREE.into()) };
    if number < 0 { Err(io::Error::last_os_error()) } else { Ok(number) }
}

#[expect(unsafe_code, reason = "rustix has no loop device calls")]
fn configure(device: &File, backing: &File, offset: u64, size: u64) -> io::Result<()> {
    // SAFETY: loop_config is plain integers and arrays of them, for which zero is a value.
    let mut config: uapi::loop_config = unsafe { mem::zeroed() };
    config.fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
    config.info.lo_flags = uapi::LO_FLAGS_READ_ONLY as u32;
    config.info.lo_offset = offset;
    config.info.lo_sizelimit = size;
    // SAFETY: both descriptors are open, and the kernel reads exactly one loop_config, which outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), uapi::LOOP_CONFIGURE.into(), &raw const config) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "rustix has no loop device calls")]
fn clear(device: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and LOOP_CLR_FD takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), uapi::LOOP_CLR_FD.into()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
