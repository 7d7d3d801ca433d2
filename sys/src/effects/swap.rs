//! Swap space: switching it on, giving it up.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

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
    let path = root.join("proc/swaps");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(PathBuf::from).collect())
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
