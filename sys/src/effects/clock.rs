//! Clocks: time since the kernel started, as its own log counts it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the time since the kernel started its clock; stands still while the machine is suspended.
pub fn since_kernel_start() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}
