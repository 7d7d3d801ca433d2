//! Keeps services' logs from filling disk or memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use b2d_sys::contract;

use super::Machine;
use super::jobs::{Owner, Patience};
use crate::service::Streams;
use crate::works::{PROGRAM, ROTATE_LOG, ROTATE_LOG_LIMIT};

/// A log on the data disk grows to this; as much again is kept in `NAME.log.1`.
const DISK_BYTES: u64 = 10 << 20;
/// The same for a log in memory.
const MEMORY_BYTES: u64 = 1 << 20;

impl Machine {
    /// Puts logs aside that have grown too big.
    pub(super) fn check_logs(&mut self) {
        for (log, limit) in self.logs() {
            // One that hangs is not joined by another.
            let is_busy = self.jobs.values().any(|job| job.rotates(&log));
            if is_busy || fs::metadata(&log).map_or(0, |meta| meta.len()) <= limit {
                continue;
            }
            log::info!("{} has grown beyond {} KiB, put aside", log.display(), limit >> 10);
            let argv = [PROGRAM, ROTATE_LOG, &log.to_string_lossy(), &limit.to_string()].map(str::to_owned);
            if let Err(error) = self.start_job(Owner::Log(log), &argv, Patience::KillAfter(ROTATE_LOG_LIMIT))
            {
                log::warn!("{error:#}");
            }
        }
    }

    /// Returns every log and what it may grow to.
    fn logs(&self) -> Vec<(PathBuf, u64)> {
        let of_services = self.units.values().filter_map(|unit| match &unit.service.streams {
            // A link says where the log is wanted; what is put aside is the log.
            Streams::Log(path) => Some(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
            Streams::Terminal(_) => None,
        });
        let logs: BTreeSet<PathBuf> = of_services.chain([contract::BOOTLOCAL_LOG.into()]).collect();
        let state = fs::canonicalize(contract::STATE_DIR).unwrap_or_else(|_| contract::STATE_DIR.into());
        let is_kept = |log: &PathBuf| self.is_on_disk && log.starts_with(&state);
        logs.into_iter()
            .map(|log| {
                let limit = if is_kept(&log) { DISK_BYTES } else { MEMORY_BYTES };
                (log, limit)
            })
            .collect()
    }
}
