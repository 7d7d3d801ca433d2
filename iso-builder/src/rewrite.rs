//! Exchanges files of an ISO image that exists, however much larger or smaller they are, and keeps it bootable in every
//! way it was: what lies behind them moves, and all that refers to it follows. With nothing exchanged the result is the
//! same, byte for byte.
//!
//! Source: ECMA-119 for descriptors and directories; Joliet for the second tree; libisofs for the order of things.

mod hybrid;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::iso9660::{Extent, SECTOR_BYTES, extent_of, name_of};

/// [`SECTOR_BYTES`], for indexes.
const SECTOR: usize = SECTOR_BYTES as usize;

/// Volume descriptors start here. Unit: sectors.
const FIRST_DESCRIPTOR: usize = 16;

/// Types of volume descriptors.
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const BOOT_RECORD: u8 = 0;
const TERMINATOR: u8 = 255;

/// Where a descriptor has the number of sectors of the volume, in both byte orders.
const SPACE: usize = 80;
/// Where a descriptor has the record of the root directory.
const ROOT: usize = 156;
/// Where the boot record has the sector of the boot catalogue.
const CATALOGUE: usize = 71;

/// Byte of a directory record with these flags: it is a directory, it goes on in another record.
const FLAGS: usize = 25;
const IS_DIRECTORY: u8 = 2;
const GOES_ON: u8 = 0x80;

/// Room behind the last file for the second GPT, which needs half of it, if there is one. Units: bytes.
/// Source: xorriso 1.5.6 as measured: with one block of 2048 bytes less it makes the image a cylinder longer.
const BACKUP_TABLE: usize = 16 * SECTOR;

/// The whole is a multiple of this, a cylinder of 64 heads and 32 sectors, so that partitions end with a cylinder.
/// Source: xorrisofs(1), -partition_cyl_align.
const ALIGNMENT: usize = 1 << 20;

/// Place of a directory record in the image. Unit: bytes.
type Offset = usize;

/// A file's record in one of the two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    offset: Offset,
    /// Path by Rock Ridge or Joliet, `/boot/initrd.img`.
    path: String,
    extent: Extent,
    is_directory: bool,
}

/// Returns `image` with other contents for some files, named by their whole path.
///
/// # Errors
/// When the image has no such file, or lays out what must not move behind them: it is none of this builder.
pub fn exchange(image: &[u8], contents: &BTreeMap<&str, Vec<u8>>) -> Result<Vec<u8>> {
    let descriptors = descriptors(image)?;
    let records = records(image, &descriptors)?;
    let mut new_contents: BTreeMap<u32, &[u8]> = BTreeMap::new();
    for (path, content) in contents {
        let named: Vec<_> = records.iter().filter(|record| record.path == *path).collect();
        let first = named.first().with_context(|| format!("finding {path}: the image has no such file"))?;
        let there = records.iter().filter(|record| record.extent.start == first.extent.start);
        ensure!(
            there.clone().all(|record| record.extent.length <= first.extent.length),
            "exchanging {path}: it is the head of another file"
        );
        new_contents.insert(first.extent.start, content);
    }
    let Some(cut) = new_contents.keys().next().copied() else { return Ok(image.to_vec()) };
    check_fixed(image, &descriptors, &records, cut)?;

    let mut out = image[..cut as usize * SECTOR].to_vec();
    let mut moved = BTreeMap::new();
    let mut behind: Vec<Extent> = records
        .iter()
        .filter(|record| !record.is_directory && record.extent.start >= cut && record.extent.length > 0)
        .map(|record| record.extent)
        .collect();
    // Of files that begin at one place, the longest has all their bytes.
    behind.sort_by_key(|extent| (extent.start, u32::MAX - extent.length));
    behind.dedup_by_key(|extent| extent.start);
    for extent in behind {
        let start = extent.start as usize * SECTOR;
        let content = match new_contents.get(&extent.start) {
            Some(content) => content,
            None => {
                image.get(start..start + extent.length as usize).context("reading a file that is cut off")?
            }
        };
        let length = u32::try_from(content.len()).context("a file of 4 GiB does not fit into the image")?;
        let place = u32::try_from(out.len() / SECTOR).context("the image becomes too large")?;
        moved.insert(extent.start, (extent, Extent { start: place, length }));
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(SECTOR), 0);
    }
    out.resize(whole_length(out.len(), hybrid::has_gpt(image)), 0);

    for record in records.iter().filter(|record| !record.is_directory && record.extent.length > 0) {
        if let Some((old, new)) = moved.get(&record.extent.start) {
            // One that ends before the other still does.
            let is_whole = record.extent.length == old.length;
            let length = if is_whole { new.length } else { record.extent.length.min(new.length) };
            put_both(&mut out, record.offset + 2, new.start);
            put_both(&mut out, record.offset + 10, length);
        }
    }
    let sectors = u32::try_from(out.len() / SECTOR).context("the image becomes too large")?;
    for (at, kind) in descriptors {
        if matches!(kind, PRIMARY | SUPPLEMENTARY) {
            put_both(&mut out, at + SPACE, sectors);
        }
    }
    hybrid::follow(image, &mut out)?;
    Ok(out)
}

/// Has a file, named by its whole path, end after `length` bytes: for one that lies where a longer one does. Nothing moves.
///
/// # Errors
/// When the image has no such file, or only shorter ones where it lies.
pub fn set_length(image: &mut [u8], path: &str, length: usize) -> Result<()> {
    let records = records(image, &descriptors(image)?)?;
    let named: Vec<_> = records.iter().filter(|record| record.path == path).collect();
    let first = named.first().with_context(|| format!("finding {path}: the image has no such file"))?;
    let there = records.iter().filter(|record| record.extent.start == first.extent.start);
    let longest = there.map(|record| record.extent.length).max().unwrap_or_default();
    let length = u32::try_from(length).ok().filter(|length| *length <= longest);
    let length = length.with_context(|| format!("{path}: what lies there has {longest} bytes only"))?;
    for record in named {
        put_both(image, record.offset + 10, length);
    }
    Ok(())
}

/// Returns the length of an image whose last file ends at `end`. Units: bytes.
fn whole_length(end: usize, has_gpt: bool) -> usize {
    let backup = if has_gpt { BACKUP_TABLE } else { 0 };
    (end + backup).next_multiple_of(ALIGNMENT)
}

/// Returns offset and type of the volume descriptors.
fn descriptors(image: &[u8]) -> Result<Vec<(Offset, u8)>> {
    let mut found = Vec::new();
    for sector in FIRST_DESCRIPTOR.. {
        let at = sector * SECTOR;
        let head =
            image.get(at..at + SECTOR).context("reading the volume descriptors: the image is cut off")?;
        ensure!(&head[1..6] == b"CD001", "reading the volume descriptors: it is not an ISO 9660 image");
        if head[0] == TERMINATOR {
            break;
        }
        found.push((at, head[0]));
    }
    Ok(found)
}

/// Returns the records of all trees but those of the directories themselves and their parents.
fn records(image: &[u8], descriptors: &[(Offset, u8)]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for (at, kind) in descriptors.iter().filter(|(_, kind)| matches!(*kind, PRIMARY | SUPPLEMENTARY)) {
        let root = extent_of(&image[at + ROOT..]);
        let mut folders = vec![(String::new(), root)];
        while let Some((folder, extent)) = folders.pop() {
            for record in in_directory(image, &folder, extent, *kind == SUPPLEMENTARY)? {
                if record.is_directory {
                    folders.push((record.path.clone(), record.extent));
                }
                found.push(record);
            }
        }
    }
    Ok(found)
}

fn in_directory(image: &[u8], folder: &str, extent: Extent, is_joliet: bool) -> Result<Vec<Record>> {
    let begin = extent.start as usize * SECTOR;
    let bytes = image.get(begin..begin + extent.length as usize);
    let bytes = bytes.with_context(|| format!("reading the directory {folder}/: the image is cut off"))?;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&length) = bytes.get(at) {
        // Length 0 ends the sector.
        if length == 0 {
            at = (at + 1).next_multiple_of(SECTOR);
            continue;
        }
        let record = bytes.get(at..at + usize::from(length)).filter(|record| record.len() > 33);
        let record =
            record.with_context(|| format!("reading the directory {folder}/: a record is cut off"))?;
        let name_bytes = usize::from(record[32]);
        let name = record.get(33..33 + name_bytes).context("reading a name that is cut off")?;
        ensure!(record[FLAGS] & GOES_ON == 0, "reading {folder}/: files of 4 GiB are not understood");
        // A directory's first two records are itself and its parent.
        if name != b"\0" && name != b"\x01" {
            let name = if is_joliet { joliet_name(name) } else { name_of(record) };
            found.push(Record {
                offset: begin + at,
                path: format!("{folder}/{name}"),
                extent: extent_of(record),
                is_directory: record[FLAGS] & IS_DIRECTORY != 0,
            });
        }
        at += usize::from(length);
    }
    Ok(found)
}

/// Source: Joliet specification: UCS-2, big-endian.
fn joliet_name(name: &[u8]) -> String {
    let units: Vec<u16> = name.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// Checks that what boot loaders know the place of, and all directories, lie before the sector `cut`.
fn check_fixed(image: &[u8], descriptors: &[(Offset, u8)], records: &[Record], cut: u32) -> Result<()> {
    let number = |at: usize| u32::from_le_bytes([image[at], image[at + 1], image[at + 2], image[at + 3]]);
    let mut fixed: Vec<u32> = records.iter().filter(|it| it.is_directory).map(|it| it.extent.start).collect();
    for (at, kind) in descriptors {
        match *kind {
            BOOT_RECORD => fixed.push(number(at + CATALOGUE)),
            PRIMARY | SUPPLEMENTARY => fixed.push(extent_of(&image[at + ROOT..]).start),
            _ => {}
        }
    }
    let catalogue = descriptors.iter().find(|(_, kind)| *kind == BOOT_RECORD);
    if let Some((at, _)) = catalogue {
        let begin = number(at + CATALOGUE) as usize * SECTOR;
        let entries = image.get(begin..begin + SECTOR).context("reading the boot catalogue")?;
        fixed.extend(crate::iso9660::boot_images(entries).iter().map(|image| image.start));
    }
    if let Some(behind) = fixed.iter().find(|start| **start >= cut) {
        bail!(
            "sector {behind} must not move but lies behind sector {cut}: this image is laid out in another way than ours"
        );
    }
    Ok(())
}

/// Writes a number in both byte orders, as ECMA-119 7.3.3 has it.
fn put_both(image: &mut [u8], at: usize, number: u32) {
    image[at..at + 4].copy_from_slice(&number.to_le_bytes());
    image[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths are those of images that xorriso made.
    #[test]
    fn an_image_is_as_long_as_xorriso_makes_it() {
        for (end_block, has_gpt, expected_mib) in [
            (495, true, 1),
            (496, true, 1),
            (497, true, 2),
            (511, true, 2),
            (511, false, 1),
            (512, false, 1),
            (513, false, 2),
        ] {
            let length = whole_length(end_block * SECTOR, has_gpt);
            assert_eq!(length, expected_mib << 20, "{end_block} {has_gpt}");
        }
    }
}
