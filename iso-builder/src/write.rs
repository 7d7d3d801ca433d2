//! `iso-builder write`: the ISO on a USB stick or disk, which is shown and checked before, and read back after.

mod disk;
mod refusal;
mod table;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use crate::iso9660::Iso;
use crate::progress::Progress;
use crate::run;
use crate::tools::ToolsTree;
use disk::Disk;
use table::Data;

/// Unit of writing and reading back. Flash writes whole erase blocks of this size well.
const CHUNK_BYTES: usize = 4 << 20;

/// Label of the data partition. Source: boot2docker automount.
const DATA_LABEL: &str = "boot2docker-data";

/// Bytes per inode, as boot2docker has always made data disks: overlay needs many inodes.
const BYTES_PER_INODE: &str = "8192";

/// Options of `iso-builder write`.
#[derive(Debug, Clone, clap::Args)]
pub struct WriteOptions {
    /// Use the rest of the disk for containers and images; what an earlier `write --data` made there is kept
    #[arg(long)]
    pub data: bool,
    /// Write even to a disk that is mounted, in use or not removable
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Writes the ISO at `iso` to `target`, a whole disk or the image of one.
///
/// `tools` finds the tools tree; it is asked only when a file system is to be made.
///
/// # Errors
/// When `target` is refused, cannot be written or does not hold what was written. A refused target is untouched.
pub fn run(
    iso: &Path,
    target: &Path,
    options: &WriteOptions,
    tools: impl FnOnce() -> Result<ToolsTree>,
) -> Result<()> {
    let (image, bytes, label) = open_iso(iso)?;
    let disk = Disk::read(Path::new("/"), target)?;
    eprintln!("{disk}");
    let needed = if options.data { table::DATA_START_BYTES + table::DATA_LEAST_BYTES } else { bytes };
    refusal::check(&disk, needed, options.force)?;
    // Before anything is overwritten: without its tools the data partition could not be made.
    let tools = if options.data { Some(tools()?) } else { None };
    if !options.yes {
        ask(&disk, &label)?;
    }
    // Between question and answer somebody may have mounted it, or plugged another one in.
    let again = Disk::read(Path::new("/"), target)?;
    ensure!(again.identity() == disk.identity(), "writing {}: the disk was changed", target.display());
    refusal::check(&again, needed, options.force)?;
    let mut device = open_target(&again, options.force)?;
    log::warn!("overwriting {} (serial {})", target.display(), again.serial.as_deref().unwrap_or("none"));
    let kept = table::find_data(&device)?.filter(|_| options.data);
    let ui = Progress::new();
    copy(&image, &device, bytes, ui).with_context(|| format!("writing {}", target.display()))?;
    verify(&image, &device, bytes, ui).with_context(|| format!("reading back {}", target.display()))?;
    eprintln!("{}: {label} written and read back", target.display());
    let Some(tools) = tools else { return table::forget_old(&mut device, bytes) };
    let data = table::add_data(&mut device).with_context(|| format!("partitioning {}", target.display()))?;
    if kept == Some(data.start_bytes) {
        eprintln!("{}: data partition kept", target.display());
    } else {
        format(&tools, &again, data)?;
        eprintln!("{}: data partition of {} made", target.display(), size(data.length_bytes));
    }
    device.sync_all().with_context(|| format!("writing {}", target.display()))
}

/// Opens an ISO of ours; returns it with its size and label.
fn open_iso(path: &Path) -> Result<(File, u64, String)> {
    let label = Iso::open(path)?.label()?;
    ensure!(
        label.starts_with(crate::iso::LABEL_PREFIX),
        "reading {}: its label is `{label}`; it is no boot2docker ISO",
        path.display()
    );
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let bytes = file.metadata().with_context(|| format!("reading {}", path.display()))?.len();
    Ok((file, bytes, label))
}

/// Lets a person at a terminal type the disk's name.
fn ask(disk: &Disk, label: &str) -> Result<()> {
    let stdin = io::stdin();
    ensure!(stdin.is_terminal(), "writing {}: nobody is here to ask; say --yes", disk.path.display());
    eprint!("Everything on it will be replaced by {label}. Type {} to go on: ", disk.name);
    io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("reading the answer")?;
    ensure!(answer.trim() == disk.name, "writing {}: not wanted; nothing was changed", disk.path.display());
    Ok(())
}

fn open_target(disk: &Disk, force: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if disk.is_device && !force {
        // On a block device this means: fail when a mount, swap or another driver holds it. open(2).
        options.custom_flags(OFlag::O_EXCL.bits());
    }
    options.open(&disk.path).with_context(|| format!("opening {} for writing", disk.path.display()))
}

fn copy(from: &File, to: &File, bytes: u64, ui: Progress) -> Result<()> {
    let bar = ui.bytes("writing", bytes);
    let mut writer = to.try_clone()?;
    writer.seek(SeekFrom::Start(0))?;
    for_each_chunk(from, bytes, |_, chunk| {
        writer.write_all(chunk)?;
        // Only what has reached the disk moves the bar; else it runs ahead and then stands for minutes.
        writer.sync_data()?;
        bar.advance(chunk.len() as u64);
        Ok(())
    })
}

fn verify(from: &File, to: &File, bytes: u64, ui: Progress) -> Result<()> {
    to.sync_all()?;
    // Read from the disk, not from memory.
    posix_fadvise(to, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)?;
    let bar = ui.bytes("reading back", bytes);
    let mut found = vec![0; CHUNK_BYTES];
    for_each_chunk(from, bytes, |offset, chunk| {
        let found = &mut found[..chunk.len()];
        to.read_exact_at(found, offset)?;
        if let Some(at) = found.iter().zip(chunk).position(|(one, other)| one != other) {
            bail!("byte {} is not what was written; the disk is broken", offset + at as u64);
        }
        bar.advance(chunk.len() as u64);
        Ok(())
    })
}

fn for_each_chunk(from: &File, bytes: u64, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let mut from = from.try_clone()?;
    from.seek(SeekFrom::Start(0))?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let mut offset = 0;
    while offset < bytes {
        chunk.clear();
        let read = (&mut from).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        ensure!(read > 0, "the ISO became shorter");
        each(offset, &chunk)?;
        offset += read as u64;
    }
    Ok(())
}

/// Makes the data partition's file system, through the whole disk: the kernel may not know the partition yet.
fn format(tools: &ToolsTree, disk: &Disk, data: Data) -> Result<()> {
    let mut mkfs = tools.program("mkfs.ext4");
    mkfs.env("MKE2FS_CONFIG", tools.path("/etc/mke2fs.conf"));
    mkfs.args(["-q", "-F", "-L", DATA_LABEL, "-i", BYTES_PER_INODE, "-E"]);
    mkfs.arg(format!("offset={},root_owner=0:0", data.start_bytes)).arg(&disk.path);
    run::output(mkfs.arg(format!("{}k", data.length_bytes / 1024)))
        .with_context(|| format!("formatting the data partition of {}", disk.path.display()))
        .map(drop)
}

/// Returns a size as a person writes it.
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 10_240.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// Arguments of the sub-command that are no options.
#[derive(Debug, Clone, clap::Args)]
pub struct Places {
    /// The ISO
    pub iso: PathBuf,
    /// The whole disk, for instance /dev/sdX, or the image file of one
    pub disk: PathBuf,
}

#[cfg(test)]
mod tests;
