//! Carries the steps out. When the data disk fails, the data is kept in RAM instead, and the reason is said.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use b2d_sys::contract::{DATA_DISK_FILE, RUN_DIR};
use b2d_sys::effects::btrfs;
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::files::{ensure_dir, read_optional, replace_symlink, write_atomic};
use b2d_sys::effects::mount::{self, MountFlags, UnmountFlags};
use b2d_sys::effects::swap::{self, Discard};

use crate::model::FilesystemKind;
use crate::plan;
use crate::step::{Mount, Policy, Source, Step, Store, Summary};
use crate::{check, format, swap_space};

/// Growing is a matter of seconds: the new part is laid out as it is used.
const GROW_SECS: u64 = 120;

/// Returns what an earlier run of this boot recorded, on one line.
///
/// # Errors
/// When the record cannot be read.
pub fn recorded_outcome() -> Result<Option<String>> {
    let record =
        read_optional(Path::new(DATA_DISK_FILE)).with_context(|| format!("reading {DATA_DISK_FILE}"))?;
    Ok(record.map(|record| String::from_utf8_lossy(&record).trim().replace('\n', ", ")))
}

/// Makes the data directories; returns where they ended up.
///
/// # Errors
/// When not even RAM could be used; the text names the step.
pub fn apply(store: &Store) -> Result<Summary> {
    let Err(error) = carry_out(&store.steps, &store.summary) else { return Ok(store.summary.clone()) };
    if store.summary.source == Source::Ram {
        return Err(error);
    }
    let reason = format!("{} was not used: {error:#}", store.summary.device);
    log::error!("{reason}");
    leave(&store.summary.mountpoint);
    let ram = plan::ram(reason);
    carry_out(&ram.steps, &ram.summary)?;
    Ok(ram.summary)
}

/// Switches swap on; what fails is logged.
pub fn apply_swap(steps: &[Step], summary: &Summary) {
    if let Err(error) = carry_out(steps, summary) {
        log::warn!("{error:#}");
    }
}

fn carry_out(steps: &[Step], summary: &Summary) -> Result<()> {
    for step in steps {
        log::debug!("{step}");
        match (carry_out_one(step, summary), step.policy()) {
            (Err(error), Policy::Optional) => log::warn!("{step}: {error:#}; going on without"),
            (result, _) => result?,
        }
    }
    Ok(())
}

fn carry_out_one(step: &Step, summary: &Summary) -> Result<()> {
    match step {
        Step::Format(formatting) => format::format(formatting),
        Step::FinishTable { disk } => format::finish_table(disk),
        Step::GrowPartition { disk, extent } => format::grow_partition(disk, *extent),
        Step::Check(device) => check::check(device),
        Step::Mount(Mount { source, target, fstype, options }) => {
            ensure_dir(target, 0o755, None)?;
            mount::mount(source, target, fstype, MountFlags::empty(), options)
        }
        Step::GrowFilesystem { device, mountpoint, kind } => grow(device, mountpoint, *kind),
        Step::Dir(path, mode) => ensure_dir(path, *mode, None),
        Step::EmptyTmp(path, mode) => {
            remove_tree(path).with_context(|| format!("emptying {}", path.display()))?;
            ensure_dir(path, *mode, None)
        }
        Step::Link(target, link) => replace_symlink(target, link),
        Step::LinkTmp(target, link) => {
            if !fs::symlink_metadata(target).is_ok_and(|meta| meta.is_dir()) {
                bail!("{} is no directory", target.display());
            }
            replace_symlink(target, link)
        }
        Step::Record => record(summary),
        Step::SwapOn(device, priority) => swap::on(Path::new(device), *priority, Discard::Yes),
        Step::Zram(bytes, priority) => swap_space::compressed_memory(*bytes, *priority),
    }
}

fn grow(device: &str, mountpoint: &Path, kind: FilesystemKind) -> Result<()> {
    match kind {
        FilesystemKind::Btrfs => btrfs::grow(mountpoint)?,
        _ => drop(Cmd::new("/usr/sbin/resize2fs").arg(device).run(Deadline::secs(GROW_SECS))?),
    }
    log::info!("the file system on {device} was grown");
    Ok(())
}

/// Deletes a directory with its content. A link is deleted, not what it leads to.
fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn record(summary: &Summary) -> Result<()> {
    ensure_dir(Path::new(RUN_DIR), 0o755, None)?;
    write_atomic(Path::new(DATA_DISK_FILE), summary.record().as_bytes(), 0o644, None)
}

/// Unmounts a disk that was mounted but cannot be used. The links are about to lead elsewhere.
fn leave(mountpoint: &Path) {
    let is_mounted = mount::table().is_ok_and(|table| table.iter().any(|mount| mount.target == mountpoint));
    if is_mounted && let Err(error) = mount::unmount(mountpoint, UnmountFlags::empty()) {
        log::warn!("{error:#}");
    }
}
