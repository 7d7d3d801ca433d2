//! Carrying out the way down.

use std::time::Duration;

use b2d_sys::contract;
use b2d_sys::effects::signals::{SIGKILL, SIGTERM};
use b2d_sys::effects::{clock, poll, process, reboot};
use b2d_sys::power::End;

use super::Machine;
use crate::finish;
use crate::model::ServiceId;
use crate::power::{Shutdown, Work};
use crate::rescue;
use crate::service::StopGroup;
use crate::supervise::Event;

/// Orphans end without PID 1 hearing of each; look again this often while they do.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Machine {
    /// Begins the way down; once it has begun, asking again changes nothing.
    pub(super) fn end_machine(&mut self, who: &str, end: End) {
        if self.shutdown.is_some() {
            log::info!("{who} asks for {end:?}, which is under way");
            return;
        }
        log::info!("{who} asks for {end:?}");
        self.waits.clear();
        self.end_jobs();
        let shutdown = Shutdown::begin(end, clock::since_kernel_start());
        self.shutdown = Some(shutdown);
        self.begin_phase(shutdown);
    }

    /// Returns when to look at the shutdown again without hearing anything.
    pub(super) fn shutdown_wake_at(&self) -> Duration {
        let Some(shutdown) = self.shutdown else { return Duration::MAX };
        match shutdown.work() {
            Work::Terminate | Work::Kill => clock::since_kernel_start() + LOOK_AGAIN,
            Work::Stop(_) | Work::Unmount => shutdown.until(),
        }
    }

    /// Goes through the phases that are done or out of time.
    pub(super) fn shutdown_advances(&mut self) {
        while let Some(mut shutdown) = self.shutdown {
            let is_done = self.is_phase_done(shutdown.work());
            if shutdown.advance(is_done, clock::since_kernel_start()).is_none() {
                return;
            }
            self.shutdown = Some(shutdown);
            self.begin_phase(shutdown);
        }
    }

    fn is_phase_done(&self, work: Work) -> bool {
        match work {
            Work::Stop(group) => self.units_in(group).iter().all(|id| !self.units[id].life.has_process()),
            Work::Terminate | Work::Kill => !process::has_children(),
            Work::Unmount => false,
        }
    }

    fn begin_phase(&mut self, shutdown: Shutdown) {
        log::info!("shutdown: {:?}", shutdown.work());
        match shutdown.work() {
            Work::Stop(group) => {
                // A session that ends takes along what its terminal has not shown yet, so this comes after the logins.
                if group == StopGroup::Docker {
                    self.consoles.print(&format!("boot2docker: {}", shutdown.end.gerund()));
                }
                for id in self.units_in(group) {
                    self.unit_event(&id, Event::Stop);
                }
            }
            Work::Terminate => process::signal_everyone(SIGTERM),
            Work::Kill => process::signal_everyone(SIGKILL),
            Work::Unmount => self.end_now(shutdown),
        }
    }

    fn units_in(&self, group: StopGroup) -> Vec<ServiceId> {
        let units = self.units.iter().filter(|(_, unit)| unit.service.stop.group == group);
        units.map(|(id, _)| id.clone()).collect()
    }

    /// Unmounts and ends the machine; does not return unless the kernel refuses.
    fn end_now(&mut self, Shutdown { end, since, .. }: Shutdown) {
        self.copy_log();
        finish::unmount_in_child();
        let took = clock::since_kernel_start().saturating_sub(since);
        self.consoles.print(&format!("{}{:.1} s", contract::SHUT_DOWN, took.as_secs_f64()));
        if let Err(error) = reboot::now(end) {
            rescue::run(&format!("{error:#}"));
        }
        // The kernel takes a moment to go down; a halted machine stays here.
        while poll::wait(&[], None).is_ok() {}
    }
}
