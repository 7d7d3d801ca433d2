//! Carries the steps out. When the data disk fails, the data is kept in RAM instead, and the reason is said.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use b2d_sys::contract::{DATA_DISK_FILE, RUN_DIR};
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline};
use b2d_sys::effects::files::{ensure_dir, read_optional, replace_symlink, write_atomic};
use b2d_sys::effects::mount::{self, MountFlags, UnmountFlags};

use crate::plan::{self, Source, Step, Store, Summary};

/// A journal is replayed in a second; a full check of a large disk takes minutes. PID 1's own limit must be longer.
const CHECK_SECS: u64 = 240;
/// "File system errors corrected", "and the system should be rebooted" (only if it was mounted). Source: e2fsck(8).
const CORRECTED: &[i32] = &[1, 2];
/// "File system errors left uncorrected".
const UNCORRECTED: i32 = 4;

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
    let Err(error) = carry_out(store) else { return Ok(store.summary.clone()) };
    if store.summary.source == Source::Ram {
        return Err(error);
    }
    let reason = format!("{} was not used: {error:#}", store.summary.device);
    log::error!("{reason}");
    leave(&store.summary.mountpoint);
    let ram = plan::ram(reason);
    carry_out(&ram)?;
    Ok(ram.summary)
}

fn carry_out(store: &Store) -> Result<()> {
    for step in &store.steps {
        log::debug!("{step}");
        match step {
            Step::Check(device) => check(device)?,
            Step::Mount { source, target, fstype, options } => {
                ensure_dir(target, 0o755, None)?;
                mount::mount(source, target, fstype, MountFlags::empty(), options)?;
            }
            Step::Dir(path, mode) => ensure_dir(path, *mode, None)?,
            Step::FreshDir(path, mode) => {
                remove_tree(path).with_context(|| format!("emptying {}", path.display()))?;
                ensure_dir(path, *mode, None)?;
            }
            Step::Link(target, link) => replace_symlink(target, link)?,
            Step::Record => record(&store.summary)?,
        }
    }
    Ok(())
}

fn check(device: &str) -> Result<()> {
    match Cmd::new("/usr/sbin/e2fsck").args(["-p", device]).run(Deadline::secs(CHECK_SECS)) {
        Ok(output) => log::debug!("{}", output.text()),
        Err(CmdError::Failed { status, stdout, .. })
            if status.code().is_some_and(|c| CORRECTED.contains(&c)) =>
        {
            log::warn!("{device} was repaired: {}", String::from_utf8_lossy(&stdout).trim());
        }
        // e2fsck tells its findings on standard output.
        Err(CmdError::Failed { stdout, status, .. }) if status.code() == Some(UNCORRECTED) => {
            log::error!("{device}: {}", String::from_utf8_lossy(&stdout).trim());
            bail!("its errors need a decision by hand: run e2fsck {device}");
        }
        Err(error) => return Err(error).with_context(|| format!("checking {device}")),
    }
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
