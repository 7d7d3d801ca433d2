//! Has e2fsck repair what can be repaired without asking, and undoes all of it when that is not everything: a file system
//! that needs somebody's decision is to be found as it was.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
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
/// "Operational error", such as no space for the record; below it are findings. Source: e2fsck(8).
const FAILED: i32 = 8;
/// The superblock, boot sector before it included. e2undo writes it last, with the time of that.
const HEAD_BYTES: usize = 2048;

/// Checks the ext file system on `device`. Its journal is replayed first, as every mount would.
///
/// # Errors
/// When it has errors that need a decision, or the check does not end in time; then all is as it was before.
pub fn check(device: &str) -> Result<()> {
    ensure_dir(Path::new(RUN_DIR), 0o755, None)?;
    let records = [Record::new("journal.undo")?, Record::new("e2fsck.undo")?];
    let head = read_head(device).with_context(|| format!("reading the superblock of {device}"))?;
    replay(device, &records[0])?;
    match repair(device, &records[1]) {
        Ok(()) => Ok(()),
        Err(error) => {
            // e2fsck tells its findings on standard output.
            if let CmdError::Failed { stdout, .. } = &error {
                log::error!("{device}: {}", String::from_utf8_lossy(stdout).trim());
            }
            match take_back(device, &records, &head) {
                Ok(()) => log::info!("{device} is as it was before the check"),
                Err(error) => log::error!("{device} is not as it was before the check: {error:#}"),
            }
            Err(anyhow!(error).context(format!("it needs a decision by hand: run e2fsck {device}")))
        }
    }
}

/// What e2fsck overwrote, in memory; gone when dropped.
struct Record(PathBuf);

impl Record {
    fn new(name: &str) -> Result<Self> {
        let record = Self(Path::new(RUN_DIR).join(name));
        record.forget()?;
        Ok(record)
    }

    fn forget(&self) -> Result<()> {
        remove_if_exists(&self.0).with_context(|| format!("removing {}", self.0.display()))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Err(error) = self.forget() {
            log::debug!("{error:#}");
        }
    }
}

/// Replays the journal. A large one may not fit into memory a second time: then it is replayed without record, as leaving
/// a file system unused for that would be worse.
fn replay(device: &str, record: &Record) -> Result<()> {
    let replay = Cmd::new(E2FSCK).args(["-p", "-E", "journal_only"]);
    let recorded = replay.clone().arg("-z").arg(&record.0).arg(device);
    match recorded.run(Deadline::secs(JOURNAL_SECS)) {
        Ok(_) => return Ok(()),
        // What it has found and done is on record; the check that follows has the word on it.
        Err(CmdError::Failed { status, .. }) if status.code().is_some_and(|code| code < FAILED) => {
            return Ok(());
        }
        Err(error) => log::debug!("{error}"),
    }
    // It begins anew: a journal may be replayed twice.
    record.forget()?;
    // What is wrong with the file system itself comes to light in the check that follows.
    if let Err(error) = replay.arg(device).run(Deadline::secs(JOURNAL_SECS)) {
        log::debug!("{error}");
    }
    Ok(())
}

fn repair(device: &str, record: &Record) -> Result<(), CmdError> {
    let check = Cmd::new(E2FSCK).args(["-p", "-z"]).arg(&record.0).arg(device);
    match check.run(Deadline::secs(CHECK_SECS)) {
        Ok(output) => log::debug!("{}", output.text()),
        Err(CmdError::Failed { status, stdout, .. })
            if status.code().is_some_and(|code| CORRECTED.contains(&code)) =>
        {
            log::warn!("{device} was repaired: {}", String::from_utf8_lossy(&stdout).trim());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Restores what was overwritten, the last first.
fn take_back(device: &str, records: &[Record], head: &[u8]) -> Result<()> {
    records.iter().rev().try_for_each(|record| take_back_one(device, record))?;
    let write = || {
        let file = OpenOptions::new().write(true).open(device)?;
        file.write_all_at(head, 0)?;
        file.sync_all()
    };
    write().with_context(|| format!("restoring the superblock of {device}"))
}

fn take_back_one(device: &str, record: &Record) -> Result<()> {
    if record.0.exists() {
        // By force: e2fsck may have been killed, and then its record does not end in order.
        Cmd::new(E2UNDO).arg("-f").arg(&record.0).arg(device).run(Deadline::secs(UNDO_SECS))?;
    }
    Ok(())
}

fn read_head(device: &str) -> std::io::Result<[u8; HEAD_BYTES]> {
    let mut head = [0; HEAD_BYTES];
    File::open(device)?.read_exact_at(&mut head, 0)?;
    Ok(head)
}
