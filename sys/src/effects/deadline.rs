//! Points in time by which a wait must be over.

use std::fmt;
use std::time::{Duration, Instant};

/// A point in time, and how long the wait until there was meant to be, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    /// Returns the deadline that is `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, limit }
    }

    /// Returns the deadline `seconds` from now.
    pub fn secs(seconds: u64) -> Self {
        Self::after(Duration::from_secs(seconds))
    }

    /// Returns the deadline `milliseconds` from now.
    pub fn millis(milliseconds: u64) -> Self {
        Self::after(Duration::from_millis(milliseconds))
    }

    /// Returns what is left, zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Tells whether it has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Returns how long the wait was meant to be.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns the earlier of two deadlines.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        if other.end < self.end { other } else { self }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.limit.as_secs_f32())
    }
}
