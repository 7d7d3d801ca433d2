//! What is looked after as long as the machine runs: logs, and the memory of idle daemons.

use std::fs;
use std::path::Path;
use std::time::Duration;

use b2d_sys::contract::SERVICES_CGROUP;
use b2d_sys::effects::swap;

use super::Machine;
use super::jobs::{Owner, Patience};
use crate::idle::{self, Look};
use crate::plan::services::DAEMONS;
use crate::works::{PAGE_OUT, PAGE_OUT_LIMIT, PROGRAM};

/// How often: a service that writes 20 MB/s to its log is caught at 300 MB.
const INTERVAL: Duration = Duration::from_secs(15);
/// How gladly the kernel swaps. Source: Linux `Documentation/admin-guide/sysctl/vm.rst`.
const SWAPPINESS: &str = "/proc/sys/vm/swappiness";

impl Machine {
    /// Begins to look after them.
    pub(super) fn begin_upkeep(&mut self, now: Duration) {
        self.upkeep_at = Some(now + INTERVAL);
    }

    /// Looks after them when it is time.
    pub(super) fn upkeep(&mut self, now: Duration) {
        if self.shutdown.is_some() || self.upkeep_at.is_none_or(|at| now < at) {
            return;
        }
        self.upkeep_at = Some(now + INTERVAL);
        self.check_logs();
        self.check_daemons(now);
    }

    /// Has the memory of idle daemons moved into compressed swap.
    fn check_daemons(&mut self, now: Duration) {
        let Some(look) = look(now) else { return };
        if !may_move(look.bytes) || !self.idle.is_due(look) {
            return;
        }
        log::debug!("Docker is idle; {} KiB are moved into compressed memory", look.bytes >> 10);
        let argv: Vec<String> = [PROGRAM, PAGE_OUT].into_iter().chain(DAEMONS).map(str::to_owned).collect();
        if let Err(error) = self.start_job(Owner::Nobody, &argv, Patience::KillAfter(PAGE_OUT_LIMIT)) {
            log::warn!("{error:#}");
        }
    }
}

/// Returns what the daemons have used; None without cgroups, or before they run.
fn look(at: Duration) -> Option<Look> {
    let read = |daemon: &str, file: &str, name: &str| {
        let text = fs::read_to_string(Path::new(SERVICES_CGROUP).join(daemon).join(file)).ok()?;
        idle::value(&text, name)
    };
    let sum =
        |file: &str, name: &str| DAEMONS.iter().map(|daemon| read(daemon, file, name)).sum::<Option<u64>>();
    let busy = Duration::from_micros(sum("cpu.stat", "usage_usec")?);
    Some(Look { at, busy, bytes: sum("memory.stat", "anon")? })
}

/// Asks the kernel about compressed memory and its inclination to swap.
fn may_move(bytes: u64) -> bool {
    let room = swap::compressed_room(Path::new("/")).unwrap_or(0);
    let swappiness = fs::read_to_string(SWAPPINESS).unwrap_or_default();
    idle::may_move(bytes, room, &swappiness)
}
