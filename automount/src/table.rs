//! Partition tables: what one says, and the bytes of a new or grown one. Pure: bytes in, bytes out.
//!
//! Only the ends of a disk matter, so that is what is kept in memory ([`Ends`]); the order in which they reach the disk
//! is decided by who writes them.

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition as GptPartition;
use gpt::{GptConfig, GptDisk, partition_types};
use thiserror::Error;

use crate::ends::Ends;
use crate::geometry::Geometry;

/// Name of the data partition and of the swap partition in a GPT.
const NAMES: [&str; 2] = ["boot2docker-data", "boot2docker-swap"];
/// All GPTs are made with this many entries of this size; with others we leave the disk alone.
const ENTRIES: std::ops::RangeInclusive<u32> = 1..=128;
const ENTRY_BYTES: u32 = 128;
/// Places in a GPT header. Source: UEFI 2.10 s5.3.2.
const FIRST_ENTRY: usize = 72;
const ENTRY_COUNT: usize = 80;
const ENTRY_SIZE: usize = 84;
/// The entries follow the header.
const USUAL_FIRST_ENTRY: u64 = 2;

/// A partition table that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which kind.
    pub scheme: Scheme,
    /// Its partitions by number.
    pub partitions: Vec<Extent>,
    /// The kernel believes it: the guard and the first copy are whole.
    pub is_visible: bool,
    /// The kernel does not, but the first partition holds a data file system: the writing of this table was cut off.
    pub is_cut_off: bool,
}

/// Kinds of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table, with both copies or one.
    Gpt,
    /// The BIOS's, as boot2docker wrote until 2018.
    Mbr,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its number, from 1.
    pub number: u32,
    /// Unit: bytes.
    pub start: u64,
    /// Unit: bytes.
    pub length: u64,
}

impl Extent {
    /// Returns the byte after its last one.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// Why a table could not be made or changed.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum TableError {
    /// The crate that writes it says so.
    #[error("{what}")]
    Gpt {
        /// Its words.
        what: String,
    },
    /// Its numbers have gaps, which would be closed: partitions would change their names.
    #[error("its partitions are not numbered from 1 without gaps")]
    Gaps,
    /// It has no such partition.
    #[error("it has no partition {number}")]
    Absent {
        /// The number.
        number: u32,
    },
}

/// Returns the table in the ends of a disk: a GPT from whichever copy is whole, else the BIOS's table.
pub fn read(ends: &Ends) -> Option<Table> {
    let partitions = crate::mbr::read(ends);
    // Source: Linux `block/partitions/efi.c`, is_pmbr_valid() and find_valid_gpt() without the option `gpt`.
    let is_guarded = crate::mbr::has_guard(ends);
    let is_whole = open(ends.clone()).is_some_and(|disk| disk.primary_header().is_ok());
    let table = |scheme, is_visible, partitions| Table { scheme, partitions, is_visible, is_cut_off: false };
    read_gpt(ends)
        .map(|disk| table(Scheme::Gpt, is_guarded && is_whole, extents(&disk, ends.sector_bytes())))
        .or_else(|| partitions.map(|partitions| table(Scheme::Mbr, true, partitions)))
}

fn read_gpt(ends: &Ends) -> Option<GptDisk<Ends>> {
    // A whole first header with damaged entries hides a whole second table: look again without the first.
    open(ends.clone()).or_else(|| open(ends.without_first_header()))
}

fn open(ends: Ends) -> Option<GptDisk<Ends>> {
    let size = lb_size(ends.sector_bytes())?;
    let last = (ends.size_bytes() / ends.sector_bytes()).checked_sub(1)?;
    // The crate trusts these numbers: it allocates what they say, or panics.
    let is_usual = |header: &[u8]| {
        !header.starts_with(b"EFI PART")
            || (ENTRIES.contains(&u32_at(header, ENTRY_COUNT)) && u32_at(header, ENTRY_SIZE) == ENTRY_BYTES)
    };
    if !is_usual(&ends.sector(1)) || !is_usual(&ends.sector(last)) {
        return None;
    }
    let disk = GptConfig::new().writable(true).logical_block_size(size).open_from_device(ends).ok()?;
    let header = disk.header();
    // A table for another disk size, or for elsewhere on the disk, is not ours to understand.
    let is_first = disk.primary_header().is_ok();
    let is_in_place = if is_first { header.current_lba == 1 } else { header.current_lba == last };
    (is_in_place && header.backup_lba != header.current_lba).then_some(disk)
}

fn extents<D>(disk: &GptDisk<D>, sector_bytes: u64) -> Vec<Extent> {
    let used = disk.partitions().iter().filter(|(_, partition)| partition.is_used());
    used.filter_map(|(&number, partition)| {
        let sectors = partition.last_lba.checked_sub(partition.first_lba)?.checked_add(1)?;
        let [start, length] = [partition.first_lba, sectors].map(|count| count.checked_mul(sector_bytes));
        Some(Extent { number, start: start?, length: length? })
    })
    .collect()
}

/// Returns the ends of a disk with both copies of a new table for `geometry`, and a protective MBR.
///
/// # Errors
/// When the crate that writes it refuses.
pub fn create(size_bytes: u64, sector_bytes: u64, geometry: &Geometry) -> Result<Ends, TableError> {
    let size = lb_size(sector_bytes).ok_or_else(|| crate_error("sectors of this size are not supported"))?;
    let ends = Ends::zeros(size_bytes, sector_bytes);
    let mut disk = GptConfig::new()
        .writable(true)
        .logical_block_size(size)
        .create_from_device(ends, None)
        .map_err(crate_error)?;
    let kinds = [partition_types::LINUX_FS, partition_types::LINUX_SWAP];
    for ((extent, kind), name) in [geometry.data, geometry.swap].into_iter().zip(kinds).zip(NAMES) {
        let (first, count) = (extent.start / sector_bytes, extent.length / sector_bytes);
        disk.add_partition_at(name, extent.number, first, count, kind, 0).map_err(crate_error)?;
    }
    finish(disk)
}

/// Returns the ends of a disk with both copies of its table written anew at the places the disk's size gives them; with
/// `grown`, the partition of that number has that length then.
///
/// # Errors
/// When its first and second copy are damaged, or its partitions would change their numbers.
pub fn rewrite(ends: &Ends, grown: Option<Extent>) -> Result<Ends, TableError> {
    let mut disk = read_gpt(ends).ok_or_else(|| crate_error("neither copy of the table is whole"))?;
    let header = disk.header();
    let is_usual_place =
        disk.primary_header().is_err() || u64_at(&ends.sector(1), FIRST_ENTRY) == USUAL_FIRST_ENTRY;
    if !is_usual_place || header.current_lba.min(header.backup_lba) != 1 {
        return Err(crate_error("its entries are at an unusual place"));
    }
    let mut partitions = disk.take_partitions();
    partitions.retain(|_, partition| partition.is_used());
    if !partitions.keys().copied().eq(1..=partitions.len() as u32) {
        return Err(TableError::Gaps);
    }
    if let Some(Extent { number, length, .. }) = grown {
        let partition: &mut GptPartition =
            partitions.get_mut(&number).ok_or(TableError::Absent { number })?;
        partition.last_lba = partition.first_lba + length / ends.sector_bytes() - 1;
    }
    disk.update_partitions(partitions).map_err(crate_error)?;
    finish(disk)
}

/// Writes table and protective MBR into the ends in memory.
fn finish(disk: GptDisk<Ends>) -> Result<Ends, TableError> {
    let mut ends = disk.write().map_err(crate_error)?;
    let sectors = ends.size_bytes() / ends.sector_bytes() - 1;
    let mbr = ProtectiveMBR::with_lb_size(u32::try_from(sectors).unwrap_or(u32::MAX));
    mbr.overwrite_lba0(&mut ends).map_err(|error| crate_error(format!("{error:?}")))?;
    Ok(ends)
}

fn lb_size(sector_bytes: u64) -> Option<LogicalBlockSize> {
    LogicalBlockSize::try_from(sector_bytes).ok()
}

fn crate_error(error: impl ToString) -> TableError {
    TableError::Gpt { what: error.to_string() }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
