//! Reads what is needed of an ISO image: volume label, files and where they lie, boot images.
//! Source: ECMA-119; IEEE P1282 (Rock Ridge) for the names; El Torito 1.0 and UEFI 2.10 s13.3.2 for the boot catalogue.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Unit of everything on the image.
pub const SECTOR_BYTES: u64 = 2048;

/// Volume descriptors start here. Unit: sectors.
const FIRST_DESCRIPTOR: u64 = 16;

/// Where the label is in the primary volume descriptor, and its length. Unit: bytes.
const LABEL: (u64, usize) = (40, 32);

/// Byte of a directory record that says whether it is a directory.
const FLAGS: usize = 25;

/// An ISO image.
#[derive(Debug)]
pub struct Iso {
    file: File,
    path: PathBuf,
}

/// Where the content of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Unit: sectors.
    pub start: u32,
    /// Unit: bytes.
    pub length: u32,
}

/// A file or directory with its full path, such as `/boot/initrd.img`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root of the image, with Rock Ridge names where there are any.
    pub path: String,
    /// Where it lies.
    pub extent: Extent,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// An image that firmware starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootImage {
    /// The firmware it is for.
    pub platform: Platform,
    /// Where it starts. Unit: sectors.
    pub start: u32,
}

/// Platform of a boot image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// 80x86 BIOS.
    Bios,
    /// UEFI.
    Uefi,
    /// Anything else, by its number.
    Other(u8),
}

impl Iso {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// When it cannot be read or has no primary volume descriptor.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let iso = Self { file, path: path.to_path_buf() };
        let descriptor = iso.bytes(FIRST_DESCRIPTOR * SECTOR_BYTES, 6)?;
        ensure!(descriptor == b"\x01CD001", "reading {}: it is not an ISO 9660 image", path.display());
        Ok(iso)
    }

    /// Returns the volume label.
    ///
    /// # Errors
    /// When the image ends before.
    pub fn label(&self) -> Result<String> {
        let label = self.bytes(FIRST_DESCRIPTOR * SECTOR_BYTES + LABEL.0, LABEL.1)?;
        Ok(String::from_utf8_lossy(&label).trim_end().to_owned())
    }

    /// Returns `length` bytes from `offset`.
    ///
    /// # Errors
    /// When the image ends before.
    pub fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let result = self.file.read_exact_at(&mut bytes, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::other("the file ends before; it is no ISO, or not all of one")
            }
            _ => error,
        });
        result.with_context(|| format!("reading {length} bytes at {offset} of {}", self.path.display()))?;
        Ok(bytes)
    }

    /// Returns the whole content at `extent`.
    ///
    /// # Errors
    /// When the image ends before.
    pub fn content(&self, extent: Extent) -> Result<Vec<u8>> {
        self.bytes(u64::from(extent.start) * SECTOR_BYTES, extent.length as usize)
    }

    /// Returns the whole content of the file at `path`.
    ///
    /// # Errors
    /// When there is none, or the image ends before its end.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let entries = self.entries()?;
        let entry = entries.iter().find(|entry| entry.path == path);
        self.content(entry.with_context(|| format!("{} has no file {path}", self.path.display()))?.extent)
    }

    /// Returns all files and directories but the root, directories before what is in them.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let root = self.bytes(FIRST_DESCRIPTOR * SECTOR_BYTES + 156, 34)?;
        let mut found = self.directory(extent_of(&root), "")?;
        let mut next = 0;
        while let Some(entry) = found.get(next).cloned() {
            if entry.is_directory {
                found.extend(self.directory(entry.extent, &entry.path)?);
            }
            next += 1;
        }
        Ok(found)
    }

    /// Returns the boot images in the order of the catalogue; the first is the default one.
    ///
    /// # Errors
    /// When the image has no boot catalogue.
    pub fn boot_images(&self) -> Result<Vec<BootImage>> {
        let record = self.bytes((FIRST_DESCRIPTOR + 1) * SECTOR_BYTES, 75)?;
        ensure!(
            &record[7..30] == b"EL TORITO SPECIFICATION",
            "reading {}: no boot record",
            self.path.display()
        );
        let catalogue =
            self.bytes(u64::from(little_endian(&record[71..])) * SECTOR_BYTES, SECTOR_BYTES as usize)?;
        Ok(boot_images(&catalogue))
    }

    fn directory(&self, extent: Extent, path: &str) -> Result<Vec<Entry>> {
        let bytes = self.content(extent).with_context(|| format!("reading the directory {path}/"))?;
        Ok(directory_records(&bytes)
            .map(|record| Entry {
                path: format!("{path}/{}", name_of(record)),
                extent: extent_of(record),
                is_directory: record[FLAGS] & 2 != 0,
            })
            .collect())
    }
}

/// Returns the records of a directory but the first two, which are the directory itself and its parent.
fn directory_records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .chunks(SECTOR_BYTES as usize)
        .flat_map(|sector| {
            let mut rest = sector;
            std::iter::from_fn(move || {
                // A record never crosses a sector; length 0 ends the sector.
                let length = usize::from(*rest.first()?);
                let (record, after) = rest.split_at_checked(length).filter(|_| length > 33)?;
                rest = after;
                Some(record)
            })
        })
        .skip(2)
}

/// Returns where the content of a record's file lies.
pub(crate) fn extent_of(record: &[u8]) -> Extent {
    Extent { start: little_endian(&record[2..]), length: little_endian(&record[10..]) }
}

/// Returns the Rock Ridge name of a record, or else its ISO name without version.
pub(crate) fn name_of(record: &[u8]) -> String {
    let length = usize::from(record[32]);
    let name = &record[33..33 + length];
    let mut fields = &record[33 + length + (length + 1) % 2..];
    let mut long = Vec::new();
    while let [kind @ .., size, _version] = fields.get(..4).unwrap_or_default() {
        let size = usize::from(*size);
        let Some((field, rest)) = fields.split_at_checked(size).filter(|_| size >= 4) else { break };
        if kind == b"NM" {
            long.extend_from_slice(field.get(5..).unwrap_or_default());
        }
        fields = rest;
    }
    let name = if long.is_empty() { name.split(|&byte| byte == b';').next().unwrap_or(name) } else { &long };
    String::from_utf8_lossy(name).into_owned()
}

/// Returns what is in a boot catalogue.
pub(crate) fn boot_images(catalogue: &[u8]) -> Vec<BootImage> {
    const HEADER: u8 = 0x90;
    const LAST_HEADER: u8 = 0x91;
    const BOOTABLE: u8 = 0x88;
    let mut platform = platform_of(catalogue[1]);
    let mut images = Vec::new();
    for entry in catalogue.chunks_exact(32).skip(1) {
        match entry[0] {
            HEADER | LAST_HEADER => platform = platform_of(entry[1]),
            BOOTABLE => images.push(BootImage { platform, start: little_endian(&entry[8..]) }),
            _ => break,
        }
    }
    images
}

fn platform_of(number: u8) -> Platform {
    match number {
        0 => Platform::Bios,
        0xef => Platform::Uefi,
        other => Platform::Other(other),
    }
}

fn little_endian(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a directory record for `name` with `system_use` behind it.
    fn record(name: &[u8], flags: u8, start: u8, system_use: &[u8]) -> Vec<u8> {
        let mut record = vec![0; 33];
        record[2] = start;
        record[10] = 9;
        record[FLAGS] = flags;
        record[32] = name.len() as u8;
        record.extend(name);
        if name.len().is_multiple_of(2) {
            record.push(0);
        }
        record.extend(system_use);
        record[0] = record.len() as u8;
        record
    }

    #[test]
    fn names_come_from_rock_ridge_where_it_is() {
        for (case, name, system_use, expected) in [
            ("iso name", &b"VMLINUZ.;1"[..], &b""[..], "VMLINUZ."),
            ("rock ridge", b"VMLINUZ6.;1", b"RR\x05\x01\x81NM\x0e\x01\0vmlinuz64", "vmlinuz64"),
            ("in two pieces", b"A.;1", b"NM\x07\x01\x01abNM\x06\x01\0c", "abc"),
            ("broken length", b"A.;1", b"NM\xff\x01\0a", "A."),
        ] {
            assert_eq!(name_of(&record(name, 0, 1, system_use)), expected, "{case}");
        }
    }

    #[test]
    fn records_end_with_their_sector_and_the_next_one_goes_on() {
        let mut sectors =
            [record(b"\0", 2, 1, b""), record(b"\x01", 2, 1, b""), record(b"A", 0, 5, b"")].concat();
        sectors.resize(SECTOR_BYTES as usize, 0);
        sectors.extend(record(b"B", 0, 6, b""));
        let starts: Vec<_> = directory_records(&sectors).map(|record| extent_of(record).start).collect();
        assert_eq!(starts, [5, 6]);
    }

    #[test]
    fn boot_images_carry_the_platform_of_their_section() {
        let mut catalogue = vec![0; SECTOR_BYTES as usize];
        catalogue[0] = 1;
        catalogue[32] = 0x88;
        catalogue[40] = 100;
        catalogue[64..66].copy_from_slice(&[0x91, 0xef]);
        catalogue[96] = 0x88;
        catalogue[104] = 200;
        let expected = [
            BootImage { platform: Platform::Bios, start: 100 },
            BootImage { platform: Platform::Uefi, start: 200 },
        ];
        assert_eq!(boot_images(&catalogue), expected);
    }
}
