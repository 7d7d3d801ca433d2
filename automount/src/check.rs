//! Has e2fsck repair what can be repaired without asking, and undoes all of it when that is not everything: a file system
//! that needs somebody's decision is to be found as it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use b2d_sys::contract::RUN_DIR;
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline};
use b2d_sys::effects::files::{ensure_dir, remove_if_exists};

const E2FSCK: &str = "/usr/sbin/e2fsck";
const E2UNDO: &str = "/usr/sbin/e2undo";
/// A journal is replayed in seconds.
const JOURNAL_SECS: u64 = 120;
/// A full check of a large disk takes minutes. PID 1's own limit must be longer than all of these.
const CHECK_SECS: u64 = 240;
const UNDO_SECS: u64 = 60;
/// "File system errors corrected", "and the system should be rebooted" (only if it was mounted). Source: e2fsck(8).
const CORRECTED: &[i32] = &[1, 2, 3];

/// Checks the ext file system on `device`. Its journal is replayed first, as every mount would.
///
/// # Errors
/// When it has errors that need a decision, or the check does not end in time; then no repair was made.
pub fn check(device: &str) -> Result<()> {
    let journal = Cmd::new(E2FSCK).args(["-p", "-E", "journal_only", device]);
    if let Err(error) = journal.run(Deadline::secs(JOURNAL_SECS)) {
        log::debug!("{error}");
    }
    ensure_dir(Path::new(RUN_DIR), 0o755, None)?;
    let undo = Path::new(RUN_DIR).join("e2fsck.undo");
    remove_if_exists(&undo).with_context(|| format!("removing {}", undo.display()))?;
    let result = check_undoably(device, &undo);
    remove_if_exists(&undo).with_context(|| format!("removing {}", undo.display()))?;
    result
}

fn check_undoably(device: &str, undo: &PathBuf) -> Result<()> {
    match Cmd::new(E2FSCK).args(["-p", "-z"]).arg(undo).arg(device).run(Deadline::secs(CHECK_SECS)) {
        Ok(output) => log::debug!("{}", output.text()),
        Err(CmdError::Failed { status, stdout, .. })
            if status.code().is_some_and(|code| CORRECTED.contains(&code)) =>
        {
            log::warn!("{device} was repaired: {}", String::from_utf8_lossy(&stdout).trim());
        }
        Err(error) => {
            // e2fsck tells its findings on standard output.
            if let CmdError::Failed { stdout, .. } = &error {
                log::error!("{device}: {}", String::from_utf8_lossy(stdout).trim());
            }
            take_back(device, undo);
            return Err(anyhow!(error).context(format!("it needs a decision by hand: run e2fsck {device}")));
        }
    }
    Ok(())
}

/// Restores what e2fsck overwrote before it gave up.
fn take_back(device: &str, undo: &PathBuf) {
    if !undo.exists() {
        return;
    }
    // By force: e2fsck may have been killed, and then its record does not end in order.
    match Cmd::new(E2UNDO).arg("-f").arg(undo).arg(device).run(Deadline::secs(UNDO_SECS)) {
        Ok(_) => log::info!("{device} is as it was before the check"),
        Err(error) => log::error!("{device} is not as it was before the check: {error}"),
    }
}
