//! Blocks of devices: where a file lies, and reading past the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use linux_raw_sys::ioctl::{FIBMAP, FIGETBSZ};

/// Returns where the first byte of a file lies on the device of its file system. Unit: bytes.
///
/// Source: uapi/linux/fs.h, FIBMAP, FIGETBSZ.
///
/// # Errors
/// When the file system has no such place for it, as tmpfs, or without the right `CAP_SYS_RAWIO`.
pub fn first_byte(file: &File) -> io::Result<u64> {
    // In: number of the block in the file. Out: its number on the device.
    let block = number(file, FIBMAP, 0)?;
    if block == 0 {
        return Err(io::Error::other("the file has no block"));
    }
    Ok(u64::from(block) * u64::from(number(file, FIGETBSZ, 0)?))
}

/// Opens a device for reading past the page cache; what the kernel only reads through it is opened like any file.
///
/// Places read from, lengths and memory are to be multiples of the device's blocks then.
///
/// # Errors
/// When it cannot be opened.
pub fn open_for_reading_once(device: &Path) -> Result<File> {
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(device);
    let opened = match direct {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => File::open(device),
        opened => opened,
    };
    opened.with_context(|| format!("opening {}", device.display()))
}

#[expect(unsafe_code, reason = "rustix has no calls for blocks of files")]
fn number(file: &File, request: u32, mut value: u32) -> io::Result<u32> {
    // SAFETY: the descriptor is open, and both requests read and write one int, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request.into(), &raw mut value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_memory_has_no_place() {
        first_byte(&File::open("/proc/self/status").unwrap()).unwrap_err();
    }
}
