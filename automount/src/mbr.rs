//! The BIOS's partition table: four entries in the first sector. Pure.

use crate::ends::Ends;
use crate::table::Extent;

/// Ends the first sector of a disk with a table, and of any boot sector.
const MARK: (usize, &[u8]) = (510, &[0x55, 0xaa]);
/// Places of the four entries, and the size of one.
const ENTRIES: std::ops::Range<usize> = 446..510;
const ENTRY_BYTES: usize = 16;
/// Places in an entry. Source: UEFI 2.10 s5.2.1.
const STATUS: usize = 0;
const KIND: usize = 4;
const START: usize = 8;
const COUNT: usize = 12;
/// Kinds of entry that are no partition to use: unused, extended (three numbers), the guard before a GPT.
const NO_PARTITION: &[u8] = &[0x00, 0x05, 0x0f, 0x85, GUARD];
/// The guard.
const GUARD: u8 = 0xee;
/// Sectors of a BIOS disk. A table on a disk with larger ones counts in those.
const SECTOR_BYTES: usize = 512;

/// Tells whether these first bytes of a device end their first sector as a boot sector does.
pub fn is_marked(head: &[u8]) -> bool {
    head.get(MARK.0..MARK.0 + MARK.1.len()) == Some(MARK.1)
}

/// Tells whether the table guards a GPT.
pub fn has_guard(ends: &Ends) -> bool {
    let first = ends.head().get(..SECTOR_BYTES).filter(|first| is_marked(first));
    first.is_some_and(|first| first[ENTRIES].chunks_exact(ENTRY_BYTES).any(|entry| entry[KIND] == GUARD))
}

/// Returns the primary partitions, or None if there is no table.
pub fn read(ends: &Ends) -> Option<Vec<Extent>> {
    let first = ends.head().get(..SECTOR_BYTES).filter(|first| is_marked(first))?;
    let entries = first[ENTRIES].chunks_exact(ENTRY_BYTES);
    // A boot sector has the same mark, and code where a table has entries.
    if entries.clone().any(|entry| entry[STATUS] & 0x7f != 0) {
        return None;
    }
    let extent = |(number, entry): (u32, &[u8])| {
        let [start, count] = [START, COUNT].map(|at| u64::from(u32_at(entry, at)) * ends.sector_bytes());
        let is_used = !NO_PARTITION.contains(&entry[KIND]) && start > 0 && count > 0;
        is_used.then_some(Extent { number, start, length: count })
    };
    Some((1..).zip(entries).filter_map(extent).collect())
}

/// Returns the first sector with partition `grown` as long as that, or None if the table cannot say so.
pub fn grow(ends: &Ends, grown: Extent) -> Option<Vec<u8>> {
    let mut first = ends.head().get(..SECTOR_BYTES)?.to_vec();
    let at = ENTRIES.start + ENTRY_BYTES * (usize::try_from(grown.number).ok()?.checked_sub(1)?) + COUNT;
    let count = u32::try_from(grown.length / ends.sector_bytes()).ok()?;
    first.get_mut(at..at + 4).filter(|_| at < ENTRIES.end)?.copy_from_slice(&count.to_le_bytes());
    Some(first)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Returns a disk as boot2docker wrote it until 2018: data is the first entry, but lies behind swap.
    fn disk(entries: &[(u8, u8, u32, u32)]) -> Ends {
        let mut bytes = vec![0; 1 << 20];
        for (place, (status, kind, start, count)) in entries.iter().enumerate() {
            let at = 446 + 16 * place;
            (bytes[at], bytes[at + 4]) = (*status, *kind);
            bytes[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        Ends::read(&mut Cursor::new(&bytes), bytes.len() as u64, 512).unwrap()
    }

    #[test]
    fn entries_are_read_by_number() {
        let ends = disk(&[(0, 0x83, 1000, 500), (0x80, 0x82, 63, 900), (0, 0x05, 1, 1), (0, 0x83, 0, 5)]);
        let extent =
            |number, start: u64, length: u64| Extent { number, start: start * 512, length: length * 512 };
        assert_eq!(read(&ends), Some(vec![extent(1, 1000, 500), extent(2, 63, 900)]));
        let grown = grow(&ends, extent(1, 1000, 700)).unwrap();
        let difference: Vec<usize> = (0..512).filter(|&at| grown[at] != ends.head()[at]).collect();
        assert_eq!(difference, [458, 459], "500 is 0x1f4, 700 is 0x2bc: the rest of the sector stays");
    }

    #[test]
    fn boot_code_is_no_table_and_far_ends_do_not_fit() {
        assert_eq!(read(&disk(&[(0x4e, 0x54, 1, 1)])), None);
        assert_eq!(read(&Ends::zeros(1 << 20, 512)), None);
        let ends = disk(&[(0, 0x83, 1000, 500)]);
        let far = |number, length| grow(&ends, Extent { number, start: 512_000, length });
        assert_eq!(far(1, 3 << 40), None, "beyond 2 TiB");
        assert_eq!((far(0, 512), far(5, 512)), (None, None));
    }
}
