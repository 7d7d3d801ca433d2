//! Swap space: switching it on, moving memory there, giving it up.

use std::ffi::CString;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::process::Pid;

/// "The priority is given." Source: swapon(2).
const PREFER: libc::c_int = 0x8000;
/// "Discard freed pages"; without further flags also all of them at first. Source: swapon(2).
const DISCARD: libc::c_int = 0x10000;
/// The bits that hold the priority.
const PRIORITY_MASK: libc::c_int = 0x7fff;

/// Whether a device is told which pages are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// A disk may give them back to its host.
    Yes,
    /// Compressed memory hears of each page anyway, and would go through all of them at the start.
    No,
}

/// Lets the kernel swap to `device`; of several, the one with the highest priority is filled first.
///
/// # Errors
/// When there is no swap signature, or it is in use already.
pub fn on(device: &Path, priority: u16, discard: Discard) -> Result<()> {
    switch_on(device, flags(priority, discard))
        .with_context(|| format!("switching swap on {} on", device.display()))
}

#[expect(unsafe_code, reason = "rustix has no swap calls")]
fn switch_on(device: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: `path` is a NUL-terminated string that outlives the call, which keeps no reference to it.
    let result = unsafe { libc::swapon(path.as_ptr(), flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn flags(priority: u16, discard: Discard) -> libc::c_int {
    let discard = if discard == Discard::Yes { DISCARD } else { 0 };
    PREFER | discard | (libc::c_int::from(priority) & PRIORITY_MASK)
}

/// Reads what the kernel swaps to, below `root`.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn areas(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(read(root)?
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(PathBuf::from)
        .collect())
}

/// Reads how many bytes still fit into compressed memory that the kernel swaps to, below `root`.
/// Source: `proc_swaps(5)`; Linux `Documentation/admin-guide/blockdev/zram.rst` for the name.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn compressed_room(root: &Path) -> Result<u64> {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|device| device.starts_with("/dev/zram"))?;
        let (size, used) = (words.nth(1)?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
        Some(size.saturating_sub(used) << 10)
    };
    Ok(read(root)?.lines().filter_map(of_line).sum())
}

fn read(root: &Path) -> Result<String> {
    let path = root.join("proc/swaps");
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Has the kernel move these addresses of a process into swap. One that has ended, or addresses it has given up meanwhile, are no
/// error.
///
/// # Errors
/// When we may not, or the kernel cannot.
pub fn page_out(pid: Pid, addresses: &[Range<usize>]) -> io::Result<()> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    addresses.iter().try_for_each(|range| match advise(process.as_fd(), range) {
        // Gone with its process, given up, or locked.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOMEM | libc::EINVAL)) => {
            Ok(())
        }
        outcome => outcome,
    })
}

/// Source: `process_madvise(2)`.
#[expect(unsafe_code, reason = "rustix has no advice for other processes' memory")]
fn advise(process: BorrowedFd<'_>, range: &Range<usize>) -> io::Result<()> {
    let range = libc::iovec { iov_base: range.start as *mut libc::c_void, iov_len: range.len() };
    let (process, advice) = (process.as_raw_fd(), libc::MADV_PAGEOUT);
    // SAFETY: the call reads one iovec that outlives it; its address is the other process', in which nothing changes but where
    // pages lie.
    let result = unsafe { libc::syscall(libc::SYS_process_madvise, process, &raw const range, 1, advice, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes everything back from a swap area, after which its file system can be unmounted.
///
/// # Errors
/// When it is none, or memory is too small for what lies there.
#[expect(unsafe_code, reason = "rustix has no swapoff")]
pub fn stop(area: &Path) -> Result<()> {
    let name = CString::new(area.as_os_str().as_bytes()).context("naming a swap area")?;
    // SAFETY: the name is a string that ends in NUL and outlives the call.
    let result = unsafe { libc::swapoff(name.as_ptr()) };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).with_context(|| format!("giving up swap on {}", area.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_named_in_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("proc")).unwrap();
        let text =
            "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n/mnt/sda1/swap file 1 0 -3\n";
        fs::write(dir.path().join("proc/swaps"), text).unwrap();
        assert_eq!(areas(dir.path()).unwrap(), ["/dev/sda2", "/mnt/sda1/swap"].map(PathBuf::from));
    }

    #[test]
    fn only_compressed_memory_has_room() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("proc")).unwrap();
        for (lines, room) in [
            ("", 0),
            ("/dev/vda2 partition 1023996 0 -2\n", 0),
            ("/dev/vda2 partition 1023996 0 -2\n/dev/zram0 partition 1000 400 100\n", 600 << 10),
        ] {
            let text = format!("Filename Type Size Used Priority\n{lines}");
            fs::write(dir.path().join("proc/swaps"), text).unwrap();
            assert_eq!(compressed_room(dir.path()).unwrap(), room, "{lines}");
        }
    }

    #[test]
    fn only_a_disk_is_told_what_is_free() {
        assert_eq!(flags(10, Discard::Yes), 0x1_800a);
        assert_eq!(flags(100, Discard::No), 0x8064);
    }

    #[test]
    fn an_absent_device_is_named() {
        let error = on(Path::new("/no/such/swap"), 1, Discard::Yes).unwrap_err();
        assert_eq!(error.to_string(), "switching swap on /no/such/swap on");
    }
}
