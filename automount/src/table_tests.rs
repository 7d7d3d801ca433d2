//! Tables made, damaged, read again and grown, with both sizes of sector.

use std::io::{Seek, SeekFrom, Write};

use super::*;
use crate::geometry::{self, geometry};

const SIZE: u64 = 4 << 30;

fn fresh(sector: u64) -> Ends {
    create(SIZE, sector, &geometry(SIZE).unwrap()).unwrap()
}

fn damaged(ends: &Ends, at: u64) -> Ends {
    let mut ends = ends.clone();
    ends.seek(SeekFrom::Start(at)).unwrap();
    ends.write_all(&[0xff]).unwrap();
    ends
}

/// Returns the same disk after it became larger: what was its end is somewhere in the middle.
fn enlarged(ends: &Ends, size: u64) -> Ends {
    let mut larger = Ends::zeros(size, ends.sector_bytes());
    larger.write_all(ends.head()).unwrap();
    larger
}

#[test]
fn a_new_table_says_what_was_asked_for() {
    let made = geometry(SIZE).unwrap();
    for sector in [512, 4096] {
        let ends = fresh(sector);
        let table = read(&ends).unwrap();
        assert_eq!((table.scheme, table.is_cut_off), (Scheme::Gpt, false));
        assert_eq!(table.partitions, [made.data, made.swap], "{sector}");
        assert_eq!(ends.head()[510..512], [0x55, 0xaa]);
        assert_eq!(ends.head()[450], 0xee, "a protective MBR");
        assert!(!ends.head().starts_with(b"boot2docker"), "the magic is gone with it");
    }
}

#[test]
fn either_copy_is_enough() {
    for sector in [512, 4096] {
        let ends = fresh(sector);
        let expected = read(&ends).unwrap().partitions;
        let rows = [
            ("first header", vec![sector + 20]),
            ("first entries", vec![2 * sector + 40]),
            ("second header", vec![SIZE - sector + 20]),
            ("second entries", vec![ends.tail().0 + 40]),
        ];
        for (name, places) in rows {
            let broken = places.iter().fold(ends.clone(), |ends, &at| damaged(&ends, at));
            assert_eq!(read(&broken).unwrap().partitions, expected, "{name} {sector}");
            let mended = rewrite(&broken, None).unwrap();
            assert_eq!((mended.head(), mended.tail()), (ends.head(), ends.tail()), "{name} {sector}");
        }
        let both = damaged(&damaged(&ends, sector + 20), SIZE - sector + 20);
        assert_eq!(read(&both).map(|table| table.scheme), Some(Scheme::Mbr), "only the guard is left");
    }
}

#[test]
fn growing_moves_the_second_copy_and_keeps_the_rest() {
    let ends = fresh(512);
    let larger = enlarged(&ends, 2 * SIZE);
    let [data, swap] = read(&larger).unwrap().partitions[..] else { panic!("two partitions") };
    let grown = geometry::grown(data, &[data, swap], 2 * SIZE).unwrap();
    let written = rewrite(&larger, Some(grown)).unwrap();
    assert_eq!(read(&written).unwrap().partitions, [grown, swap]);
    let backup_alone = written.without_first_header();
    assert_eq!(read(&backup_alone).unwrap().partitions, [grown, swap], "the second copy is at the new end");
    let guid = |ends: &Ends| ends.sector(1)[56..72].to_vec();
    assert_eq!(guid(&written), guid(&ends), "it is still the same disk");
}

#[test]
fn numbers_with_gaps_are_not_rewritten() {
    let mut disk = open(fresh(512)).unwrap();
    let mut partitions = disk.take_partitions();
    let data = partitions.remove(&1).unwrap();
    partitions.insert(3, data);
    // The crate would close the gap when it writes, so the entries are written by hand.
    let mut ends = Ends::zeros(SIZE, 512);
    for (number, partition) in &partitions {
        for start in [2, SIZE / 512 - 33] {
            let index = u64::from(*number) - 1;
            partition.write_to_device(&mut ends, index, start, LogicalBlockSize::Lb512, ENTRY_BYTES).unwrap();
        }
    }
    disk.update_disk_device(ends, true).flush().unwrap();
    let (mut first, mut second) =
        (disk.primary_header().unwrap().clone(), disk.backup_header().unwrap().clone());
    first.write_primary(disk.device_mut(), LogicalBlockSize::Lb512).unwrap();
    second.write_backup(disk.device_mut(), LogicalBlockSize::Lb512).unwrap();
    let ends = disk.take_device();
    let numbers: Vec<u32> = read(&ends).unwrap().partitions.iter().map(|extent| extent.number).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(rewrite(&ends, None), Err(TableError::Gaps));
}

#[test]
fn hostile_counts_are_refused_before_they_are_believed() {
    let ends = fresh(512);
    for (place, value) in [(ENTRY_COUNT, u32::MAX), (ENTRY_COUNT, 0), (ENTRY_SIZE, 0), (ENTRY_SIZE, 1 << 30)]
    {
        let mut hostile = ends.clone();
        hostile.seek(SeekFrom::Start(512 + place as u64)).unwrap();
        hostile.write_all(&value.to_le_bytes()).unwrap();
        assert_eq!(
            read(&hostile).map(|table| table.partitions.len()),
            Some(2),
            "the second copy counts: {place} {value}"
        );
    }
}
