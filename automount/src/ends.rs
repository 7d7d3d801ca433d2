//! The first and the last sectors of a disk in memory: all that a partition table occupies.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Space of a GPT's entries: 128 of 128 bytes.
const ENTRIES_BYTES: u64 = 128 * 128;

/// Both ends of a disk. Reads as the whole disk, with zeros between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    size_bytes: u64,
    sector_bytes: u64,
    at: u64,
}

impl Ends {
    /// Returns the ends of a disk of zeros. A disk too small for two ends is all head.
    pub fn zeros(size_bytes: u64, sector_bytes: u64) -> Self {
        let (head, tail) = lengths(size_bytes, sector_bytes);
        let zeros = |count: u64| vec![0; usize::try_from(count).expect("two ends are a few KiB")];
        Self { head: zeros(head), tail: zeros(tail), size_bytes, sector_bytes, at: 0 }
    }

    /// Reads the ends of `device`.
    ///
    /// # Errors
    /// When reading fails, or the device is shorter than it says.
    pub fn read(device: &mut (impl Read + Seek), size_bytes: u64, sector_bytes: u64) -> io::Result<Self> {
        let mut ends = Self::zeros(size_bytes, sector_bytes);
        device.seek(SeekFrom::Start(0))?;
        device.read_exact(&mut ends.head)?;
        let tail_start = ends.tail_start();
        device.seek(SeekFrom::Start(tail_start))?;
        device.read_exact(&mut ends.tail)?;
        Ok(ends)
    }

    /// Returns the size of the disk.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the size of its sectors.
    pub fn sector_bytes(&self) -> u64 {
        self.sector_bytes
    }

    /// Returns the first sectors: protective MBR, header, entries.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Returns the last sectors, entries and header, and where they start.
    pub fn tail(&self) -> (u64, &[u8]) {
        (self.tail_start(), &self.tail)
    }

    /// Returns one sector; zeros where nothing is kept.
    pub fn sector(&self, number: u64) -> Vec<u8> {
        let mut sector = vec![0; usize::try_from(self.sector_bytes).expect("a sector is 4 KiB at most")];
        if let Some(at) = number.checked_mul(self.sector_bytes) {
            self.copy_to(at, &mut sector);
        }
        sector
    }

    /// Returns the same with zeros where the first header is.
    #[must_use]
    pub fn without_first_header(&self) -> Self {
        let mut ends = Self { at: 0, ..self.clone() };
        let sector = usize::try_from(self.sector_bytes).expect("a sector is 4 KiB at most");
        if let Some(header) = ends.head.get_mut(sector..2 * sector) {
            header.fill(0);
        }
        ends
    }

    fn tail_start(&self) -> u64 {
        self.size_bytes - self.tail.len() as u64
    }

    fn copy_to(&self, at: u64, to: &mut [u8]) {
        to.fill(0);
        for (start, part) in [(0, &self.head), (self.tail_start(), &self.tail)] {
            let (first, end) = (at.max(start), (at + to.len() as u64).min(start + part.len() as u64));
            if first < end {
                to[(first - at) as usize..(end - at) as usize]
                    .copy_from_slice(&part[(first - start) as usize..(end - start) as usize]);
            }
        }
    }
}

/// Returns how long head and tail are: MBR, header and entries; entries and header.
fn lengths(size_bytes: u64, sector_bytes: u64) -> (u64, u64) {
    let entries = ENTRIES_BYTES.next_multiple_of(sector_bytes);
    let (head, tail) = (2 * sector_bytes + entries, sector_bytes + entries);
    // The last sector must be a whole one.
    let usable = size_bytes - size_bytes % sector_bytes;
    if head + tail <= usable && usable == size_bytes { (head, tail) } else { (size_bytes.min(head), 0) }
}

impl Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size_bytes.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        self.copy_to(self.at, &mut buffer[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (at, tail_start) = (self.at, self.tail_start());
        let (part, start) = if at >= tail_start { (&mut self.tail, tail_start) } else { (&mut self.head, 0) };
        let offset = usize::try_from(at - start).map_err(io::Error::other)?;
        let to = part.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
        to.ok_or_else(|| io::Error::other("writing outside the ends of the disk"))?.copy_from_slice(bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Ends {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.size_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn both_ends_are_read_and_the_middle_is_zeros() {
        let size = 1 << 20;
        let mut bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        for sector in [512, 4096] {
            let mut ends = Ends::read(&mut Cursor::new(&bytes), size as u64, sector).unwrap();
            let mut read = Vec::new();
            ends.read_to_end(&mut read).unwrap();
            let (head, tail) = (ends.head().len(), ends.tail().0 as usize);
            assert_eq!((head, size - tail), ((16 << 10) + 2 * sector as usize, (16 << 10) + sector as usize));
            assert!(read[..head] == bytes[..head] && read[tail..] == bytes[tail..], "{sector}");
            assert!(read[head..tail].iter().all(|&byte| byte == 0), "{sector}");
        }
        bytes.truncate(600);
        let mut tiny = Ends::read(&mut Cursor::new(&bytes), 600, 512).unwrap();
        let mut read = Vec::new();
        tiny.read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn writing_between_the_ends_is_an_error() {
        let mut ends = Ends::zeros(1 << 20, 512);
        ends.seek(SeekFrom::Start(1 << 19)).unwrap();
        assert!(ends.write_all(b"x").is_err());
        ends.seek(SeekFrom::End(-512)).unwrap();
        ends.write_all(b"EFI PART").unwrap();
        assert!(ends.sector((1 << 11) - 1).starts_with(b"EFI PART"));
        assert!(ends.sector(u64::MAX).iter().all(|&byte| byte == 0));
    }
}
