//! The way down as data: which signal means which end, and the phases of a shutdown with their bounds. Pure.

use std::time::Duration;

use b2d_sys::power::End;

use crate::service::StopGroup;

/// What happens in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Services of a group are asked to end; supervision kills them after their grace.
    Stop(StopGroup),
    /// Every process left is asked to end.
    Terminate,
    /// Every process left is killed.
    Kill,
    /// File systems are written out and unmounted, then the machine ends.
    Unmount,
}

/// Phases in order, each with the longest it may take: its services' grace and a second for the kernel.
/// All bounds together, and so the longest way down, are 60 s; an idle machine needs under two.
pub const PHASES: [(Work, Duration); 7] = [
    (Work::Stop(StopGroup::Logins), Duration::from_secs(3)),
    (Work::Stop(StopGroup::Docker), Duration::from_secs(31)),
    (Work::Stop(StopGroup::Containerd), Duration::from_secs(6)),
    (Work::Stop(StopGroup::Rest), Duration::from_secs(3)),
    (Work::Terminate, Duration::from_secs(1)),
    (Work::Kill, Duration::from_secs(1)),
    (Work::Unmount, Duration::from_secs(15)),
];

/// A shutdown under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How it ends.
    pub end: End,
    /// Since when it is under way.
    pub since: Duration,
    phase: usize,
    until: Duration,
}

impl Shutdown {
    /// Begins a shutdown at `now`, times counting from kernel start.
    pub fn begin(end: End, now: Duration) -> Self {
        Self { end, since: now, phase: 0, until: now + PHASES[0].1 }
    }

    /// Returns what this phase is about.
    pub fn work(&self) -> Work {
        PHASES[self.phase].0
    }

    /// Returns when this phase ends at the latest.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Returns the next phase's work if this phase is done or out of time. The last phase stays.
    pub fn advance(&mut self, is_done: bool, now: Duration) -> Option<Work> {
        let is_over = is_done || now >= self.until;
        if !is_over || self.phase + 1 == PHASES.len() {
            return None;
        }
        self.phase += 1;
        self.until = now + PHASES[self.phase].1;
        Some(self.work())
    }
}

/// Signals that end the machine. Source: signal(7) for x86-64; busybox `init/init.c`, `halt_reboot_pwoff`.
pub const END_SIGNALS: [i32; 5] = [SIGINT, SIGUSR1, SIGUSR2, SIGTERM, SIGPWR];
const SIGINT: i32 = 2;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTERM: i32 = 15;
const SIGPWR: i32 = 30;

/// Returns the end a signal to PID 1 asks for; SIGINT is ctrl-alt-del.
pub fn end_for_signal(signal: i32) -> Option<End> {
    match signal {
        SIGINT | SIGTERM => Some(End::Reboot),
        SIGUSR2 => Some(End::PowerOff),
        SIGUSR1 | SIGPWR => Some(End::Halt),
        _ => None,
    }
}

/// Returns the signal that asks PID 1 for an end.
pub fn signal_for_end(end: End) -> i32 {
    match end {
        End::Reboot => SIGTERM,
        End::PowerOff => SIGUSR2,
        End::Halt => SIGUSR1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_when_done_or_out_of_time() {
        let second = Duration::from_secs(1);
        let mut shutdown = Shutdown::begin(End::PowerOff, second);
        assert_eq!(shutdown.work(), Work::Stop(StopGroup::Logins));
        assert_eq!(shutdown.advance(false, second * 2), None);
        assert_eq!(shutdown.advance(true, second * 2), Some(Work::Stop(StopGroup::Docker)));
        assert_eq!(shutdown.advance(false, second * 32), None);
        assert_eq!(shutdown.advance(false, second * 33), Some(Work::Stop(StopGroup::Containerd)));
        for expected in [Work::Stop(StopGroup::Rest), Work::Terminate, Work::Kill, Work::Unmount] {
            assert_eq!(shutdown.advance(true, second * 35), Some(expected));
        }
        assert_eq!(shutdown.advance(true, second * 99), None);
    }

    #[test]
    fn the_longest_way_down_is_as_documented() {
        let total: Duration = PHASES.iter().map(|(_, limit)| *limit).sum();
        assert_eq!(total, Duration::from_secs(60));
    }

    #[test]
    fn signals_and_ends_match() {
        for end in [End::PowerOff, End::Reboot, End::Halt] {
            assert_eq!(end_for_signal(signal_for_end(end)), Some(end));
        }
        assert_eq!(end_for_signal(1), None);
    }
}
