//! The data partition behind the ISO, in both partition tables that a hybrid ISO has.
//!
//! The ISO's MBR has no protective entry, so Linux and UEFI firmware go by the MBR; partitioning programs look at
//! the GPT. Both get the partition, and the GPT's second copy moves to the end of the disk, where it belongs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result, ensure};
use gpt::GptConfig;
use gpt::partition::Partition;
use gpt::partition_types::LINUX_FS;

/// Where the data partition starts: the same place for every ISO, so that a newer one leaves it alone.
pub(super) const DATA_START_BYTES: u64 = 256 << 20;

/// Smallest data partition worth making.
pub(super) const DATA_LEAST_BYTES: u64 = 64 << 20;

/// Unit of both tables.
const SECTOR_BYTES: u64 = 512;

/// Room at the end of the disk for the GPT's second copy, rounded up to 1 MiB.
const TAIL_BYTES: u64 = 1 << 20;

/// Third of four entries in the MBR; isohybrid uses the first two. Source: UEFI 2.10 s5.2.1.
const MBR_ENTRY: u64 = 446 + 2 * 16;

/// MBR partition type "Linux".
const MBR_LINUX: u8 = 0x83;

/// Cylinder, head and sector of what lies beyond their range.
const MBR_FAR: [u8; 3] = [0xfe, 0xff, 0xff];

/// Begin of a GPT's header. Source: UEFI 2.10 s5.3.2.
const SIGNATURE: &[u8; 8] = b"EFI PART";

/// Name of the partition in the GPT.
const GPT_NAME: &str = "boot2docker-data";

/// A data partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data {
    pub start_bytes: u64,
    pub length_bytes: u64,
}

/// Enters a partition that takes the rest of the disk into both tables.
pub(super) fn add_data(device: &mut File) -> Result<Data> {
    let disk_bytes = device.seek(SeekFrom::End(0)).context("measuring the disk")?;
    let data = data_of(disk_bytes);
    let (first, sectors) = (data.start_bytes / SECTOR_BYTES, data.length_bytes / SECTOR_BYTES);
    device.write_all_at(&mbr_entry(first, sectors)?, MBR_ENTRY).context("writing the MBR")?;
    if has_gpt(device)? {
        add_to_gpt(device, first, first + sectors - 1)?;
    }
    Ok(data)
}

/// An ISO that UEFI cannot start has no GPT.
fn has_gpt(device: &File) -> Result<bool> {
    let mut head = [0; SIGNATURE.len()];
    device.read_exact_at(&mut head, SECTOR_BYTES).context("reading the partition tables")?;
    Ok(head == *SIGNATURE)
}

/// Returns the place of a data file system that an earlier `write --data` left.
pub(super) fn find_data(device: &File) -> Result<Option<u64>> {
    // Source: Linux, Documentation/filesystems/ext4/super.rst: s_magic and s_volume_name of the superblock.
    let (magic, label) = (DATA_START_BYTES + 1024 + 0x38, DATA_START_BYTES + 1024 + 0x78);
    let read = |offset, length| -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        device.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    };
    let is_data = read(magic, 2).is_some_and(|bytes| bytes == [0x53, 0xef])
        && read(label, 16).is_some_and(|bytes| bytes == super::DATA_LABEL.as_bytes());
    Ok(is_data.then_some(DATA_START_BYTES))
}

/// Removes the second GPT that an earlier use left at the end of the disk; the ISO, of `used` bytes, has its own.
pub(super) fn forget_old(device: &mut File, used: u64) -> Result<()> {
    let end = device.seek(SeekFrom::End(0)).context("measuring the disk")?;
    let last = end - end % SECTOR_BYTES - SECTOR_BYTES;
    let mut sector = [0; SECTOR_BYTES as usize];
    if last >= used {
        device.read_exact_at(&mut sector, last).context("reading the end of the disk")?;
        if sector.starts_with(SIGNATURE) {
            device.write_all_at(&[0; SECTOR_BYTES as usize], last).context("writing the end of the disk")?;
        }
    }
    device.sync_all().context("writing the disk")
}

fn data_of(disk_bytes: u64) -> Data {
    // The MBR counts sectors in 32 bits.
    let most = u64::from(u32::MAX) * SECTOR_BYTES;
    let length = (disk_bytes - TAIL_BYTES - DATA_START_BYTES).min(most);
    Data { start_bytes: DATA_START_BYTES, length_bytes: length - length % TAIL_BYTES }
}

fn mbr_entry(first: u64, sectors: u64) -> Result<[u8; 16]> {
    let number = |value: u64| u32::try_from(value).context("the disk is too large for an MBR");
    let mut entry = [0; 16];
    entry[1..4].copy_from_slice(&MBR_FAR);
    entry[4] = MBR_LINUX;
    entry[5..8].copy_from_slice(&MBR_FAR);
    entry[8..12].copy_from_slice(&number(first)?.to_le_bytes());
    entry[12..16].copy_from_slice(&number(sectors)?.to_le_bytes());
    Ok(entry)
}

fn add_to_gpt<D: Read + Write + Seek + std::fmt::Debug>(device: D, first: u64, last: u64) -> Result<()> {
    // The second copy is still at the end of the ISO, not of the disk; only the first counts here.
    let config = GptConfig::new().writable(true).only_valid_headers(false);
    let mut table = config.open_from_device(device).context("reading the GPT")?;
    table.primary_header().context("reading the GPT")?;
    let mut partitions = table.partitions().clone();
    let number = partitions.keys().max().copied().unwrap_or_default() + 1;
    ensure!(number == 3, "reading the GPT: {} partitions instead of 2", number - 1);
    // Different from disk and partitions, and the same each time: a stick that is written anew is the same stick.
    let part_guid = format!("{:032x}", table.guid().as_u128() ^ u128::from(number));
    let part_guid = part_guid.parse().context("naming the partition")?;
    partitions.insert(
        number,
        Partition {
            part_type_guid: LINUX_FS,
            part_guid,
            first_lba: first,
            last_lba: last,
            flags: 0,
            name: GPT_NAME.into(),
        },
    );
    table.update_partitions(partitions).context("adding to the GPT")?;
    table.write().context("writing the GPT").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_a_gpt_gets_its_partition_in_the_mbr_alone() {
        let mut device = tempfile::tempfile().unwrap();
        device.set_len(1 << 30).unwrap();
        let data = add_data(&mut device).unwrap();
        assert_eq!(data, Data { start_bytes: 256 << 20, length_bytes: 767 << 20 });
        let mut head = [0; 2 * SECTOR_BYTES as usize];
        device.read_exact_at(&mut head, 0).unwrap();
        assert_eq!(head[478..494], mbr_entry(524_288, 1_570_816).unwrap());
        assert_eq!(head[512..], [0; 512]);
    }
}
