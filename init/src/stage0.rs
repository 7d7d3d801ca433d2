//! Stage 0: from the initramfs to the real root, squashfs layers in RAM or on the boot medium under an overlay.
//! Ends by becoming `/usr/sbin/init` there. Must not know anything about the boot that follows.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::effects::mount::{MountFlags, mount, move_to, share};
use b2d_sys::effects::{clock, motd, process, root};
use b2d_sys::logging;

use crate::birth::Birth;
use crate::layers::{self, Layers};

/// Folder of the initramfs whose squashfs files make up the real root, the last by name on top.
const LAYERS: &str = "/layers";
/// PID 1's program in the initramfs.
const PROGRAM: &str = "/init";
/// Where PID 1's program lies in the real root.
const NEXT: &str = "/usr/sbin/init";
/// Where the layers are mounted, each below its own name.
const LOWER: &str = "/lower";
/// The real root's changes.
const CHANGES: &str = "/changes";
/// The real root.
const NEW_ROOT: &str = "/root.new";
/// Changes may fill this much of the memory, as boot2docker's root could.
const CHANGES_DATA: &str = "mode=0755,size=90%";

/// Tells whether we are the initramfs' `/init`.
pub fn is_wanted() -> bool {
    Path::new(LAYERS).is_dir()
}

/// Goes to the real root and becomes its PID 1.
///
/// # Errors
/// When a step fails; then we are still in the initramfs.
pub fn run() -> Result<Infallible> {
    let birth = Birth { began: clock::since_kernel_start(), used: clock::processor_time() };
    mount_kernel()?;
    mount_root()?;
    take_program_along()?;
    for name in ["dev", "proc", "sys"] {
        move_to(&Path::new("/").join(name), &Path::new(NEW_ROOT).join(name))?;
    }
    free_memory();
    root::switch(Path::new(NEW_ROOT))?;
    if let Err(error) = share(Path::new("/")) {
        log::warn!("{error:#}; volumes with shared propagation will not work");
    }
    let error = process::replace_self(Path::new(NEXT), &birth.words());
    Err(error).with_context(|| format!("becoming {NEXT}"))
}

/// Mounts what the kernel shows of itself, and opens console and log.
fn mount_kernel() -> Result<()> {
    let secure = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let table = [
        ("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755"),
        ("proc", "/proc", secure, ""),
        ("sysfs", "/sys", secure, ""),
    ];
    for (kind, target, flags, data) in table {
        let target = Path::new(target);
        fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
        mount(kind, target, kind, flags, data)?;
    }
    // Without a console the kernel gave us no streams; /dev/null will do then.
    root::attach_stdio(Path::new("/dev/console")).or_else(|_| root::attach_stdio(Path::new("/dev/null")))?;
    // Else the kernel drops records when many are written at once.
    let unlimited = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    logging::init("init");
    if let Err(error) = unlimited {
        log::warn!("writing /proc/sys/kernel/printk_devkmsg: {error}; the boot log may have gaps");
    }
    Ok(())
}

fn mount_root() -> Result<()> {
    for dir in [LOWER, CHANGES, NEW_ROOT] {
        fs::create_dir_all(dir).with_context(|| format!("making {dir}"))?;
    }
    let layers = Layers::read(Path::new(LAYERS))?;
    let medium = layers.medium()?;
    let mut lower = layers.mount(medium.as_ref(), Path::new(LOWER))?;
    mount("changes", Path::new(CHANGES), "tmpfs", MountFlags::empty(), CHANGES_DATA)?;
    let (upper, work) = (format!("{CHANGES}/upper"), format!("{CHANGES}/work"));
    for dir in [&upper, &work] {
        fs::create_dir(dir).with_context(|| format!("making {dir}"))?;
    }
    // overlayfs wants the topmost layer first.
    lower.reverse();
    let data = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    mount("overlay", Path::new(NEW_ROOT), "overlay", MountFlags::empty(), &data)?;
    if let Some(medium) = medium {
        let line = format!("programs are read from {}, which has to stay in", medium.device.display());
        layers::say(&line);
        if let Err(error) = motd::add(Path::new(NEW_ROOT), &[line]) {
            log::warn!("{error:#}");
        }
    }
    Ok(())
}

/// Puts the program that runs into the real root, so that it is not read and unpacked a second time. A layer with another PID 1
/// has the last word.
fn take_program_along() -> Result<()> {
    let next = Path::new(NEW_ROOT).join(NEXT.trim_start_matches('/'));
    // A link in a layer leads somewhere only once that root is ours.
    if fs::symlink_metadata(&next).is_err() {
        fs::copy(PROGRAM, &next).with_context(|| format!("copying {PROGRAM} to {}", next.display()))?;
    }
    Ok(())
}

/// Drops what the initramfs no longer needs; the layers stay, the loop devices read them.
fn free_memory() {
    if let Err(error) = fs::remove_file(PROGRAM) {
        log::debug!("removing {PROGRAM} from the initramfs: {error}");
    }
}
