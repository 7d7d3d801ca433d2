//! `iso-builder inspect`: what is in an ISO of ours, read from the file alone: no tools tree, no mounting, no root.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::boot_config::{GRUB, ISOLINUX};
use crate::iso::LABEL_PREFIX;
use crate::iso9660::{Iso, Platform, SECTOR_BYTES};
use crate::sbom::spdx::Document;
use crate::squashfs::{self, Entry};
use crate::{compare, ikconfig, initrd, kernel, sbom};

/// Path of the bill of materials in the image.
pub(crate) const BILL: &str = "/usr/share/boot2docker/boot2docker.spdx.json";

/// Path of PID 1's program in the image.
const PID1: &str = "/usr/sbin/init";

/// Path of the kernel in the ISO.
const KERNEL: &str = "/boot/vmlinuz64";

/// Unit of the partition table.
const DISK_SECTOR_BYTES: u64 = 512;

/// What to show; without any of them an overview.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[group(multiple = false)]
pub struct InspectOptions {
    /// Show the kernel's configuration
    #[arg(long)]
    pub kernel_config: bool,
    /// Show packages, sources and crates with their versions and licences
    #[arg(long)]
    pub packages: bool,
    /// Show every file of the image with mode, owner, size and its share in the ISO
    #[arg(long)]
    pub files: bool,
    /// Show the bill of materials as it is in the image, in SPDX 2.3
    #[arg(long)]
    pub sbom: bool,
}

/// Returns what `options` ask to know of the ISO at `path`.
///
/// # Errors
/// When the file is no ISO of ours; the text says what it is instead, as far as that can be seen.
pub fn run(path: &Path, options: InspectOptions) -> Result<String> {
    let iso = open(path)?;
    if options.kernel_config {
        return ikconfig::of(&iso.read(KERNEL)?)
            .with_context(|| format!("reading {KERNEL} of {}", path.display()));
    }
    if options.files {
        return files(path);
    }
    if options.packages {
        return Ok(packages(&bill(path)?));
    }
    if options.sbom {
        return Ok(bill(path)?.to_text());
    }
    overview(&iso, path)
}

/// Opens an ISO of ours.
///
/// # Errors
/// When it is something else.
pub fn open(path: &Path) -> Result<Iso> {
    let iso = Iso::open(path)?;
    let label = iso.label()?;
    ensure!(
        label.starts_with(LABEL_PREFIX),
        "reading {}: its label is `{label}`; it is no boot2docker ISO",
        path.display()
    );
    Ok(iso)
}

/// Returns the bill of materials in the image.
///
/// # Errors
/// When there is none: the ISO is older than it.
pub fn bill(path: &Path) -> Result<Document> {
    for layer in squashfs::layers_of(path)?.iter().rev() {
        if let Some(text) = layer.read(BILL)? {
            return Document::read(&text).with_context(|| format!("reading {BILL} of {}", path.display()));
        }
    }
    bail!("reading {}: there is no {} in its image", path.display(), sbom::FILE)
}

fn overview(iso: &Iso, path: &Path) -> Result<String> {
    let bytes = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    let label = iso.label()?;
    let mut text = format!("{}  {}\n\n", path.display(), mib(bytes));
    let mut row = |name: &str, value: &str| {
        writeln!(text, "{name:<12}{value}").expect("writing to a String cannot fail");
    };
    row("label", &label);
    row("version", String::from_utf8_lossy(&iso.read("/version")?).trim());
    row("kernel", &kernel::release_in(&iso.read(KERNEL)?).with_context(|| format!("reading {KERNEL}"))?);
    for image in iso.boot_images()? {
        let firmware = match image.platform {
            Platform::Bios => "BIOS".to_owned(),
            Platform::Uefi => "UEFI".to_owned(),
            Platform::Other(number) => format!("platform {number:#04x}"),
        };
        row("boot image", &format!("{firmware}, at {}", u64::from(image.start) * SECTOR_BYTES));
    }
    for entry in partitions(&iso.bytes(0, DISK_SECTOR_BYTES as usize)?) {
        row("partition", &entry);
    }
    for entry in isolinux_entries(&String::from_utf8_lossy(&iso.read(ISOLINUX)?)) {
        row("BIOS entry", &entry);
    }
    if iso.entries()?.iter().any(|entry| entry.path == GRUB) {
        for entry in grub_entries(&String::from_utf8_lossy(&iso.read(GRUB)?)) {
            row("UEFI entry", &entry);
        }
    }
    for entry in iso.entries()?.iter().filter(|entry| !entry.is_directory) {
        row("file", &format!("{:>10}  {}", entry.extent.length, entry.path));
    }
    for layer in squashfs::layers_of(path)? {
        let entries = layer.entries();
        let unpacked: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
        let sizes =
            format!("{}, {} unpacked, {} entries", mib(layer.packed_bytes), mib(unpacked), entries.len());
        row("layer", &format!("{}: {sizes}", layer.name));
    }
    Ok(text)
}

fn packages(bill: &Document) -> String {
    let mut text = String::new();
    for package in &bill.packages {
        let kind = match package.id.strip_prefix("SPDXRef-").and_then(|rest| rest.split_once('-')) {
            Some(("deb", _)) => "package",
            Some((kind, _)) => kind,
            None => "system",
        };
        writeln!(
            text,
            "{kind:<9}{:<34}{:<34}{}",
            package.name, package.version_info, package.licence_declared
        )
        .expect("writing to a String cannot fail");
    }
    text
}

fn files(path: &Path) -> Result<String> {
    let layers = squashfs::layers_of(path)?;
    let pid1 = if layers.iter().any(|layer| layer.find(Path::new(PID1)).is_some()) {
        Vec::new()
    } else {
        vec![("the initramfs, from where PID 1 comes along", vec![pid1(&compare::initrd_of(path)?)?])]
    };
    let of_layers = layers.iter().map(|layer| (layer.name.as_str(), layer.entries()));
    let mut text = String::new();
    for (name, entries) in pid1.into_iter().chain(of_layers) {
        writeln!(text, "{name}:").expect("writing to a String cannot fail");
        for entry in entries {
            let link = entry.link.map(|link| format!(" -> {link}")).unwrap_or_default();
            writeln!(
                text,
                "{} {:>3}:{:<3} {:>10} {:>9} {}{link}",
                entry.mode, entry.owner.0, entry.owner.1, entry.size_bytes, entry.packed_bytes, entry.path
            )
            .expect("writing to a String cannot fail");
        }
    }
    Ok(text)
}

/// Returns PID 1's program as stage 0 takes it along into the image.
fn pid1(initrd: &[u8]) -> Result<Entry> {
    let program = compare::archive_files(initrd)?.remove("init").context("finding /init in the initramfs")?;
    Ok(Entry {
        path: PID1.to_owned(),
        mode: "-rwxr-xr-x".to_owned(),
        owner: (0, 0),
        size_bytes: program.len() as u64,
        packed_bytes: initrd::first_archive_bytes(initrd)? as u64,
        link: None,
    })
}

/// Describes the entries of an MBR that are in use.
fn partitions(mbr: &[u8]) -> Vec<String> {
    let number = |bytes: &[u8]| u64::from(u32::from_le_bytes(bytes.try_into().expect("four bytes")));
    let entries = mbr[446..510].chunks_exact(16).enumerate();
    entries
        .filter(|(_, entry)| entry[12..16] != [0; 4])
        .map(|(index, entry)| {
            let active = if entry[0] == 0x80 { ", active" } else { "" };
            let (start, length) = (number(&entry[8..12]), number(&entry[12..16]));
            let size = mib(length * DISK_SECTOR_BYTES);
            format!("{}: type {:#04x}, at {}, {size}{active}", index + 1, entry[4], start * DISK_SECTOR_BYTES)
        })
        .collect()
}

/// Returns label and kernel command line of each entry.
fn isolinux_entries(config: &str) -> Vec<String> {
    let mut entries = Vec::new();
    let mut label = "";
    for line in config.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("label ") {
            label = name;
        } else if let Some(append) = line.strip_prefix("append ") {
            entries.push(format!("{label}: {append}"));
        }
    }
    entries
}

/// Returns title and kernel command line of each entry.
fn grub_entries(config: &str) -> Vec<String> {
    let mut entries = Vec::new();
    let mut title = "";
    for line in config.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("menuentry \"") {
            title = rest.split('"').next().unwrap_or_default();
        } else if let Some((_, append)) = line.strip_prefix("linux ").and_then(|rest| rest.split_once(' ')) {
            entries.push(format!("{title}: {append}"));
        }
    }
    entries
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_entries_are_name_and_command_line() {
        let isolinux = "default a\n\nlabel a\n  kernel /k\n  append x=1\nlabel b\n  append x=1 debug\n";
        assert_eq!(isolinux_entries(isolinux), ["a: x=1", "b: x=1 debug"]);
        let grub = "menuentry \"one, two\" {\n  linux /boot/vmlinuz64 x=1 y\n  initrd /i\n}\n";
        assert_eq!(grub_entries(grub), ["one, two: x=1 y"]);
    }

    #[test]
    fn partitions_in_use_are_described() {
        let mut mbr = [0; 512];
        mbr[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
        mbr[462 + 4] = 0xef;
        mbr[462 + 8] = 140;
        mbr[462 + 13] = 16;
        let expected = ["1: type 0x00, at 0, 1.0 MiB, active", "2: type 0xef, at 71680, 2.0 MiB"];
        assert_eq!(partitions(&mbr), expected);
    }

    #[test]
    fn foreign_files_are_named_for_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.iso");
        let error = |bytes: Vec<u8>| {
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", run(&path, InspectOptions::default()).unwrap_err())
        };
        assert!(error(b"text".to_vec()).contains("x.iso"), "too short");
        assert!(error(vec![0; 40_000]).ends_with("it is not an ISO 9660 image"), "zeros");
        let mut foreign = vec![0; 40_000];
        foreign[0x8000..0x8006].copy_from_slice(b"\x01CD001");
        foreign[0x8028..0x8048].copy_from_slice(b"Debian 13                       ");
        assert!(error(foreign).ends_with("its label is `Debian 13`; it is no boot2docker ISO"), "foreign");
    }
}
