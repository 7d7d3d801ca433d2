//! What stage 0 tells PID 1 in the real root: when it began. Pure.

use std::ffi::OsString;
use std::time::Duration;

/// What stage 0 knows and PID 1 needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// When stage 0 began.
    pub began: Duration,
    /// Processor time that the kernel had used in our name until then.
    pub used: Duration,
}

/// The argument before the two numbers, milliseconds.
const ARGUMENT: &str = "--born";

impl Birth {
    /// Returns the arguments that tell it to the next PID 1.
    pub fn words(&self) -> [OsString; 3] {
        let number = |time: Duration| time.as_millis().to_string().into();
        [ARGUMENT.into(), number(self.began), number(self.used)]
    }

    /// Returns what such arguments tell; None without stage 0.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let [ARGUMENT, began, used] = words else { return None };
        let time = |word: &str| Some(Duration::from_millis(word.parse().ok()?));
        Some(Self { began: time(began)?, used: time(used)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birth_survives_the_change_of_root() {
        let birth = Birth { began: Duration::from_millis(1600), used: Duration::from_millis(900) };
        let words = birth.words().map(|word| word.into_string().unwrap());
        assert_eq!(Birth::parse(&words.each_ref().map(String::as_str)), Some(birth));
        assert_eq!(Birth::parse(&[]), None);
    }
}
