//! Watches for time the machine has lost because its host slept or paused it: the hardware clock went on meanwhile.
//! chronyd would notice at its next question to a server, in a quarter of an hour; without a network never.
//!
//! Whoever watches the clock also knows when a day begins: certificates are looked at then.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use b2d_sys::effects::clock;
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::poll;

/// The time is right again after this, at the latest.
const INTERVAL: Duration = Duration::from_secs(4);
/// The hardware clock counts whole seconds, so two readings differ by up to two without anything lost.
const NOTICED: Duration = Duration::from_millis(2500);
/// While awaiting the hardware clock's next second.
const FINE: Duration = Duration::from_millis(20);
/// A second and more: a hardware clock that stands still is not awaited for ever.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Seconds of a day.
const DAY_SECS: u64 = 24 * 60 * 60;
/// It goes on in the background.
const RENEW_LIMIT: Duration = Duration::from_secs(60);
/// chronyd's answer.
const CHRONYC_LIMIT: Duration = Duration::from_secs(10);

/// All three clocks at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    hardware: Duration,
    running: Duration,
    of_day: Duration,
}

/// Watches for ever.
///
/// # Errors
/// When the hardware clock cannot be read or the system's cannot be set.
pub fn run(root: &Path) -> Result<()> {
    let mut last = read(root)?;
    let mut day = last.day();
    loop {
        pause(INTERVAL)?;
        let now = read(root)?;
        if lost(&last, &now).is_some() {
            let exact = at_next_second(root, now)?;
            if let Some(time) = corrected(&last, &exact) {
                let lost = time.saturating_sub(exact.of_day);
                clock::set_time_of_day(time)?;
                log::warn!(
                    "the machine stood still for {:.0} s; the clock is right again",
                    lost.as_secs_f64()
                );
                ask_servers_again();
            }
            last = read(root)?;
        } else {
            last = now;
        }
        if last.day() != day {
            day = last.day();
            look_at_certificates();
        }
    }
}

impl Reading {
    /// Returns the day, counted from 1970. It changes at midnight UTC, and when somebody sets the clock, in either direction.
    fn day(&self) -> u64 {
        self.of_day.as_secs() / DAY_SECS
    }
}

/// Machines run for months: what was far from its end at the boot may be near it now.
fn look_at_certificates() {
    let renew = Cmd::new("/usr/sbin/docker-setup").arg("renew");
    if let Err(error) = renew.run(Deadline::after(RENEW_LIMIT)) {
        log::warn!("{error}");
    }
}

fn read(root: &Path) -> Result<Reading> {
    let hardware = clock::hardware_time(root)?;
    Ok(Reading { hardware, running: clock::since_kernel_start(), of_day: clock::time_of_day() })
}

/// Reads the clocks when the hardware clock's second has just begun.
fn at_next_second(root: &Path, from: Reading) -> Result<Reading> {
    loop {
        let now = read(root)?;
        if now.hardware != from.hardware || now.running.saturating_sub(from.running) > PATIENCE {
            return Ok(now);
        }
        pause(FINE)?;
    }
}

fn pause(time: Duration) -> Result<()> {
    poll::wait(&[], Some(time)).context("waiting")?;
    Ok(())
}

/// Returns the time that the hardware clock has counted and the machine has not lived through, if it is worth noticing.
/// A hardware clock that was set back has lost nothing.
fn lost(before: &Reading, after: &Reading) -> Option<Duration> {
    let hardware = after.hardware.checked_sub(before.hardware)?;
    let running = after.running.saturating_sub(before.running);
    hardware.checked_sub(running).filter(|lost| *lost > NOTICED)
}

/// Returns what the time of day is to be, unless somebody has corrected it already: a clock of the hypervisor's, or
/// somebody who has set the hardware clock by the system's.
fn corrected(before: &Reading, after: &Reading) -> Option<Duration> {
    let lost = lost(before, after)?;
    let difference = |reading: &Reading| reading.of_day.abs_diff(reading.hardware);
    let in_utc = difference(before) <= NOTICED;
    let time = if in_utc {
        after.hardware
    } else {
        // A hardware clock in local time, or just wrong: only its pace counts.
        let running = after.running.saturating_sub(before.running);
        before.of_day + running + lost
    };
    let is_right = time.abs_diff(after.of_day) <= NOTICED || difference(after) <= NOTICED;
    (!is_right).then_some(time)
}

/// Has chronyd measure now what it would measure later; without servers there is nothing to ask.
fn ask_servers_again() {
    let burst = Cmd::new("/usr/bin/chronyc").args(["-n", "burst", "2/4"]);
    if let Err(error) = burst.run(Deadline::after(CHRONYC_LIMIT)) {
        log::debug!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(hardware: u64, running_ms: u64, of_day_ms: u64) -> Reading {
        Reading {
            hardware: Duration::from_secs(hardware),
            running: Duration::from_millis(running_ms),
            of_day: Duration::from_millis(of_day_ms),
        }
    }

    #[test]
    fn a_day_begins_at_midnight() {
        let day = |of_day_ms| reading(0, 0, of_day_ms).day();
        assert_eq!((day(86_399_999), day(86_400_000), day(172_799_999)), (0, 1, 1));
    }

    #[test]
    fn only_lost_time_is_given_back() {
        let start = reading(1000, 50_000, 1_000_400);
        let local = reading(8200, 50_000, 1_000_400);
        let rows = [
            ("nothing happened", start, reading(1004, 54_000, 1_004_400), None),
            ("seconds are whole", start, reading(1005, 54_001, 1_004_401), None),
            ("ten minutes lost", start, reading(1604, 54_000, 1_004_400), Some(1_604_000)),
            ("three seconds lost", start, reading(1007, 54_000, 1_004_400), Some(1_007_000)),
            ("lost, and corrected by the hypervisor", start, reading(1604, 54_000, 1_604_300), None),
            ("somebody stepped the clock", start, reading(1004, 54_000, 9_999_000), None),
            ("hardware clock set back", start, reading(400, 54_000, 1_004_400), None),
            ("hardware clock in local time", local, reading(8804, 54_000, 1_004_400), Some(1_604_400)),
            (
                "hardware clock set right",
                reading(10, 50_000, 1_000_400),
                reading(1004, 54_000, 1_004_400),
                None,
            ),
        ];
        for (name, before, after, expected) in rows {
            assert_eq!(corrected(&before, &after), expected.map(Duration::from_millis), "{name}");
        }
    }
}
