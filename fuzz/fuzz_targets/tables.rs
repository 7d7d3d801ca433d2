//! Partition tables: whatever the ends of a disk hold, reading and mending them must not panic, and what is mended must
//! say the same as before.
#![no_main]

use std::io::Cursor;

use automount::ends::Ends;
use automount::geometry::{self, geometry};
use automount::table::{self, Scheme};
use libfuzzer_sys::fuzz_target;

/// Puts the input at both ends of a disk of this size: the first half at the start, the rest at the end.
const DISK_BYTES: usize = 96 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let sector = if choice & 1 == 0 { 512 } else { 4096 };
    // A small disk is all input; a usual one has it at the ends.
    let (mut bytes, size) = match choice & 2 {
        0 => (data.to_vec(), data.len()),
        _ => (vec![0; 2 << 16], DISK_BYTES),
    };
    let mut ends = if size == DISK_BYTES {
        let half = data.len().min(50_000) / 2;
        bytes[..half].copy_from_slice(&data[..half]);
        let mut ends = Ends::zeros(size as u64, sector);
        write(&mut ends, 0, &bytes[..half]);
        let tail = &data[half..data.len().min(50_000)];
        write(&mut ends, (size - tail.len()) as u64, tail);
        ends
    } else {
        match Ends::read(&mut Cursor::new(&bytes), size as u64, sector) {
            Ok(ends) => ends,
            Err(_) => return,
        }
    };
    let Some(found) = table::read(&ends) else { return };
    for &extent in &found.partitions {
        let grown = geometry::grown(extent, &found.partitions, size as u64);
        if let (Some(grown), Scheme::Gpt) = (grown, found.scheme)
            && let Ok(written) = table::rewrite(&ends, Some(grown))
        {
            let again = table::read(&written).expect("a table that was just written can be read");
            assert!(again.partitions.contains(&grown) && again.is_visible);
        }
        if let (Some(grown), Scheme::Mbr) = (grown, found.scheme) {
            automount::mbr::grow(&ends, grown);
        }
    }
    if let Ok(written) = table::rewrite(&ends, None) {
        ends = written;
        let again = table::read(&ends).expect("a table that was just written can be read");
        assert_eq!(again.partitions, found.partitions);
    }
    geometry(size as u64);
});

fn write(ends: &mut Ends, at: u64, bytes: &[u8]) {
    use std::io::{Seek, SeekFrom, Write};
    ends.seek(SeekFrom::Start(at)).expect("it is inside");
    // What does not fit the ends of this sector size is not part of a table.
    drop(ends.write_all(bytes));
}
