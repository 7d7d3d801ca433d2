//! Telling the kernel about partitions, whether or not a table on the disk says the same yet.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use linux_raw_sys::ioctl::BLKPG;

/// Operations of the call. Source: uapi/linux/blkpg.h.
const ADD: libc::c_int = 1;
const REMOVE: libc::c_int = 2;
const RESIZE: libc::c_int = 3;

/// Source: uapi/linux/blkpg.h, struct blkpg_ioctl_arg.
#[repr(C)]
struct Call {
    op: libc::c_int,
    flags: libc::c_int,
    data_len: libc::c_int,
    data: *const Entry,
}

/// Source: uapi/linux/blkpg.h, struct blkpg_partition.
#[repr(C)]
struct Entry {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    names: [u8; 128],
}

/// A partition as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its number, from 1.
    pub number: u32,
    /// Unit: bytes.
    pub start: u64,
    /// Unit: bytes.
    pub length: u64,
}

/// Makes the kernel show a partition of `disk`; its node is there when this returns.
///
/// # Errors
/// When the number is taken, or the place overlaps another partition.
pub fn add(disk: &Path, extent: Extent) -> Result<()> {
    call(disk, ADD, extent)
        .with_context(|| format!("adding partition {} of {}", extent.number, disk.display()))
}

/// Makes the kernel forget a partition of `disk`; the disk does not change.
///
/// # Errors
/// When there is none of this number, or it is in use.
pub fn remove(disk: &Path, number: u32) -> Result<()> {
    call(disk, REMOVE, Extent { number, start: 0, length: 0 })
        .with_context(|| format!("removing partition {number} of {}", disk.display()))
}

/// Tells the kernel the new length of a partition of `disk`, which may be in use.
///
/// # Errors
/// When it does not start where the kernel thinks, or would overlap another.
pub fn resize(disk: &Path, extent: Extent) -> Result<()> {
    call(disk, RESIZE, extent)
        .with_context(|| format!("resizing partition {} of {}", extent.number, disk.display()))
}

/// Tells whether nobody has mounted or claimed the device: then opening it for oneself alone succeeds.
///
/// # Errors
/// When it cannot be opened for another reason.
pub fn is_unused(device: &Path) -> io::Result<bool> {
    match OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(device) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(error) => Err(error),
    }
}

#[expect(unsafe_code, reason = "rustix has no partition calls")]
fn call(disk: &Path, op: libc::c_int, extent: Extent) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let number = libc::c_int::try_from(extent.number).map_err(io::Error::other)?;
    let [start, length] = [extent.start, extent.length]
        .map(|bytes| libc::c_longlong::try_from(bytes).map_err(io::Error::other));
    let entry = Entry { start: start?, length: length?, number, names: [0; 128] };
    let data_len = libc::c_int::try_from(size_of::<Entry>()).map_err(io::Error::other)?;
    let call = Call { op, flags: 0, data_len, data: &raw const entry };
    // SAFETY: the descriptor is open, and the kernel reads one Call and the Entry it points to, which both outlive it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), BLKPG.into(), &raw const call) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        assert_eq!((size_of::<Call>(), size_of::<Entry>()), (24, 152));
    }

    #[test]
    fn a_file_is_no_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = remove(file.path(), 1).unwrap_err();
        assert_eq!(error.to_string(), format!("removing partition 1 of {}", file.path().display()));
    }
}
