//! Makes partitions, file system and swap space, and changes partition tables, in an order that survives a power cut at
//! any point. Decides nothing but to stop.
//!
//! The order: the file system first, with the user's files in it, while magic and archive still lie where they were;
//! then the second copy of the table, at the end of the disk; then the first copy; last the first sector, with which the
//! magic goes. Until the first copy is begun the next boot starts all over from the magic; from then on it finishes the
//! table from the second copy. A disk without the magic gets it before anything else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use b2d_sys::contract::{DATA_LABEL, MAGIC, RUN_DIR, USERDATA};
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::files::{ensure_dir, write_atomic};
use b2d_sys::effects::partition;

use crate::ends::Ends;
use crate::geometry::ALIGNMENT;
use crate::look::look;
use crate::model::{Content, Device};
use crate::step::Formatting;
use crate::table::{self, Extent, Scheme, Table};
use crate::{mbr, swap_space};

/// Bytes per inode, as boot2docker has always made data disks: overlay needs many inodes.
const BYTES_PER_INODE: &str = "8192";
/// A large disk without discard takes a while; PID 1's own limit must be longer.
const MKFS_SECS: u64 = 300;
/// What earlier uses leave lies near the ends of a partition.
const WIPED_BYTES: u64 = 1 << 20;

/// Formats a disk.
///
/// # Errors
/// When the disk is not what it was when this was decided, and at the first thing that fails. The disk then still has
/// the magic, or a table that the next boot finishes.
pub fn format(formatting: &Formatting) -> Result<()> {
    let Formatting { disk, geometry, archive, reason } = formatting;
    let node = PathBuf::from(disk.node());
    is_unchanged(disk).with_context(|| format!("looking at {} again before formatting it", disk.node()))?;
    log::warn!("formatting {disk}: {reason}");
    if !matches!(disk.content, Content::Magic(_)) {
        forget_partitions(disk)?;
        mark(&node)?;
    }
    let extents = [geometry.data, geometry.swap];
    let parts =
        extents.map(|extent| Path::new("/dev").join(Device::partition_name(&disk.name, extent.number)));
    for (extent, part) in extents.iter().zip(&parts) {
        add(&node, *extent)?;
        wipe(part, 0, WIPED_BYTES.min(extent.length))?;
        wipe(part, extent.length - WIPED_BYTES.min(extent.length), WIPED_BYTES.min(extent.length))?;
    }
    make_filesystem(&parts[0], archive.as_deref())?;
    swap_space::make(&parts[1], geometry.swap.length)?;
    let ends = table::create(disk.size_bytes, disk.sector_bytes, geometry)?;
    wipe(&node, geometry.data.end(), ends.tail().0 - geometry.data.end())?;
    write_table(&node, &ends)?;
    let head = ends.head().len() as u64;
    wipe(&node, head, ALIGNMENT - head)?;
    log::info!("formatted {}", disk.node());
    Ok(())
}

/// Writes both copies of a table again from the one that is whole, and tells the kernel.
///
/// # Errors
/// When neither copy is whole any more, or writing fails.
pub fn finish_table(disk: &Device) -> Result<()> {
    let node = PathBuf::from(disk.node());
    is_unchanged(disk)
        .with_context(|| format!("looking at {} again before mending its table", disk.node()))?;
    let ends = read_ends(disk)?;
    let table = table::read(&ends).context("reading the partition table again")?;
    log::warn!("mending the partition table of {disk}");
    write_table(&node, &table::rewrite(&ends, None)?)?;
    table.partitions.iter().try_for_each(|&extent| add(&node, extent))
}

/// Lets a partition reach as far as `grown` says, on the disk and in the kernel.
///
/// # Errors
/// When the table is not what it was when this was decided, or writing fails.
pub fn grow_partition(disk: &Device, grown: Extent) -> Result<()> {
    let node = PathBuf::from(disk.node());
    let ends = read_ends(disk)?;
    let table = table::read(&ends).context("reading the partition table again")?;
    let is_same = |old: &Table| old.partitions == table.partitions && old.scheme == table.scheme;
    ensure!(disk.table.as_ref().is_some_and(is_same), "the partition table of {} has changed", disk.node());
    log::info!("growing partition {} of {disk} to {} MiB", grown.number, grown.length >> 20);
    match table.scheme {
        Scheme::Gpt => write_table(&node, &table::rewrite(&ends, Some(grown))?)?,
        Scheme::Mbr => {
            let sector = mbr::grow(&ends, grown).context("the table cannot say so")?;
            write(&node, 0, &sector)?;
        }
    }
    partition::resize(&node, kernel_extent(grown))
}

/// Reads the disk again and compares: whatever changed since the decision, it was not decided upon.
fn is_unchanged(disk: &Device) -> Result<()> {
    let node = disk.node();
    let mut now = disk.clone();
    look(&mut now, File::open(&node)?, 0)?;
    ensure!(now == *disk, "it was {} and is {} now", disk.content, now.content);
    ensure!(partition::is_unused(Path::new(&node))?, "somebody uses it");
    Ok(())
}

fn read_ends(disk: &Device) -> Result<Ends> {
    let mut file = File::open(disk.node()).with_context(|| format!("opening {}", disk.node()))?;
    Ends::read(&mut file, disk.size_bytes, disk.sector_bytes)
        .with_context(|| format!("reading {}", disk.node()))
}

/// Makes the kernel forget the partitions of a disk, which fails while one is in use.
fn forget_partitions(disk: &Device) -> Result<()> {
    let dir = Path::new("/sys/block").join(&disk.name);
    for child in crate::sysfs::children(&dir)? {
        if let Ok(number) = crate::sysfs::attribute(&child, "partition").parse() {
            partition::remove(Path::new(&disk.node()), number)?;
        }
    }
    Ok(())
}

/// Writes the magic, so that the next boot goes on should this one not get to the end.
fn mark(node: &Path) -> Result<()> {
    let mut sector = vec![0; 4096];
    sector[..MAGIC.len()].copy_from_slice(MAGIC.as_bytes());
    write(node, 0, &sector)
}

fn add(node: &Path, extent: Extent) -> Result<()> {
    partition::add(node, kernel_extent(extent))
}

fn kernel_extent(Extent { number, start, length }: Extent) -> partition::Extent {
    partition::Extent { number, start, length }
}

fn make_filesystem(part: &Path, archive: Option<&[u8]>) -> Result<()> {
    let mut mkfs =
        Cmd::new("/usr/sbin/mkfs.ext4").args(["-q", "-F", "-L", DATA_LABEL, "-i", BYTES_PER_INODE]);
    if let Some(archive) = archive {
        let root = Path::new(RUN_DIR).join("new-disk");
        let userdata = root.join(USERDATA.trim_start_matches('/'));
        ensure_dir(userdata.parent().unwrap_or(&root), 0o755, None)?;
        write_atomic(&userdata, archive, 0o644, None)?;
        // The file system is made with the archive in it: there is no moment at which neither disk nor file has it.
        mkfs = mkfs.arg("-d").arg(&root);
    }
    mkfs.args(["-E", "root_owner=0:0"]).arg(part).run(Deadline::secs(MKFS_SECS))?;
    File::open(part)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("writing {} out", part.display()))?;
    Ok(())
}

/// Writes a table in the order that can be cut off anywhere.
fn write_table(node: &Path, ends: &Ends) -> Result<()> {
    if ends.tail().1.is_empty() {
        bail!("{} is too small for a table", node.display());
    }
    in_order(ends).into_iter().try_for_each(|(at, bytes)| write(node, at, bytes))
}

/// Returns what is written of a table, each part after the one before has reached the disk: the second copy, the
/// entries of the first, its header, the first sector.
fn in_order(ends: &Ends) -> [(u64, &[u8]); 4] {
    let sector_bytes = ends.sector_bytes();
    let sector = usize::try_from(sector_bytes).expect("a sector is 4 KiB at most");
    let head = ends.head();
    [
        ends.tail(),
        (2 * sector_bytes, &head[2 * sector..]),
        (sector_bytes, &head[sector..2 * sector]),
        (0, &head[..sector]),
    ]
}

fn wipe(node: &Path, at: u64, count: u64) -> Result<()> {
    write(node, at, &vec![0; usize::try_from(count).context("wiping")?])
}

/// Writes and waits until it is on the disk.
fn write(node: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let file = OpenOptions::new().write(true).open(node)?;
        file.write_all_at(bytes, at)?;
        file.sync_all()
    };
    write().with_context(|| format!("writing {} bytes at {at} of {}", bytes.len(), node.display()))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
