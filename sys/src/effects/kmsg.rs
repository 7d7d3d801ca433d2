//! Reading the kernel's ring buffer, where every program of ours leaves its records.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::OFlags;

/// One record. Source: Linux `Documentation/ABI/testing/dev-kmsg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsgRecord {
    /// Syslog severity, 0 (emergency) to 7 (debug).
    pub severity: u8,
    /// Whether a program wrote it rather than the kernel.
    pub is_user: bool,
    /// Time since kernel start, microsecond steps.
    pub time: Duration,
    /// The message, without the key=value lines after it.
    pub message: String,
}

impl KmsgRecord {
    /// Returns the record in one read of `/dev/kmsg`, or None if the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, rest) = text.split_once(';')?;
        let mut prefix = prefix.split(',');
        let priority: u32 = prefix.next()?.parse().ok()?;
        let micros = prefix.nth(1)?.parse().ok()?;
        Some(Self {
            severity: u8::try_from(priority & 7).ok()?,
            is_user: priority >> 3 != 0,
            time: Duration::from_micros(micros),
            message: rest.lines().next().unwrap_or_default().to_owned(),
        })
    }
}

/// The ring buffer from its oldest record on.
#[derive(Debug)]
pub struct KmsgReader {
    file: File,
}

impl KmsgReader {
    /// Opens `/dev/kmsg`; reading never blocks.
    ///
    /// # Errors
    /// When `/dev` has no such node.
    pub fn open() -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        Ok(Self { file: options.open("/dev/kmsg").context("opening /dev/kmsg")? })
    }

    /// Returns the next record, or None if there is none now. Records the ring has lost are skipped.
    pub fn next_record(&mut self) -> Option<KmsgRecord> {
        let mut buffer = [0; 8 << 10];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => {
                    if let Some(record) = KmsgRecord::parse(&String::from_utf8_lossy(&buffer[..count])) {
                        return Some(record);
                    }
                }
                // Our place in the ring was overwritten; the next read goes on with the oldest record left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for KmsgReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart() {
        let kernel = KmsgRecord::parse("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n").unwrap();
        let expected = KmsgRecord {
            severity: 6,
            is_user: false,
            time: Duration::from_micros(5_140_900),
            message: "NET: Registered".into(),
        };
        assert_eq!(kernel, expected);
        let ours = KmsgRecord::parse("12,1,7,-;init: odd; going on\n").unwrap();
        assert_eq!((ours.severity, ours.is_user, ours.message.as_str()), (4, true, "init: odd; going on"));
        assert_eq!(KmsgRecord::parse("nonsense"), None);
    }
}
