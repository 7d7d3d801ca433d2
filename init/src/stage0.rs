//! Stage 0: from the initramfs to the real root, squashfs layers in RAM or on the boot medium under an overlay.
//! Ends by becoming `/usr/sbin/init` there. Must not know anything about the boot that follows.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::effects::mount::{MountFlags, mount, move_to, share};
use b2d_sys::effects::{clock, console, loopdev, motd, process, root};
use b2d_sys::logging;

use crate::birth::Birth;
use crate::facts;
use crate::medium::{self, Medium};

/// Folder of the initramfs whose squashfs files make up the real root, the last by name on top.
const LAYERS: &str = "/layers";
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
    let names = layers(Path::new(LAYERS))?;
    let medium = medium(&names);
    let mut lower = Vec::new();
    for name in names {
        lower.push(mount_layer(&name, medium.as_ref())?);
    }
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
        tell(&format!("programs are read from {}, which has to stay in", medium.device.display()));
    }
    Ok(())
}

/// Returns the boot medium if the layers are to be read from there and can be.
fn medium(names: &[String]) -> Option<Medium> {
    let line = KernelCmdline::read(Path::new("/")).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        KernelCmdline::parse("")
    });
    let option = line.get("b2d.root");
    if let Some(other) = option.filter(|value| !medium::VALUES.contains(value)) {
        say(&format!("b2d.root={other}: allowed are {}; programs stay in memory", medium::VALUES.join(", ")));
    }
    if !medium::is_wanted(option, facts::memory_kib(Path::new("/"))) {
        return None;
    }
    let medium = Medium::find(Path::new(LAYERS), names);
    if medium.is_none() {
        let line = "the ISO that was booted is on no disk that is here by now: its programs stay in memory";
        if option.is_some() { say(line) } else { log::info!("{line}") }
    }
    medium
}

/// Tells people on the consoles.
fn say(line: &str) {
    log::warn!("{line}");
    console::say(&[line.to_owned()]);
}

/// Tells people on the consoles and at logins.
fn tell(line: &str) {
    say(line);
    if let Err(error) = motd::add(Path::new(NEW_ROOT), &[line.to_owned()]) {
        log::warn!("{error:#}");
    }
}

/// Returns the names of the layers below `dir`, the lowest first.
fn layers(dir: &Path) -> Result<Vec<String>> {
    let listing = || format!("listing the layers in {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(listing)? {
        let name = entry.with_context(listing)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".squashfs") {
            names.push(name);
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "{}: there is no *.squashfs, so there is no root to go to", dir.display());
    Ok(names)
}

/// Mounts one layer and returns where; one on the medium takes no memory any more.
fn mount_layer(name: &str, medium: Option<&Medium>) -> Result<String> {
    let target = format!("{LOWER}/{name}");
    fs::create_dir(&target).with_context(|| format!("making {target}"))?;
    let in_memory = Path::new(LAYERS).join(name);
    let on_medium = medium.and_then(|medium| {
        medium.attach(name).inspect_err(|error| log::warn!("{error:#}; it stays in memory")).ok()
    });
    let takes_memory = on_medium.is_none();
    let (device, _keep_until_mounted) = match on_medium {
        Some(attached) => attached,
        None => loopdev::attach_read_only(Path::new("/dev"), &in_memory)?,
    };
    mount(&device.to_string_lossy(), Path::new(&target), "squashfs", MountFlags::RDONLY, "")?;
    if !takes_memory {
        fs::remove_file(&in_memory).with_context(|| format!("removing {}", in_memory.display()))?;
    }
    Ok(target)
}

/// Drops what the initramfs no longer needs; the layers stay, the loop devices read them.
fn free_memory() {
    if let Err(error) = fs::remove_file("/init") {
        log::debug!("removing /init from the initramfs: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_stacked_by_name_and_other_files_are_no_layers() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["50-boot2docker.squashfs", "10-base.squashfs", "readme"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(layers(dir.path()).unwrap(), ["10-base.squashfs", "50-boot2docker.squashfs"]);
    }

    #[test]
    fn an_initramfs_without_layers_is_told_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let error = layers(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("there is no *.squashfs, so there is no root to go to"), "{error}");
    }
}
