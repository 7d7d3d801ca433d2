//! `/boot.log`: what our programs have said since stage 0, with the kernel's time stamps.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use b2d_sys::contract;
use b2d_sys::effects::kmsg::{KmsgReader, KmsgRecord};

use super::steps::link_boot_log;

/// The file stays below this; it lives in memory.
const FILE_BYTES: usize = 8 << 20;
/// Severities up to this one are complaints; the kernel's belong into the log of the boot.
const WARNING: u8 = 4;

/// Programs that tell people themselves what they find worth it.
const SPEAKERS: [&str; 3] = ["init: ", "automount: ", "docker-setup: "];

/// The kernel's records and the file they are copied to.
#[derive(Debug)]
pub(super) struct BootLog {
    records: KmsgReader,
    file: File,
    written: usize,
}

impl BootLog {
    /// Opens both ends.
    ///
    /// # Errors
    /// When there is no kernel log, or the root cannot be written to.
    pub(super) fn open() -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(contract::BOOT_LOG);
        let file = file.with_context(|| format!("opening {}", contract::BOOT_LOG))?;
        if let Err(error) = link_boot_log() {
            log::warn!("{error:#}");
        }
        Ok(Self { records: KmsgReader::open()?, file, written: 0 })
    }

    /// Copies what is new; returns the warnings of helpers, which nobody has told people of yet.
    pub(super) fn copy(&mut self) -> Vec<String> {
        let (mut text, mut warnings) = (String::new(), Vec::new());
        while let Some(record) = self.records.next_record() {
            if is_warning_of_helper(&record) {
                warnings.push(record.message.clone());
            }
            if record.is_user || record.severity <= WARNING {
                text += &line(&record);
            }
        }
        if text.is_empty() || self.written >= FILE_BYTES {
            return warnings;
        }
        self.written += text.len();
        if self.written >= FILE_BYTES {
            text += "(the log is full; later records are in the kernel's log only)\n";
        }
        // Saying so in the log would come back here.
        let _ = self.file.write_all(text.as_bytes());
        warnings
    }
}

impl AsFd for BootLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

fn is_warning_of_helper(record: &KmsgRecord) -> bool {
    let speaks = |program: &&str| record.message.starts_with(program);
    record.is_user && record.severity <= WARNING && !SPEAKERS.iter().any(speaks)
}

fn line(record: &KmsgRecord) -> String {
    let kernel = if record.is_user { "" } else { "kernel: " };
    format!("[{:>5}.{:06}] {kernel}{}\n", record.time.as_secs(), record.time.subsec_micros(), record.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_of_helpers_warnings_once() {
        let rows = [
            ("12,1,7,-;sshd-setup: no key\n", true),
            ("12,1,7,-;init: data-disk 1/2 automount: failed\n", false),
            ("14,1,7,-;sshd-setup: vda1 is fine\n", false),
            ("4,1,7,-;EXT4-fs: odd\n", false),
        ];
        for (record, expected) in rows {
            assert_eq!(is_warning_of_helper(&KmsgRecord::parse(record).unwrap()), expected, "{record}");
        }
    }

    #[test]
    fn lines_look_like_the_kernels() {
        let ours = KmsgRecord::parse("14,1,1500000,-;init: mounts 1/1 /run: ok 3 ms\n").unwrap();
        assert_eq!(line(&ours), "[    1.500000] init: mounts 1/1 /run: ok 3 ms\n");
        let kernel = KmsgRecord::parse("4,1,20000042,-;clock is slow\n").unwrap();
        assert_eq!(line(&kernel), "[   20.000042] kernel: clock is slow\n");
    }
}
