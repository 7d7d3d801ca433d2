//! The one log: records go to the kernel's ring buffer, from where PID 1 copies them to the boot log.
//! Must not decide what is worth saying; levels do.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::cmdline::KernelCmdline;

/// The kernel cuts a record near 1 KiB, its own prefix included.
const LINE_BYTES: usize = 900;
/// Facility "user" in a syslog priority, so that our records can be told from the kernel's.
const FACILITY_USER: u8 = 1 << 3;
const PID1: u32 = 1;

#[derive(Debug)]
struct KmsgLog {
    program: &'static str,
    kmsg: Option<File>,
    stderr: bool,
}

/// Sends `program: message` records to `/dev/kmsg`, and to stderr when it is the only place, or a terminal where
/// somebody has started the program; PID 1's is the console, which is not for logs.
/// `b2d.debug` on the kernel command line lets debug records through. A second call changes nothing.
pub fn init(program: &'static str) {
    let debug = KernelCmdline::read(Path::new("/")).is_ok_and(|line| line.has("b2d.debug"));
    let kmsg = OpenOptions::new().write(true).open("/dev/kmsg").ok();
    let is_by_hand = std::process::id() != PID1 && std::io::stderr().is_terminal();
    let stderr = kmsg.is_none() || is_by_hand;
    let logger = Box::new(KmsgLog { program, kmsg, stderr });
    if log::set_boxed_logger(logger).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

impl Log for KmsgLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = one_line(self.program, &record.args().to_string());
        if let Some(mut kmsg) = self.kmsg.as_ref() {
            let priority = FACILITY_USER | severity(record.level());
            // One write is one record. Nobody is left to tell when the log itself fails.
            let _ = kmsg.write_all(format!("<{priority}>{line}\n").as_bytes());
        }
        if self.stderr {
            // As above.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    fn flush(&self) {}
}

/// Returns the syslog severity of a level. Source: syslog(3).
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn one_line(program: &str, message: &str) -> String {
    let mut line = format!("{program}: {}", message.trim_end().replace('\n', "; "));
    if line.len() > LINE_BYTES {
        let cut = (0..=LINE_BYTES).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(cut);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_short_line() {
        assert_eq!(one_line("init", "a\nb\n"), "init: a; b");
        assert_eq!(one_line("init", &"é".repeat(1000)).len(), LINE_BYTES);
    }
}
