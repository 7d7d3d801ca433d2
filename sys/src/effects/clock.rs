//! Clocks: time since the kernel started, as its own log counts it; the time of day; the battery-backed clock.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Seconds since 1970 by the first hardware clock.
const HARDWARE: &str = "sys/class/rtc/rtc0/since_epoch";

/// Returns the time since the kernel started its clock; stands still while the machine is suspended.
pub fn since_kernel_start() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Returns the time of day, counted from 1970.
pub fn time_of_day() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Realtime)).unwrap_or_default()
}

/// Returns the processor time this process has used.
pub fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Sets the time of day, counted from 1970.
///
/// # Errors
/// Without the right to do so.
pub fn set_time_of_day(time: Duration) -> Result<()> {
    let time = Timespec::try_from(time).context("setting the clock to a time it cannot hold")?;
    clock_settime(ClockId::Realtime, time).context("setting the clock")
}

/// Tells whether there is a hardware clock below `root`.
pub fn has_hardware_clock(root: &Path) -> bool {
    root.join(HARDWARE).exists()
}

/// Reads the hardware clock below `root`; its unit is the second.
///
/// # Errors
/// When there is none, or it does not answer.
pub fn hardware_time(root: &Path) -> Result<Duration> {
    let path = root.join(HARDWARE);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let seconds = text.trim().parse().with_context(|| format!("reading {}: {text:?}", path.display()))?;
    Ok(Duration::from_secs(seconds))
}
