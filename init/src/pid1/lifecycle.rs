//! Carrying out what supervision decides.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::anyhow;
use b2d_sys::effects::clock;
use b2d_sys::effects::cmd::describe_status;
use b2d_sys::effects::process::Pid;

use super::Machine;
use super::jobs::{Owner, Patience};
use super::units::{self, Unit};
use crate::model::ServiceId;
use crate::service::{Ready, Service};
use crate::supervise::{Act, Event, Phase};

/// Faults are told of in the log up to this many times in a row, then every power of two.
const LOUD_FAULTS: u32 = 4;

impl Machine {
    /// Adds a service that does not run yet. One of the same name stays as it is.
    pub(super) fn add_unit(&mut self, service: Service) {
        self.units.entry(service.id.clone()).or_insert_with(|| Unit::new(service));
    }

    /// Tells a service what happened and does what follows.
    pub(super) fn unit_event(&mut self, id: &ServiceId, event: Event) {
        let now = clock::since_kernel_start();
        let Some(unit) = self.units.get_mut(id) else {
            log::error!("{id}: no such service");
            return;
        };
        let (life, acts) = unit.life.after(event, now, &unit.rules());
        log::debug!("{id}: {event:?}: {:?} -> {:?}", unit.life.phase, life.phase);
        if let (Phase::Starting { since }, Phase::Running { .. }, false) =
            (unit.life.phase, life.phase, unit.is_in_timeline)
        {
            unit.is_in_timeline = true;
            self.timeline.add_service(id, since, now);
        }
        unit.life = life;
        for act in acts {
            self.act(id, act);
        }
    }

    fn act(&mut self, id: &ServiceId, act: Act) {
        let Some(unit) = self.units.get_mut(id) else { return };
        match act {
            Act::AskToEnd => unit.ask_to_end(),
            Act::Kill => {
                log::warn!(
                    "{id}: still runs {} s after it was asked to end, killed",
                    unit.service.stop.grace.as_secs()
                );
                unit.kill();
            }
            Act::CancelPrepare => self.cancel_job_of(id),
            Act::Prepare => self.prepare(id),
            Act::Spawn => self.spawn(id),
        }
    }

    fn prepare(&mut self, id: &ServiceId) {
        let prepare = self.units.get(id).and_then(|unit| unit.service.prepare.clone());
        let Some((argv, limit)) = prepare else { return self.unit_event(id, Event::Prepared) };
        if let Err(error) = self.start_job(Owner::Unit(id.clone()), &argv, Patience::KillAfter(limit)) {
            log::error!("{id}: {error:#}");
            self.unit_event(id, Event::Prepared);
        }
    }

    fn spawn(&mut self, id: &ServiceId) {
        let Some(unit) = self.units.get_mut(id) else { return };
        match unit.spawn() {
            Ok(pid) => {
                log::debug!("{id}: started, process {}", pid.as_raw_nonzero());
                if unit.service.ready == Ready::Started {
                    self.unit_event(id, Event::Ready);
                } else {
                    self.watch_readiness(id);
                }
            }
            Err(error) => {
                unit.faults += 1;
                if is_loud(unit.faults) {
                    log::error!("{id}: {error:#}");
                }
                self.unit_event(id, Event::SpawnFailed);
            }
        }
    }

    /// Takes note of the end of a process that is no job; orphans are reaped and forgotten.
    pub(super) fn service_ended(&mut self, pid: Pid, status: ExitStatus) {
        let Some((id, unit)) = self.units.iter_mut().find(|(_, unit)| unit.pid == Some(pid)) else { return };
        let id = id.clone();
        unit.pid = None;
        unit.ping = None;
        unit.ping_again_at = None;
        let was_up = unit.is_up();
        if was_up && !unit.service.stop.by_hangup {
            unit.faults += 1;
            if is_loud(unit.faults) {
                log::warn!("{id}: ended by itself with {}, time {}", describe_status(status), unit.faults);
            }
        }
        self.unit_event(&id, Event::Exited { is_clean: units::is_clean(status) });
    }

    /// Lets time pass for services, jobs, waiting steps, what is looked after and a planned end.
    pub(super) fn time_passes(&mut self) {
        let now = clock::since_kernel_start();
        self.jobs_run_late(now);
        let is_due = |unit: &Unit| unit.life.wake_at().is_some_and(|at| now >= at);
        let due: Vec<ServiceId> =
            self.units.iter().filter(|(_, unit)| is_due(unit)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.unit_event(&id, Event::Tick);
        }
        self.waits_run_late(now);
        self.upkeep(now);
        if let Some((end, _)) = self.planned_end.filter(|(_, at)| now >= *at) {
            self.planned_end = None;
            self.end_machine("planned shutdown", end);
        }
    }

    /// Fails the steps that have waited for a service too long.
    fn waits_run_late(&mut self, now: Duration) {
        let is_late = |wait: &super::StepWait| wait.deadline.is_some_and(|at| now >= at);
        let (late, rest) = std::mem::take(&mut self.waits).into_iter().partition(is_late);
        self.waits = rest;
        let late: Vec<super::StepWait> = late;
        for wait in late {
            let log = self.units.get(&wait.service).map(|unit| unit.service.streams.to_string());
            let log = log.unwrap_or_default();
            self.end_step(wait.step, Err(anyhow!("{} is not ready yet; see {log}", wait.service)));
        }
    }
}

fn is_loud(faults: u32) -> bool {
    faults <= LOUD_FAULTS || faults.is_power_of_two()
}
