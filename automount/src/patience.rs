//! Decides how long to wait for a disk that is not there yet.

use std::time::Duration;

/// Upper bound of all waiting, whatever keeps arriving.
pub const LONGEST: Duration = Duration::from_secs(5);
/// A USB stick is seen some 0.5 s after its port, and this much after the last sign of life nothing more will come.
const QUIET_USB: Duration = Duration::from_millis(700);
/// Other disks are found before PID 1 starts; this is for drivers that still work in the background.
const QUIET: Duration = Duration::from_millis(300);

/// What in the machine may still turn into a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arriving {
    /// There is a USB host controller.
    pub usb_host: bool,
    /// A USB storage device or NVMe controller was found whose disk is not there yet.
    pub unfinished: bool,
}

/// Returns how long to wait for the next device event before the search ends; zero if there is no need.
///
/// `waited` is the time since the search began.
pub fn patience(is_found: bool, arriving: Arriving, waited: Duration) -> Duration {
    let quiet = match arriving {
        _ if is_found => Duration::ZERO,
        Arriving { unfinished: true, .. } => LONGEST,
        Arriving { usb_host: true, .. } => QUIET_USB,
        Arriving { .. } => QUIET,
    };
    quiet.min(LONGEST.saturating_sub(waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_as_early_as_the_machine_allows() {
        let nothing = Arriving::default();
        let usb = Arriving { usb_host: true, unfinished: false };
        let stick = Arriving { usb_host: true, unfinished: true };
        let rows = [
            ("found", true, stick, 0, 0),
            ("no slow bus", false, nothing, 0, 300),
            ("usb, nothing plugged in", false, usb, 0, 700),
            ("usb stick without its disk yet", false, stick, 0, 5000),
            ("the bound holds", false, stick, 4600, 400),
            ("the bound is over", false, usb, 7000, 0),
        ];
        for (name, is_found, arriving, waited_ms, expected_ms) in rows {
            let wait = patience(is_found, arriving, Duration::from_millis(waited_ms));
            assert_eq!(wait, Duration::from_millis(expected_ms), "{name}");
        }
    }
}
