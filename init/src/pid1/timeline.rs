//! The boot as `name start_ms end_ms` lines, for programs that draw it.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use b2d_sys::contract;

use crate::model::Action;
use crate::sequence::StageEnd;

/// Steps shorter than this are left out; their stage is there.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// Lines not written yet, because `/run` was not there.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pending: String,
}

impl Timeline {
    /// Adds a step.
    pub(super) fn add(&mut self, action: &Action, began: Duration, ended: Duration) {
        if ended.saturating_sub(began) >= WORTH_TELLING {
            self.write(&line(&action.name(), began, ended));
        }
    }

    /// Adds a stage.
    pub(super) fn add_stage(&mut self, end: &StageEnd, now: Duration) {
        self.write(&line(&format!("stage:{}", end.name), now.saturating_sub(end.took), now));
    }

    fn write(&mut self, line: &str) {
        self.pending += line;
        let file = OpenOptions::new().append(true).create(true).open(contract::TIMELINE);
        if file.and_then(|mut file| file.write_all(self.pending.as_bytes())).is_ok() {
            self.pending.clear();
        }
    }
}

fn line(name: &str, began: Duration, ended: Duration) -> String {
    format!("{} {} {}\n", name.replace(' ', "_"), began.as_millis(), ended.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_three_words() {
        let ms = Duration::from_millis;
        assert_eq!(line("a b", ms(10), ms(250)), "a_b 10 250\n");
    }
}
