//! Tells whether a disk was never used: nothing but zeros wherever one looks. Reads on anything that reads and seeks.

use std::io::{self, Read, Seek, SeekFrom};

/// Read in full at either end, where tables, superblocks and their copies are.
const END_BYTES: u64 = 1 << 20;
/// Places between the ends, spread evenly.
const SAMPLES: u64 = 64;
/// Read at each of those places.
const SAMPLE_BYTES: u64 = 64 << 10;

/// The largest sectors there are.
const SECTOR_BYTES: u64 = 4096;

/// Tells whether the first and last MiB of `device` and 64 samples between hold zeros only.
///
/// # Errors
/// When reading fails.
pub fn is_blank(device: &mut (impl Read + Seek), size_bytes: u64) -> io::Result<bool> {
    let mut buffer = vec![0; END_BYTES as usize];
    for (at, count) in places(size_bytes) {
        let bytes = &mut buffer[..count as usize];
        device.seek(SeekFrom::Start(at))?;
        device.read_exact(bytes)?;
        if bytes.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the places to read as (start, length), the ends first: they tell soonest.
fn places(size_bytes: u64) -> Vec<(u64, u64)> {
    let end = END_BYTES.min(size_bytes);
    let mut places = vec![(0, end), (size_bytes - end, end)];
    let step = size_bytes / (SAMPLES + 1);
    // Whole sectors, whatever their size; on a small disk the samples touch each other.
    places.extend(
        (1..=SAMPLES).map(|index| (index * step / SECTOR_BYTES * SECTOR_BYTES, SAMPLE_BYTES.min(end))),
    );
    places.retain(|&(at, count)| at + count <= size_bytes);
    places
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn one_byte_at_either_end_or_in_a_sample_is_not_blank() {
        let size = 8 << 20;
        let sample = places(size as u64)[40].0 as usize;
        let rows = [
            ("zeros", None, true),
            ("first byte", Some(0), false),
            ("end of the first MiB", Some((1 << 20) - 1), false),
            ("sample", Some(sample + 65_535), false),
            ("start of the last MiB", Some(size - (1 << 20)), false),
            ("last byte", Some(size - 1), false),
        ];
        for (name, place, expected) in rows {
            let mut bytes = vec![0; size];
            if let Some(place) = place {
                bytes[place] = 1;
            }
            assert_eq!(is_blank(&mut Cursor::new(bytes), size as u64).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn samples_are_spread_over_the_whole_disk() {
        let size = 20_000 << 20;
        let places = places(size);
        assert_eq!(places.len(), 66);
        let mut starts: Vec<u64> = places.iter().map(|place| place.0).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] < size / 60), "{starts:?}");
    }

    #[test]
    fn tiny_and_short_disks_are_no_panic() {
        for size in [0, 1, 4095, 1 << 20] {
            assert!(is_blank(&mut Cursor::new(vec![0; size]), size as u64).unwrap(), "{size}");
        }
        assert!(is_blank(&mut Cursor::new(vec![0; 100]), 4096).is_err(), "shorter than it says");
    }
}
