//! When the memory of idle Docker daemons is moved into compressed swap. Pure.
//!
//! dockerd, containerd and its shims keep memory of their own at which, while nothing happens, nobody looks but Go's garbage
//! collector, every two minutes. Compressed it takes a quarter; what is asked for again is back within microseconds.

use std::time::Duration;

/// The daemons are idle when all of them together used less than one in so many parts of a processor since the last look.
const IDLE_SHARE: u32 = 100;
/// Less is not worth starting a process for. Unit: bytes.
const WORTHWHILE: u64 = 4 << 20;

/// What the daemons have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When, since kernel start.
    pub at: Duration,
    /// Processor time so far.
    pub busy: Duration,
    /// Memory of their own that is not in swap. Unit: bytes.
    pub bytes: u64,
}

/// What is known from former looks.
#[derive(Debug, Default)]
pub struct Idle {
    last: Option<Look>,
    is_moved: bool,
    /// What the kernel could not move the last time, or did not need to.
    left: u64,
}

impl Idle {
    /// Takes note of a look; tells whether the memory should be moved now.
    pub fn is_due(&mut self, look: Look) -> bool {
        let is_idle = self.last.is_some_and(|last| {
            // One that was started anew begins to count anew.
            let busy = look.busy.checked_sub(last.busy);
            busy.is_some_and(|busy| busy <= look.at.saturating_sub(last.at) / IDLE_SHARE)
        });
        if self.is_moved {
            // Who was busy since has fetched it back, or is another process; what could not be moved is not known then.
            self.left = if is_idle { look.bytes } else { 0 };
        }
        self.left = self.left.min(look.bytes);
        self.last = Some(look);
        self.is_moved = is_idle && look.bytes >= self.left + WORTHWHILE;
        self.is_moved
    }
}

/// Tells whether memory may be moved: there has to be `room` in compressed memory, for a disk would have to turn for it, and who
/// told the kernel not to swap (`vm.swappiness`) means us as well. Unit: bytes.
pub fn may_move(bytes: u64, room: u64, swappiness: &str) -> bool {
    room >= bytes && swappiness.trim().parse::<u16>().is_ok_and(|inclination| inclination > 0)
}

/// Returns the number after `name` in a file of lines `NAME NUMBER`.
/// Source: Linux `Documentation/admin-guide/cgroup-v2.rst`, "Flat keyed".
pub fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn look(second: u64, busy_ms: u64, mib: u64) -> Look {
        Look { at: Duration::from_secs(second), busy: Duration::from_millis(busy_ms), bytes: mib * MIB }
    }

    #[test]
    fn memory_is_moved_once_the_daemons_are_idle_and_again_when_it_came_back() {
        let mut idle = Idle::default();
        for (case, look, expected) in [
            ("nothing is known yet", look(5, 0, 20), false),
            ("Docker starts", look(20, 4000, 20), false),
            ("idle", look(35, 4150, 20), true),
            ("moved", look(50, 4150, 1), false),
            ("a little came back", look(65, 4160, 4), false),
            ("the garbage collector looked at all of it", look(80, 4200, 12), true),
            ("the kernel could move half of it", look(95, 4200, 6), false),
            ("which does not begin all over", look(110, 4200, 6), false),
            ("containers are started", look(125, 9000, 60), false),
            ("over", look(140, 9010, 60), true),
            ("containerd was started anew", look(155, 100, 2), false),
            ("its memory is its own", look(170, 110, 9), true),
            ("dockerd was started anew just then", look(185, 4000, 24), false),
            ("it is idle", look(200, 4100, 20), true),
            ("moved", look(215, 4100, 1), false),
            ("both were started anew", look(230, 3000, 30), false),
            ("they are idle", look(245, 3100, 30), true),
        ] {
            assert_eq!(idle.is_due(look), expected, "{case}");
        }
    }

    #[test]
    fn memory_stays_where_it_does_not_fit_or_nobody_wants_swap() {
        for (case, room, swappiness, expected) in [
            ("room", 9, "60\n", true),
            ("compressed memory is full, or there is none", 8, "60\n", false),
            ("no swapping, please", 9, "0\n", false),
            ("a kernel without swap", 9, "", false),
        ] {
            assert_eq!(may_move(9, room, swappiness), expected, "{case}");
        }
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let stat = "anon_thp 5\nanon 8192\nfile 7\n";
        assert_eq!((value(stat, "anon"), value(stat, "shmem")), (Some(8192), None));
    }
}
