//! Supervision as a pure state machine: (life, event, time) -> (life, what to do).
//! Must not know processes, files or clocks.

use std::time::Duration;

use crate::service::Restart;

/// First wait before a restart; doubles each time.
pub const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A service that lived this long starts over with [`FIRST_DELAY`].
pub const HEALTHY: Duration = Duration::from_secs(60);

/// Where a service is in its life. Times count from kernel start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not running and not to run.
    Stopped,
    /// Its helper runs first.
    Preparing,
    /// Running, but not ready yet.
    Starting {
        /// Since when.
        since: Duration,
    },
    /// Running and ready.
    Running {
        /// Since when it runs.
        since: Duration,
    },
    /// Ended by itself; to be started again.
    Waiting {
        /// When.
        until: Duration,
    },
    /// Asked to end.
    Stopping {
        /// When patience ends.
        kill_at: Duration,
        /// Whether it is to start again afterwards.
        then_start: bool,
    },
    /// Killed, but not reaped yet.
    Killed {
        /// Whether it is to start again afterwards.
        then_start: bool,
    },
}

/// A service's phase and its next delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub phase: Phase,
    /// How long the next restart waits.
    pub delay: Duration,
}

/// What the machine needs to know of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What follows when it ends by itself.
    pub restart: Restart,
    /// How long it may take to end when asked.
    pub grace: Duration,
    /// Whether a helper runs before a start that was asked for.
    pub prepares: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The boot plan wants it, and has run its helper.
    Begin,
    /// Somebody wants it.
    Start,
    /// It is not wanted.
    Stop,
    /// It is wanted anew.
    Restart,
    /// Its helper has ended, well or not.
    Prepared,
    /// It could not be started.
    SpawnFailed,
    /// It does its work.
    Ready,
    /// Its process has ended.
    Exited {
        /// Whether with success or as somebody's signal told it to, rather than by a fault.
        is_clean: bool,
    },
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Run its helper.
    Prepare,
    /// End its helper.
    CancelPrepare,
    /// Start its process.
    Spawn,
    /// Ask its process to end.
    AskToEnd,
    /// Kill its process.
    Kill,
}

impl Default for Life {
    fn default() -> Self {
        Self { phase: Phase::Stopped, delay: FIRST_DELAY }
    }
}

impl Life {
    /// Returns when the next [`Event::Tick`] is due, if any.
    pub fn wake_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
            _ => None,
        }
    }

    /// Tells whether it has a process.
    pub fn has_process(&self) -> bool {
        use Phase::{Killed, Running, Starting, Stopping};
        matches!(self.phase, Starting { .. } | Running { .. } | Stopping { .. } | Killed { .. })
    }

    /// Returns the life after an event, and what to do now.
    #[must_use]
    pub fn after(self, event: Event, now: Duration, rules: &Rules) -> (Self, Vec<Act>) {
        match event {
            Event::Begin => self.start(now, &Rules { prepares: false, ..*rules }),
            Event::Start => self.start(now, rules),
            Event::Stop => self.end(false, now, rules),
            Event::Restart => self.end(true, now, rules),
            Event::Prepared if self.phase == Phase::Preparing => self.spawn(now),
            Event::Ready => match self.phase {
                Phase::Starting { since } => (self.in_phase(Phase::Running { since }), vec![]),
                _ => (self, vec![]),
            },
            Event::Exited { is_clean } => self.exited(is_clean, now, rules),
            Event::SpawnFailed => self.exited(false, now, rules),
            Event::Tick => self.tick(now),
            Event::Prepared => (self, vec![]),
        }
    }

    fn in_phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    fn spawn(self, now: Duration) -> (Self, Vec<Act>) {
        (self.in_phase(Phase::Starting { since: now }), vec![Act::Spawn])
    }

    fn start(self, now: Duration, rules: &Rules) -> (Self, Vec<Act>) {
        match self.phase {
            Phase::Stopped | Phase::Waiting { .. } => {
                let fresh = Self::default();
                if rules.prepares {
                    (fresh.in_phase(Phase::Preparing), vec![Act::Prepare])
                } else {
                    fresh.spawn(now)
                }
            }
            Phase::Stopping { kill_at, .. } => {
                (self.in_phase(Phase::Stopping { kill_at, then_start: true }), vec![])
            }
            Phase::Killed { .. } => (self.in_phase(Phase::Killed { then_start: true }), vec![]),
            Phase::Preparing | Phase::Starting { .. } | Phase::Running { .. } => (self, vec![]),
        }
    }

    fn end(self, then_start: bool, now: Duration, rules: &Rules) -> (Self, Vec<Act>) {
        let stopped = Self::default();
        match self.phase {
            Phase::Stopped | Phase::Waiting { .. } if then_start => stopped.start(now, rules),
            Phase::Stopped | Phase::Waiting { .. } => (stopped, vec![]),
            Phase::Preparing if then_start => (self, vec![]),
            Phase::Preparing => (stopped, vec![Act::CancelPrepare]),
            Phase::Starting { .. } | Phase::Running { .. } => {
                let kill_at = now + rules.grace;
                (self.in_phase(Phase::Stopping { kill_at, then_start }), vec![Act::AskToEnd])
            }
            Phase::Stopping { kill_at, .. } => {
                (self.in_phase(Phase::Stopping { kill_at, then_start }), vec![])
            }
            Phase::Killed { .. } => (self.in_phase(Phase::Killed { then_start }), vec![]),
        }
    }

    fn exited(self, is_clean: bool, now: Duration, rules: &Rules) -> (Self, Vec<Act>) {
        match self.phase {
            Phase::Starting { since } | Phase::Running { since } => {
                if is_clean && rules.restart == Restart::AfterFault {
                    return (Self::default(), vec![]);
                }
                let delay = if now.saturating_sub(since) >= HEALTHY { FIRST_DELAY } else { self.delay };
                let phase = Phase::Waiting { until: now + delay };
                (Self { phase, delay: (delay * 2).min(LONGEST_DELAY) }, vec![])
            }
            Phase::Stopping { then_start, .. } | Phase::Killed { then_start } => {
                let stopped = Self::default();
                if then_start { stopped.start(now, rules) } else { (stopped, vec![]) }
            }
            Phase::Stopped | Phase::Preparing | Phase::Waiting { .. } => (self, vec![]),
        }
    }

    fn tick(self, now: Duration) -> (Self, Vec<Act>) {
        match self.phase {
            Phase::Waiting { until } if now >= until => self.spawn(now),
            Phase::Stopping { kill_at, then_start } if now >= kill_at => {
                (self.in_phase(Phase::Killed { then_start }), vec![Act::Kill])
            }
            _ => (self, vec![]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Rules = Rules { restart: Restart::Always, grace: Duration::from_secs(5), prepares: false };
    const PREPARED: Rules = Rules { prepares: true, ..PLAIN };
    const UNTIL_TOLD: Rules = Rules { restart: Restart::AfterFault, ..PLAIN };

    /// Name, rules, phase before, event, phase after, acts.
    type Row = (&'static str, Rules, Phase, Event, Phase, &'static [Act]);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn life(phase: Phase) -> Life {
        Life { phase, delay: FIRST_DELAY }
    }

    #[test]
    fn every_event_leads_where_it_should() {
        use Phase::*;
        let (starting, running) = (Starting { since: ms(0) }, Running { since: ms(0) });
        let stopping = |then_start| Stopping { kill_at: ms(6000), then_start };
        let waiting = Waiting { until: ms(1100) };
        let rows: &[Row] = &[
            ("start", PLAIN, Stopped, Event::Start, Starting { since: ms(1000) }, &[Act::Spawn]),
            ("start with helper", PREPARED, Stopped, Event::Start, Preparing, &[Act::Prepare]),
            (
                "helper done",
                PREPARED,
                Preparing,
                Event::Prepared,
                Starting { since: ms(1000) },
                &[Act::Spawn],
            ),
            ("late helper", PREPARED, Stopped, Event::Prepared, Stopped, &[]),
            ("stop while preparing", PREPARED, Preparing, Event::Stop, Stopped, &[Act::CancelPrepare]),
            ("restart while preparing", PREPARED, Preparing, Event::Restart, Preparing, &[]),
            ("ready", PLAIN, starting, Event::Ready, running, &[]),
            ("start twice", PLAIN, running, Event::Start, running, &[]),
            ("dies before ready", PLAIN, starting, Event::Exited { is_clean: false }, waiting, &[]),
            ("dies", PLAIN, running, Event::Exited { is_clean: false }, waiting, &[]),
            ("cannot start", PLAIN, starting, Event::SpawnFailed, waiting, &[]),
            ("ends as told", UNTIL_TOLD, running, Event::Exited { is_clean: true }, Stopped, &[]),
            ("crashes", UNTIL_TOLD, running, Event::Exited { is_clean: false }, waiting, &[]),
            (
                "begins without its helper",
                PREPARED,
                Stopped,
                Event::Begin,
                Starting { since: ms(1000) },
                &[Act::Spawn],
            ),
            ("stop during back-off", PLAIN, waiting, Event::Stop, Stopped, &[]),
            (
                "start during back-off",
                PLAIN,
                waiting,
                Event::Start,
                Starting { since: ms(1000) },
                &[Act::Spawn],
            ),
            ("too early to restart", PLAIN, waiting, Event::Tick, waiting, &[]),
            ("stop", PLAIN, running, Event::Stop, stopping(false), &[Act::AskToEnd]),
            ("stop twice", PLAIN, stopping(false), Event::Stop, stopping(false), &[]),
            ("ready while stopping", PLAIN, stopping(false), Event::Ready, stopping(false), &[]),
            ("start while stopping", PLAIN, stopping(false), Event::Start, stopping(true), &[]),
            ("stop while restarting", PLAIN, stopping(true), Event::Stop, stopping(false), &[]),
            ("ends as asked", PLAIN, stopping(false), Event::Exited { is_clean: false }, Stopped, &[]),
            (
                "restarts",
                PREPARED,
                stopping(true),
                Event::Exited { is_clean: false },
                Preparing,
                &[Act::Prepare],
            ),
            (
                "restart from rest",
                PLAIN,
                Stopped,
                Event::Restart,
                Starting { since: ms(1000) },
                &[Act::Spawn],
            ),
            (
                "killed one ends",
                PLAIN,
                Killed { then_start: false },
                Event::Exited { is_clean: false },
                Stopped,
                &[],
            ),
        ];
        for (name, rules, from, event, to, acts) in rows {
            let (after, done) = life(*from).after(*event, ms(1000), rules);
            assert_eq!((after.phase, done.as_slice()), (*to, *acts), "{name}");
        }
    }

    #[test]
    fn a_service_that_does_not_end_is_killed() {
        let (stopping, _) = life(Phase::Running { since: ms(0) }).after(Event::Stop, ms(1000), &PLAIN);
        assert_eq!(stopping.wake_at(), Some(ms(6000)));
        let (killed, acts) = stopping.after(Event::Tick, ms(6000), &PLAIN);
        assert_eq!((killed.phase, acts), (Phase::Killed { then_start: false }, vec![Act::Kill]));
    }

    #[test]
    fn a_storm_slows_down_and_health_forgives() {
        let (mut now, mut delays) = (ms(0), Vec::new());
        let mut life = life(Phase::Starting { since: now });
        for _ in 0..11 {
            life = life.after(Event::Exited { is_clean: false }, now, &PLAIN).0;
            let until = life.wake_at().unwrap();
            delays.push((until - now).as_millis());
            now = until;
            life = life.after(Event::Tick, now, &PLAIN).0;
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        life = life.after(Event::Exited { is_clean: false }, now + HEALTHY, &PLAIN).0;
        assert_eq!(life.wake_at(), Some(now + HEALTHY + FIRST_DELAY));
    }
}
