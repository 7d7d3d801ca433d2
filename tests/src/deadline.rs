//! Deadlines as a type: written for a machine with hardware virtualisation, longer without.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use iso_builder::qemu::{Accelerator, accelerator};
use rustix::event::Timespec;

/// How much longer the same work takes when the processor is emulated.
const EMULATION_FACTOR: u32 = 10;

/// From QEMU's start to a working Docker.
const BOOT: Duration = Duration::from_secs(60);

/// From the power button to QEMU's end. boot2docker-cli gives up after ten presses, one a second.
const POWER_OFF: Duration = Duration::from_secs(30);

/// One command in the guest, or one request to it.
const REPLY: Duration = Duration::from_secs(20);

/// A point in time by which something must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// Starts a deadline for work inside a machine; `limit` holds for hardware virtualisation.
    #[must_use]
    pub fn guest(limit: Duration) -> Self {
        Self::host(limit * factor())
    }

    /// Starts a deadline for work on the host, which is as fast as ever.
    #[must_use]
    pub fn host(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// Starts the deadline of a whole boot.
    #[must_use]
    pub fn boot() -> Self {
        Self::guest(BOOT)
    }

    /// Starts the deadline of a whole shutdown.
    #[must_use]
    pub fn power_off() -> Self {
        Self::guest(POWER_OFF)
    }

    /// Starts the deadline of one command or request.
    #[must_use]
    pub fn reply() -> Self {
        Self::guest(REPLY)
    }

    /// Returns the time left, or None when there is none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.limit.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())
    }

    /// Returns the time left as poll(2) wants it; zero when there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Timespec {
        let left = self.remaining().unwrap_or_default();
        Timespec::try_from(left).expect("a deadline is far below what a time stamp holds")
    }

    /// Lets the time pass until then. Only where the passing of time is what is tested, never to wait for something.
    pub fn pass(&self) {
        while self.remaining().is_some() {
            // Interrupted or not, the loop looks at the clock.
            let _ = rustix::event::poll(&mut [], Some(&self.poll_timeout()));
        }
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the time between start and end.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// Returns 1 with hardware virtualisation, else [`EMULATION_FACTOR`].
fn factor() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| match accelerator() {
        Accelerator::Kvm => 1,
        Accelerator::Tcg | Accelerator::Counted => EMULATION_FACTOR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_has_passed_has_nothing_remaining() {
        let past = Deadline::host(Duration::ZERO);
        assert_eq!(past.remaining(), None);
        assert_eq!(past.poll_timeout(), Timespec { tv_sec: 0, tv_nsec: 0 });
    }

    #[test]
    fn guests_get_more_time_only_when_emulated() {
        let second = Duration::from_secs(1);
        assert_eq!(Deadline::guest(second).limit(), second * factor());
        assert_eq!(Deadline::host(second).limit(), second);
    }
}
