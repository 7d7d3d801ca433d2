//! A part of a device or of an image file, which reads like a device of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The bytes of a file from a start on, so many of them.
#[derive(Debug)]
pub struct Window {
    file: File,
    start: u64,
    length: u64,
    at: u64,
}

impl Window {
    /// Returns the `length` bytes of `file` from byte `start` on.
    pub fn new(file: File, start: u64, length: u64) -> Self {
        Self { file, start, length, at: 0 }
    }

    /// Returns how many bytes there are to read.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns another window into the same file; `start` counts from this window's start.
    ///
    /// # Errors
    /// When no more files can be open.
    pub fn part(&self, start: u64, length: u64) -> io::Result<Self> {
        let length = length.min(self.length.saturating_sub(start));
        Ok(Self::new(self.file.try_clone()?, self.start.saturating_add(start), length))
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        let place =
            self.start.checked_add(self.at).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // Other windows move the file's own place.
        let count = std::os::unix::fs::FileExt::read_at(&self.file, &mut buffer[..count], place)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_where_they_should_and_do_not_disturb_each_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789").unwrap();
        let mut outer = Window::new(File::open(file.path()).unwrap(), 2, 6);
        let mut inner = outer.part(2, 100).unwrap();
        let (mut first, mut second) = (String::new(), String::new());
        inner.read_to_string(&mut first).unwrap();
        outer.read_to_string(&mut second).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("4567", "234567"));
        assert_eq!(outer.seek(SeekFrom::End(0)).unwrap(), 6);
        assert!(outer.seek(SeekFrom::Current(-7)).is_err());
    }
}
