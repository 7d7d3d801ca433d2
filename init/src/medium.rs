//! The boot medium instead of memory as the place of the root's layers, for machines with little memory. Where they lie on it
//! is only believed of a medium that has every byte of what was booted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b2d_sys::effects::loopdev;
use b2d_sys::effects::mount::{MountFlags, UnmountFlags, mount, unmount};
use cpio::newc;

/// What `b2d.root=` may say.
pub const VALUES: [&str; 2] = ["ram", "medium"];
/// Where the medium is mounted; hidden once the root is switched.
const MOUNT: &str = "/medium";
/// The initramfs on an ISO of ours.
const INITRAMFS: &str = "boot/initrd.img";
/// Less memory than this is little: Docker runs, but loads again and again what was just let go. Unit: KiB of
/// `MemTotal`.
const LITTLE_KIB: u64 = 320 << 10;
/// Where a CD's first descriptor says what it is, and how. Source: ECMA-119, 7.2 and 8.1.2.
const IDENTIFIER: (u64, &[u8; 5]) = (0x8001, b"CD001");
/// Begin of a cpio archive's entry. Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
const MAGIC: &[u8] = b"070701";
/// Archives begin at a multiple of this. Source: the same.
const ALIGNMENT: u64 = 4;
/// PID 1's compressed archive, which comes first, ends before this.
const SEARCHED_BYTES: u64 = 4 << 20;
/// Folder of the layers in their archive.
const FOLDER: &str = "layers/";

/// Part of a file. Unit: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    size: u64,
}

/// The medium that the machine was booted from.
#[derive(Debug)]
pub struct Medium {
    /// The block device.
    pub device: PathBuf,
    places: BTreeMap<String, Place>,
}

/// Tells whether the layers are to be read from the medium: as `b2d.root` says, else if there is little memory.
pub fn is_wanted(option: Option<&str>, memory_kib: Option<u64>) -> bool {
    match option {
        Some("medium") => true,
        Some(_) => false,
        None => memory_kib.is_some_and(|kib| kib < LITTLE_KIB),
    }
}

impl Medium {
    /// Looks for a medium with the layers `names` of the folder `layers`, and mounts it.
    pub fn find(layers: &Path, names: &[String]) -> Option<Self> {
        let devices = devices(Path::new("/sys/class/block")).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            Vec::new()
        });
        devices.into_iter().find_map(|device| {
            let opened = open(&device, layers, names);
            opened.inspect_err(|error| log::debug!("{error:#}")).ok().flatten()
        })
    }

    /// Makes a layer a block device; returns its path and what keeps it until it is mounted.
    ///
    /// # Errors
    /// When the medium lacks it or the kernel has no loop device.
    pub fn attach(&self, name: &str) -> Result<(PathBuf, std::os::fd::OwnedFd)> {
        let place = self.places.get(name).with_context(|| format!("looking for {name} on the medium"))?;
        let file = Path::new(MOUNT).join(INITRAMFS);
        loopdev::attach_part_read_only(Path::new("/dev"), &file, place.offset, place.size)
    }
}

/// Returns the block devices that may be a medium: no floppy, whose drive takes long to say that it is empty.
fn devices(class: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(class).with_context(|| format!("listing {}", class.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !["loop", "ram", "zram", "fd", "nbd"].iter().any(|kind| name.starts_with(kind)));
    names.sort();
    Ok(names.into_iter().map(|name| Path::new("/dev").join(name)).collect())
}

/// Mounts a device if it is the medium. By a loop device, so that its other partitions can still be mounted.
fn open(device: &Path, layers: &Path, names: &[String]) -> Result<Option<Medium>> {
    if !is_cd_image(device)? {
        return Ok(None);
    }
    fs::create_dir_all(MOUNT).with_context(|| format!("making {MOUNT}"))?;
    let (image, _keep_until_mounted) = loopdev::attach_read_only(Path::new("/dev"), device)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = mount(&image.to_string_lossy(), Path::new(MOUNT), "iso9660", flags, "");
    let places = mounted.and_then(|()| {
        let found = same_layers(&Path::new(MOUNT).join(INITRAMFS), layers, names);
        if !matches!(found, Ok(Some(_))) {
            unmount(Path::new(MOUNT), UnmountFlags::empty())?;
        }
        found
    });
    if !matches!(places, Ok(Some(_))) {
        loopdev::detach(&image)?;
    }
    Ok(places?.map(|places| Medium { device: device.to_owned(), places }))
}

fn is_cd_image(device: &Path) -> Result<bool> {
    let reading = || format!("reading {}", device.display());
    let mut file = File::open(device).with_context(reading)?;
    let mut found = [0; 5];
    file.seek(SeekFrom::Start(IDENTIFIER.0)).with_context(reading)?;
    // An empty drive and a tiny device end here.
    Ok(file.read_exact(&mut found).is_ok() && found == *IDENTIFIER.1)
}

/// Returns where the layers lie in the file `initramfs`, None unless all of them are there as they are in memory.
fn same_layers(initramfs: &Path, layers: &Path, names: &[String]) -> Result<Option<BTreeMap<String, Place>>> {
    let reading = || format!("reading {}", initramfs.display());
    let mut file = BufReader::new(File::open(initramfs).with_context(reading)?);
    let places = places(&mut file).with_context(reading)?;
    for name in names {
        let Some(place) = places.get(name) else { return Ok(None) };
        let path = layers.join(name);
        let mut ours =
            BufReader::new(File::open(&path).with_context(|| format!("opening {}", path.display()))?);
        file.seek(SeekFrom::Start(place.offset)).with_context(reading)?;
        if !is_same(&mut ours, &mut (&mut file).take(place.size)).with_context(reading)? {
            return Ok(None);
        }
    }
    Ok(Some(places))
}

/// Finds the layers in an initramfs: cpio archives one behind the other, the first compressed and without layers.
fn places(initramfs: &mut (impl Read + Seek)) -> io::Result<BTreeMap<String, Place>> {
    let mut places = BTreeMap::new();
    let mut at = first_plain_archive(initramfs)?;
    while let Some(archive) = skip_zeros(initramfs, at)? {
        initramfs.seek(SeekFrom::Start(archive))?;
        let Ok(mut reader) = newc::Reader::new(&mut *initramfs) else { break };
        let (name, size) = (reader.entry().name().to_owned(), reader.entry().file_size().into());
        let offset = reader.offset()?;
        if let Some(layer) = name.strip_prefix(FOLDER) {
            places.insert(layer.to_owned(), Place { offset, size });
        }
        at = (offset + size).next_multiple_of(ALIGNMENT);
    }
    Ok(places)
}

/// Returns where the archive with the folder of layers begins; the end if it is not there.
fn first_plain_archive(initramfs: &mut (impl Read + Seek)) -> io::Result<u64> {
    let mut head = Vec::new();
    initramfs.seek(SeekFrom::Start(0))?;
    initramfs.take(SEARCHED_BYTES).read_to_end(&mut head)?;
    let is_folder = |at: &usize| {
        head[*at..].starts_with(MAGIC)
            && newc::Reader::new(&head[*at..])
                .is_ok_and(|reader| format!("{}/", reader.entry().name()) == FOLDER)
    };
    let begin = (0..head.len()).step_by(ALIGNMENT as usize).find(is_folder);
    Ok(begin.unwrap_or(head.len()) as u64)
}

/// Returns the first multiple of the alignment from `at` on where no zeros are; None at the end.
fn skip_zeros(file: &mut (impl Read + Seek), mut at: u64) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(at))?;
    let mut word = [0; ALIGNMENT as usize];
    while file.read_exact(&mut word).is_ok() {
        if word != [0; ALIGNMENT as usize] {
            return Ok(Some(at));
        }
        at += ALIGNMENT;
    }
    Ok(None)
}

fn is_same(one: &mut impl BufRead, two: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let (left, right) = (one.fill_buf()?, two.fill_buf()?);
        let count = left.len().min(right.len());
        if count == 0 {
            return Ok(left.len() == right.len());
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
        one.consume(count);
        two.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    /// Returns an archive with these files.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in files {
            let mut writer =
                newc::Builder::new(name).write(&mut bytes, u32::try_from(content.len()).unwrap());
            writer.write_all(content).unwrap();
            writer.finish().unwrap();
        }
        newc::trailer(bytes).unwrap()
    }

    /// Returns an initramfs: something compressed, two layers, a third one far behind.
    fn initramfs() -> Vec<u8> {
        let mut bytes = b"compressed 070701 not here..".to_vec();
        bytes.extend(archive(&[
            ("layers", b""),
            ("layers/10-base.squashfs", b"base"),
            ("layers/50-own", b"own"),
        ]));
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(archive(&[("layers/60-custom.squashfs", b"custom")]));
        bytes
    }

    #[test]
    fn layers_are_found_in_all_archives() {
        let bytes = initramfs();
        let places = places(&mut Cursor::new(&bytes)).unwrap();
        let content = |place: &Place| {
            let begin = usize::try_from(place.offset).unwrap();
            String::from_utf8(bytes[begin..begin + usize::try_from(place.size).unwrap()].to_vec()).unwrap()
        };
        let found: Vec<_> = places.iter().map(|(name, place)| (name.as_str(), content(place))).collect();
        let expected = [("10-base.squashfs", "base"), ("50-own", "own"), ("60-custom.squashfs", "custom")];
        assert_eq!(found, expected.map(|(name, content)| (name, content.to_owned())));
    }

    #[test]
    fn no_archive_has_no_layers() {
        for bytes in [&b""[..], b"0707", &[0; 4096], &b"070701".repeat(100)] {
            assert_eq!(places(&mut Cursor::new(bytes)).unwrap(), BTreeMap::new());
        }
    }

    #[test]
    fn only_what_is_the_same_to_the_byte_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("initrd.img"), initramfs()).unwrap();
        fs::write(at("10-base.squashfs"), "base").unwrap();
        let same = |own: &str| {
            fs::write(at("50-own"), own).unwrap();
            let names = ["10-base.squashfs".to_owned(), "50-own".to_owned()];
            same_layers(&at("initrd.img"), folder.path(), &names).unwrap()
        };
        assert_eq!(same("own").unwrap().len(), 3);
        for other in ["owm", "own ", "ow", ""] {
            assert_eq!(same(other), None, "{other:?}");
        }
        let missing = same_layers(&at("initrd.img"), folder.path(), &["70-other".to_owned()]).unwrap();
        assert_eq!(missing, None);
    }

    #[test]
    fn little_memory_and_the_option_decide() {
        for (option, memory, expected) in [
            (None, Some(250 << 10), true),
            (None, Some(480 << 10), false),
            (None, None, false),
            (Some("medium"), Some(4 << 20), true),
            (Some("ram"), Some(250 << 10), false),
        ] {
            assert_eq!(is_wanted(option, memory), expected, "{option:?} {memory:?}");
        }
    }
}
