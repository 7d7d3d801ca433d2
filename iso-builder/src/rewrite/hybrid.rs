//! The partition tables of an ISO that is a disk as well: when its length changes, the partition that spans it and the
//! second GPT at its end follow.
//!
//! Source: UEFI 2.10 section 5.3 for the GPT, 5.2.1 for the MBR; isohybrid's geometry of 64 heads and 32 sectors.

use anyhow::{Context, Result, ensure};
use flate2::Crc;

/// Unit of both tables.
const SECTOR: usize = 512;

/// First entry of the MBR, their number and size.
const ENTRIES: usize = 446;
const ENTRY_COUNT: usize = 4;
const ENTRY: usize = 16;

/// isohybrid's geometry, and the highest cylinder that an entry can name.
const HEADS: u32 = 64;
const SECTORS_PER_TRACK: u32 = 32;
const LAST_CYLINDER: u32 = 1023;

/// Begin of a GPT's header.
const SIGNATURE: &[u8] = b"EFI PART";

/// Fields of a GPT's header.
const HEADER_SIZE: usize = 12;
const HEADER_CRC: usize = 16;
const OWN_PLACE: usize = 24;
const OTHER_PLACE: usize = 32;
const LAST_USABLE: usize = 48;
const TABLE_PLACE: usize = 72;
const TABLE_COUNT: usize = 80;
const TABLE_ENTRY: usize = 84;
const TABLE_CRC: usize = 88;

/// Fields of a GPT's entry.
const ENTRY_FIRST: usize = 32;
const ENTRY_LAST: usize = 40;

/// Tells whether an image has a GPT, and so a second one at its end.
pub(super) fn has_gpt(image: &[u8]) -> bool {
    image.get(SECTOR..).is_some_and(|rest| rest.starts_with(SIGNATURE))
}

/// Lets the tables in `new` fit its length; `old` is the image that they were made for.
pub(super) fn follow(old: &[u8], new: &mut [u8]) -> Result<()> {
    let lengths = (sectors(old)?, sectors(new)?);
    follow_mbr(lengths, new);
    if has_gpt(new) {
        follow_gpt(old, lengths, new).context("moving the GPT")?;
    }
    Ok(())
}

fn sectors(image: &[u8]) -> Result<u32> {
    u32::try_from(image.len() / SECTOR).context("the image is too large for an MBR")
}

fn follow_mbr((old, new): (u32, u32), image: &mut [u8]) {
    for number in 0..ENTRY_COUNT {
        let entry = &mut image[ENTRIES + number * ENTRY..][..ENTRY];
        let spans_all = entry[8..12] == [0; 4] && entry[12..16] == old.to_le_bytes();
        if spans_all {
            entry[12..16].copy_from_slice(&new.to_le_bytes());
            entry[5..8].copy_from_slice(&last_place(new));
        }
    }
}

/// Returns head, sector and cylinder of the last sector; the sector's byte has the cylinder's two highest bits.
fn last_place(sectors: u32) -> [u8; 3] {
    let cylinder = (sectors.saturating_sub(1) / (HEADS * SECTORS_PER_TRACK)).min(LAST_CYLINDER);
    let [low, high, ..] = cylinder.to_le_bytes();
    [HEADS as u8 - 1, SECTORS_PER_TRACK as u8 | high << 6, low]
}

fn follow_gpt(old: &[u8], (old_sectors, new_sectors): (u32, u32), image: &mut [u8]) -> Result<()> {
    let (old_sectors, new_sectors) = (u64::from(old_sectors), u64::from(new_sectors));
    let moved =
        |place: u64| (place + new_sectors).checked_sub(old_sectors).context("it would begin before the disk");
    let mut header = image[SECTOR..2 * SECTOR].to_vec();
    let second = old[old.len() - SECTOR..].to_vec();
    ensure!(second.starts_with(SIGNATURE), "the last sector holds no second header");
    let last_usable = get(&header, LAST_USABLE);

    let table_at = usize::try_from(get(&header, TABLE_PLACE))? * SECTOR;
    let (count, entry) = (get_short(&header, TABLE_COUNT), get_short(&header, TABLE_ENTRY));
    let table_bytes = usize::try_from(count * entry)?;
    let table = image.get_mut(table_at..table_at + table_bytes).context("the table is cut off")?;
    for entry in table.chunks_exact_mut(usize::try_from(entry)?) {
        let is_used = entry[..16] != [0; 16];
        // The partition of the whole image begins with it and ends before the second table.
        if is_used && get(entry, ENTRY_FIRST) == 0 && get(entry, ENTRY_LAST) + 1 >= last_usable {
            let last = moved(get(entry, ENTRY_LAST))?;
            put(entry, ENTRY_LAST, last);
        }
    }
    let table = table.to_vec();

    header[TABLE_CRC..TABLE_CRC + 4].copy_from_slice(&crc(&table).to_le_bytes());
    put(&mut header, LAST_USABLE, moved(last_usable)?);
    put(&mut header, OTHER_PLACE, new_sectors - 1);
    seal(&mut header);
    image[SECTOR..2 * SECTOR].copy_from_slice(&header);

    let second_table = moved(get(&second, TABLE_PLACE))?;
    put(&mut header, OWN_PLACE, new_sectors - 1);
    put(&mut header, OTHER_PLACE, 1);
    put(&mut header, TABLE_PLACE, second_table);
    seal(&mut header);
    let end = image.len();
    image[end - SECTOR..].copy_from_slice(&header);
    let at = usize::try_from(second_table)? * SECTOR;
    image.get_mut(at..at + table_bytes).context("the second table does not fit")?.copy_from_slice(&table);
    Ok(())
}

/// Computes the header's checksum, which is taken with the field itself as 0.
fn seal(header: &mut [u8]) {
    let size = (get_short(header, HEADER_SIZE) as usize).min(header.len());
    header[HEADER_CRC..HEADER_CRC + 4].fill(0);
    let sum = crc(&header[..size]);
    header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&sum.to_le_bytes());
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn get(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn get_short(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_end_with_a_cylinder_as_far_as_one_can_be_named() {
        for (mib, expected) in [
            (66, [0x3f, 0x20, 0x41]),
            (84, [0x3f, 0x20, 0x53]),
            (300, [0x3f, 0x60, 0x2b]),
            (1024, [0x3f, 0xe0, 0xff]),
            (3000, [0x3f, 0xe0, 0xff]),
        ] {
            assert_eq!(last_place(mib * 2048), expected, "{mib} MiB");
        }
    }
}
