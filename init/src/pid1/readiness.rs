//! Noticing that a service does its work.

use std::path::Path;

use b2d_sys::contract;
use b2d_sys::effects::clock;

use super::ping::{Ping, RETRY};
use super::{Machine, StepWait};
use crate::model::ServiceId;
use crate::service::Ready;
use crate::supervise::{Event, Phase};

impl Machine {
    /// Watches the directory where a sign of life will appear.
    pub(super) fn watch_readiness(&mut self, id: &ServiceId) {
        let Some(unit) = self.units.get(id) else { return };
        let path = match unit.service.ready {
            Ready::Path(path) | Ready::Ping(path) => Path::new(path),
            Ready::Started => return,
        };
        let Some(dir) = path.parent() else { return };
        if let Err(error) = self.watch.add(dir) {
            log::warn!("{id}: {error:#}; it will never count as ready");
        }
    }

    /// Looks for signs of life, and ends the steps that waited for them.
    pub(super) fn readiness_changes(&mut self) {
        let is_starting = |phase| matches!(phase, Phase::Starting { .. });
        let starting = self.units.iter().filter(|(_, unit)| is_starting(unit.life.phase));
        let starting: Vec<ServiceId> = starting.map(|(id, _)| id.clone()).collect();
        for id in starting {
            if self.has_come_alive(&id) {
                self.unit_event(&id, Event::Ready);
            }
        }
        self.end_waits();
    }

    fn has_come_alive(&mut self, id: &ServiceId) -> bool {
        let Some(unit) = self.units.get_mut(id) else { return false };
        match unit.service.ready {
            Ready::Started => true,
            Ready::Path(path) => Path::new(path).exists(),
            Ready::Ping(path) => {
                let now = clock::since_kernel_start();
                let is_due = unit.ping_again_at.is_none_or(|at| now >= at);
                if unit.ping.is_none() && is_due && Path::new(path).exists() {
                    unit.ping = Ping::send(Path::new(path));
                    unit.ping_again_at = unit.ping.is_none().then_some(now + RETRY);
                }
                false
            }
        }
    }

    /// Reads the answer to a ping.
    pub(super) fn hear_ping(&mut self, id: &ServiceId) {
        let Some(unit) = self.units.get_mut(id) else { return };
        match unit.ping.as_mut().and_then(Ping::answer) {
            None => {}
            Some(true) => {
                unit.ping = None;
                unit.ping_again_at = None;
                self.unit_event(id, Event::Ready);
            }
            Some(false) => {
                unit.ping = None;
                unit.ping_again_at = Some(clock::since_kernel_start() + RETRY);
            }
        }
    }

    fn end_waits(&mut self) {
        let is_ready = |wait: &StepWait| self.units.get(&wait.service).is_some_and(super::Unit::is_ready);
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waits).into_iter().partition(is_ready);
        self.waits = rest;
        for wait in done {
            if let Some(line) = wait.announce {
                if line == contract::DOCKER_READY {
                    self.timeline.add_own_share();
                }
                self.announce(line, clock::since_kernel_start());
            }
            self.end_step(wait.step, Ok(()));
        }
    }
}
