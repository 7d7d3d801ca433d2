//! The boot as lines of `name start_ms end_ms`, which `boot2docker-boot` reads.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use b2d_sys::contract;
use b2d_sys::effects::clock;

use crate::birth::Birth;
use crate::model::ServiceId;
use crate::report::timeline::{Kind, Span};
use crate::sequence::StageEnd;

/// Lines not written yet, because `/run` was not there.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pending: String,
    birth: Option<Birth>,
}

impl Timeline {
    /// Begins with the kernel and stage 0, if there was one.
    pub(super) fn new(birth: Option<Birth>, now: Duration) -> Self {
        let mut timeline = Self { pending: String::new(), birth };
        let began = birth.map_or(now, |birth| birth.began);
        timeline.add(Kind::Kernel, "", Duration::ZERO, began);
        if birth.is_some() {
            timeline.add(Kind::Stage0, "", began, now);
        }
        timeline
    }

    /// Adds a step, named by its stage and itself.
    pub(super) fn add_step(&mut self, stage: &str, step: &str, began: Duration, ended: Duration) {
        self.add(Kind::Step, &format!("{stage}/{step}"), began, ended);
    }

    /// Adds a stage.
    pub(super) fn add_stage(&mut self, end: &StageEnd, now: Duration) {
        self.add(Kind::Stage, end.name, now.saturating_sub(end.took), now);
    }

    /// Adds a service, from its start until it was ready.
    pub(super) fn add_service(&mut self, id: &ServiceId, began: Duration, ready: Duration) {
        self.add(Kind::Service, &id.to_string(), began, ready);
    }

    /// Adds the processor time that stage 0 and PID 1 have used so far.
    pub(super) fn add_own_share(&mut self) {
        let used = self.birth.map_or(Duration::ZERO, |birth| birth.used);
        let own = clock::processor_time().saturating_sub(used);
        self.add(Kind::Processor, "", Duration::ZERO, own);
    }

    fn add(&mut self, kind: Kind, name: &str, began: Duration, ended: Duration) {
        let span = Span { kind, name: name.replace(' ', "_"), began, ended };
        self.pending += &format!("{span}\n");
        let file = OpenOptions::new().append(true).create(true).open(contract::TIMELINE);
        // The directory is made by one of the first steps; until then lines wait.
        if file.and_then(|mut file| file.write_all(self.pending.as_bytes())).is_ok() {
            self.pending.clear();
        }
    }
}
