//! The end of all file systems: written out and unmounted, deepest first.
//! Runs in a child of PID 1, so that a file system that hangs cannot hang PID 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use b2d_sys::contract;
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::mount::{self, UnmountFlags};
use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::{loopdev, swap};
use b2d_sys::mountinfo::MountEntry;

use crate::consoles::Consoles;
use crate::power::PHASES;
use crate::works::{SYNC, UNMOUNT_ALL};

/// Writing out goes through every file system in turn: one whose server is gone must not hold up the others.
const SYNC_LIMIT: Duration = Duration::from_secs(5);
/// File systems of others; they may not answer any more, and are let go rather than waited for.
const REMOTE: [&str; 9] = ["9p", "ceph", "cifs", "fuse", "nfs", "nfs4", "smb3", "vboxsf", "virtiofs"];
/// File systems of the kernel and of PID 1, and what lies in them: nothing there outlives the machine.
const KEPT: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// How long a mount may be busy: until one above it is gone, and killed processes have died, which takes a busy host
/// seconds.
const BUSY_LIMIT: Duration = Duration::from_secs(7);
/// Pause between rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// Unmounts everything in a child process, within the last phase's bound.
pub fn unmount_in_child() {
    let limit = PHASES[PHASES.len() - 1].1;
    if let Err(error) = Cmd::new("/proc/self/exe").arg(UNMOUNT_ALL).run(Deadline::after(limit)) {
        log::error!("unmounting: {error}; the machine ends regardless");
    }
}

/// Writes out, unmounts, detaches; says on the consoles how that went.
///
/// # Errors
/// When the mount table cannot be read.
pub fn unmount_all() -> Result<()> {
    if let Err(error) = Cmd::new("/proc/self/exe").arg(SYNC).run(Deadline::after(SYNC_LIMIT)) {
        log::warn!("writing everything out: {error}");
    }
    stop_swapping();
    let deadline = Deadline::after(BUSY_LIMIT);
    while let Some(error) = unmount_once()? {
        detach_loops();
        if deadline.has_passed() {
            log::warn!("{error:#}");
            break;
        }
        poll::wait(&[] as &[(_, Interest)], Some(PAUSE))?;
    }
    detach_loops();
    for (target, _) in unmount_order(&mount::table()?) {
        if let Err(error) = mount::remount_read_only(&target) {
            log::warn!("{error:#}");
        }
    }
    let mut consoles = Consoles::open();
    let left = unclean(&mount::table()?);
    if left.is_empty() {
        consoles.print(contract::CLEAN_END);
    } else {
        consoles.print(&format!("boot2docker: still mounted for writing: {}", left.join(", ")));
    }
    Ok(())
}

/// Tries each mount; returns why the first that stays does.
fn unmount_once() -> Result<Option<anyhow::Error>> {
    let mut first = None;
    for (target, flags) in unmount_order(&mount::table()?) {
        if let Err(error) = mount::unmount(&target, flags) {
            first.get_or_insert(error);
        }
    }
    Ok(first)
}

/// Returns the mount points to unmount, the latest mount first, and how.
fn unmount_order(table: &[MountEntry]) -> Vec<(PathBuf, UnmountFlags)> {
    let is_ours =
        |target: &Path| target == Path::new("/") || KEPT.iter().any(|kept| target.starts_with(kept));
    let is_network_namespace = |entry: &MountEntry| entry.fstype == "nsfs";
    let mut targets: Vec<(PathBuf, UnmountFlags)> = table
        .iter()
        .filter(|entry| !is_ours(&entry.target) || is_network_namespace(entry))
        .map(|entry| (entry.target.clone(), flags(entry)))
        .collect();
    targets.reverse();
    targets
}

fn flags(entry: &MountEntry) -> UnmountFlags {
    let kind = entry.fstype.split('.').next().unwrap_or_default();
    if REMOTE.contains(&kind) { UnmountFlags::FORCE | UnmountFlags::DETACH } else { UnmountFlags::empty() }
}

/// A swap file would keep its file system busy.
fn stop_swapping() {
    for area in swap::areas(Path::new("/")).unwrap_or_default() {
        if let Err(error) = swap::stop(&area) {
            log::warn!("{error:#}");
        }
    }
}

/// Names the file systems on devices that could still be written to.
fn unclean(table: &[MountEntry]) -> Vec<String> {
    let is_unclean = |entry: &&MountEntry| entry.source.starts_with("/dev/") && !entry.is_read_only();
    table.iter().filter(is_unclean).map(|entry| entry.target.display().to_string()).collect()
}

/// Detaches loop devices; the one below the root stays busy and therefore attached.
fn detach_loops() {
    let Ok(entries) = fs::read_dir("/sys/block") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_attached = name.starts_with("loop") && entry.path().join("loop/backing_file").exists();
        if is_attached && let Err(error) = loopdev::detach(&Path::new("/dev").join(&name)) {
            log::debug!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use b2d_sys::mountinfo;

    use super::*;

    #[test]
    fn deepest_comes_first_and_the_kernels_own_stay() {
        let table = mountinfo::parse(
            "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw - proc proc rw\n\
             3 1 8:1 / /mnt/sda1 rw - ext4 /dev/sda1 rw\n4 3 0:9 / /mnt/sda1/shm rw - tmpfs shm rw\n\
             5 1 0:3 / /run rw - tmpfs run rw\n6 5 0:4 net:[1] /run/docker/netns/x rw - nsfs nsfs rw\n\
             7 1 11:0 / /media ro - iso9660 /dev/sr0 ro\n8 1 0:7 / /Users rw - fuse.vmhgfs-fuse x rw\n",
        )
        .unwrap();
        let (gently, let_go) = (UnmountFlags::empty(), UnmountFlags::FORCE | UnmountFlags::DETACH);
        let order = [
            ("/Users", let_go),
            ("/media", gently),
            ("/run/docker/netns/x", gently),
            ("/mnt/sda1/shm", gently),
            ("/mnt/sda1", gently),
        ];
        assert_eq!(unmount_order(&table), order.map(|(target, flags)| (target.into(), flags)));
        assert_eq!(unclean(&table), ["/mnt/sda1"]);
    }
}
