//! The boot medium: the CD, stick or disk that was booted. From there come the layers that the boot loader did not read, and on
//! machines with little memory all layers are read there for good.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use b2d_sys::effects::mapping::Mapping;
use b2d_sys::effects::mount::{MountFlags, UnmountFlags, mount, unmount};
use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::uevents::UeventSocket;
use b2d_sys::effects::{blocks, clock, loopdev};
use cpio::newc;
use xxhash_rust::xxh64::Xxh64;

use crate::read_ahead;
use crate::sums::{self, Sums};

/// Where a medium is mounted while it is looked at.
const MOUNT: &str = "/medium";
/// The initramfs on an ISO of ours.
const INITRAMFS: &str = "boot/initrd.img";
/// Where a CD's first descriptor says what it is, and how. Source: ECMA-119, 7.2 and 8.1.2.
const IDENTIFIER: (u64, &[u8; 5]) = (0x8001, b"CD001");
/// Begin of a cpio archive's entry. Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
const MAGIC: &[u8] = b"070701";
/// Archives begin at a multiple of this. Source: the same.
const ALIGNMENT: u64 = 4;
/// PID 1's compressed archive, which comes first, ends before this.
const SEARCHED_BYTES: u64 = 2 << 20;
/// Folder of the layers in their archive.
const FOLDER: &str = "layers/";
/// A drive does not tell when a CD is put in: looked for again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Controllers take up to this until they show their disks; then people are told that something is missing.
const USUAL: Duration = Duration::from_secs(5);

/// Part of a file or device. Unit: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub size: u64,
}

/// The medium that the machine was booted from.
#[derive(Debug)]
pub struct Medium {
    /// The block device.
    pub device: PathBuf,
    places: BTreeMap<String, Place>,
}

impl Medium {
    /// Looks for the medium with the layers of `sums` among the block devices that are here by now, but for `refused` ones.
    pub fn find(sums: &Sums, refused: &[PathBuf]) -> Option<Self> {
        devices().into_iter().filter(|device| !refused.contains(device)).find_map(|device| {
            let opened = open(&device, sums);
            opened.inspect_err(|error| log::debug!("{error:#}")).ok().flatten()
        })
    }

    /// Waits until the medium with the layers of `sums` is here; `tell` gets to know if that takes long. Those in `refused` are
    /// not looked at.
    ///
    /// # Errors
    /// When it is not here after `patience` (None: for ever), or the kernel does not tell of devices.
    pub fn wait_for(
        sums: &Sums,
        refused: &[PathBuf],
        patience: Option<Duration>,
        mut tell: impl FnMut(&[PathBuf]),
    ) -> Result<Self> {
        let events = UeventSocket::open()?;
        let began = clock::since_kernel_start();
        let mut told_after = Some(USUAL);
        loop {
            if let Some(medium) = Self::find(sums, refused) {
                return Ok(medium);
            }
            leave_trays_open();
            let waited = clock::since_kernel_start().saturating_sub(began);
            if told_after.take_if(|usual| waited >= *usual).is_some() {
                tell(&devices());
            }
            ensure!(
                patience.is_none_or(|patience| waited < patience),
                "the medium that was booted is not here"
            );
            wait_for_disk(&events).context("waiting for the medium that was booted")?;
        }
    }

    /// Makes a layer a block device; returns its path and what keeps it until it is mounted.
    ///
    /// # Errors
    /// When the medium lacks it or the kernel has no loop device.
    pub fn attach(&self, name: &str) -> Result<(PathBuf, OwnedFd)> {
        let place = self.place(name)?;
        loopdev::attach_part_read_only(Path::new("/dev"), &self.device, place.offset, place.size)
    }

    /// Reads a layer, into `copy` if there is to be one, which is as large; `progress` gets the bytes that are read and those of the
    /// whole, again and again.
    ///
    /// # Errors
    /// When the medium lacks it or cannot be read, or when it has not the checksum `sum`.
    pub fn read(
        &self,
        name: &str,
        sum: u64,
        copy: Option<&mut Mapping>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let Place { offset, size } = self.place(name)?;
        let (mut hash, mut done) = (Xxh64::new(0), 0);
        let each = |part: &[u8]| {
            hash.update(part);
            done += part.len() as u64;
            progress(done, size);
            Ok(())
        };
        let read = match copy {
            Some(copy) => read_ahead::into(copy, &self.device, offset, size, each),
            None => read_ahead::through(&self.device, offset, size, each),
        };
        read.with_context(|| format!("reading {name} from {}", self.device.display()))?;
        ensure!(
            hash.digest() == sum,
            "{}: {name} is damaged, its checksum is not that of the ISO; write the ISO to it again",
            self.device.display()
        );
        Ok(())
    }

    /// Returns where a layer lies.
    ///
    /// # Errors
    /// When the medium lacks it.
    pub fn place(&self, name: &str) -> Result<Place> {
        self.places
            .get(name)
            .copied()
            .with_context(|| format!("looking for {name} on {}", self.device.display()))
    }
}

/// Else each look into an open drive would draw its tray in, before somebody can put the CD there.
fn leave_trays_open() {
    if let Err(error) = fs::write("/proc/sys/dev/cdrom/autoclose", "0\n") {
        log::debug!("telling CD drives to leave their trays open: {error}");
    }
}

/// Waits until the kernel tells of a block device, or for [`AGAIN`].
fn wait_for_disk(events: &UeventSocket) -> io::Result<()> {
    let end = clock::since_kernel_start() + AGAIN;
    loop {
        let rest = end.saturating_sub(clock::since_kernel_start());
        poll::wait(&[(events.as_fd(), Interest::Read)], Some(rest))?;
        let mut is_disk = false;
        while let Some(event) = events.next_event() {
            is_disk |= event.subsystem == "block";
        }
        if is_disk || clock::since_kernel_start() >= end {
            return Ok(());
        }
    }
}

/// Returns the block devices that may be the medium.
fn devices() -> Vec<PathBuf> {
    devices_of(Path::new("/sys/class/block")).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        Vec::new()
    })
}

/// Returns the block devices that may be a medium, CD drives first, for most machines are booted from there. No floppy, whose
/// drive takes long to say that it is empty.
fn devices_of(class: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(class).with_context(|| format!("listing {}", class.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !["loop", "ram", "zram", "fd", "nbd"].iter().any(|kind| name.starts_with(kind)));
    names.sort_by_key(|name| (!name.starts_with("sr"), name.clone()));
    Ok(names.into_iter().map(|name| Path::new("/dev").join(name)).collect())
}

/// Opens a device if it is the medium with the layers of `sums`.
fn open(device: &Path, sums: &Sums) -> Result<Option<Medium>> {
    let reading = || format!("reading {}", device.display());
    let file = File::open(device).with_context(reading)?;
    if !is_cd_image(&file).with_context(reading)? {
        return Ok(None);
    }
    fs::create_dir_all(MOUNT).with_context(|| format!("making {MOUNT}"))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(&device.to_string_lossy(), Path::new(MOUNT), "iso9660", flags, "")?;
    let places = places_on_device(&Path::new(MOUNT).join(INITRAMFS), sums);
    unmount(Path::new(MOUNT), UnmountFlags::empty())?;
    Ok(places.with_context(reading)?.map(|places| Medium { device: device.to_owned(), places }))
}

fn is_cd_image(mut file: &File) -> io::Result<bool> {
    let mut found = [0; 5];
    file.seek(SeekFrom::Start(IDENTIFIER.0))?;
    // An empty drive and a tiny device end here.
    Ok(file.read_exact(&mut found).is_ok() && found == *IDENTIFIER.1)
}

/// Returns where the layers in the file `initramfs` lie on its device; None if its list of layers is not `sums`.
fn places_on_device(initramfs: &Path, sums: &Sums) -> Result<Option<BTreeMap<String, Place>>> {
    let mut file = BufReader::new(File::open(initramfs).context("opening its initramfs")?);
    let mut places = places(&mut file)?;
    if list(&mut file, &places)?.as_ref() != Some(sums) {
        return Ok(None);
    }
    // A file on a CD lies in one piece.
    let begin = blocks::first_byte(file.get_ref()).context("asking where its initramfs lies")?;
    places.values_mut().for_each(|place| place.offset += begin);
    Ok(Some(places))
}

/// Reads the list of layers of an initramfs; None if it has none.
fn list(initramfs: &mut (impl Read + Seek), places: &BTreeMap<String, Place>) -> Result<Option<Sums>> {
    let Some(place) = places.get(sums::FILE) else { return Ok(None) };
    initramfs.seek(SeekFrom::Start(place.offset))?;
    let mut text = String::new();
    initramfs.take(place.size).read_to_string(&mut text).context("reading its list of layers")?;
    Sums::parse(&text).map(Some)
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

    /// Returns the medium with the bytes of [`initramfs`].
    fn medium(folder: &Path) -> Medium {
        let device = folder.join("sr0");
        fs::write(&device, initramfs()).unwrap();
        let mut file = File::open(&device).unwrap();
        let places = places(&mut file).unwrap();
        Medium { device, places }
    }

    #[test]
    fn a_layer_is_copied_and_its_progress_told() {
        let folder = tempfile::tempdir().unwrap();
        let (medium, copy) = (medium(folder.path()), folder.path().join("copy"));
        let sum = xxhash_rust::xxh64::xxh64(b"custom", 0);
        let mut mapping = Mapping::create(&copy, medium.place("60-custom.squashfs").unwrap().size).unwrap();
        for target in [None, Some(&mut mapping)] {
            let mut told = Vec::new();
            medium.read("60-custom.squashfs", sum, target, |done, size| told.push((done, size))).unwrap();
            assert_eq!(told, [(6, 6)]);
        }
        assert_eq!(fs::read(copy).unwrap(), b"custom");
    }

    #[test]
    fn what_is_damaged_cut_off_or_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let medium = medium(folder.path());
        let error = |name: &str| {
            let error = medium.read(name, 1, None, |_, _| {}).unwrap_err();
            format!("{error:#}").replace(&format!("{}/", folder.path().display()), "")
        };
        assert_eq!(
            error("10-base.squashfs"),
            "sr0: 10-base.squashfs is damaged, its checksum is not that of the ISO; write the ISO to it again"
        );
        assert_eq!(error("70-other.squashfs"), "looking for 70-other.squashfs on sr0");
        File::options().write(true).open(&medium.device).unwrap().set_len(200).unwrap();
        assert_eq!(
            error("60-custom.squashfs"),
            "reading 60-custom.squashfs from sr0: the device ends before"
        );
    }

    #[test]
    fn cd_drives_come_first_and_what_is_no_medium_not_at_all() {
        let class = tempfile::tempdir().unwrap();
        for name in ["sda", "fd0", "loop0", "sr1", "vda", "sr0", "zram0", "nvme0n1", "nbd0", "ram0"] {
            fs::write(class.path().join(name), "").unwrap();
        }
        let expected = ["/dev/sr0", "/dev/sr1", "/dev/nvme0n1", "/dev/sda", "/dev/vda"];
        assert_eq!(devices_of(class.path()).unwrap(), expected.map(PathBuf::from));
    }

    #[test]
    fn the_list_of_layers_is_read_from_the_medium() {
        let mut bytes =
            archive(&[("layers", b""), ("layers/xxh64sums", b"00000000000000ff  10-base.squashfs\n")]);
        let places = places(&mut Cursor::new(&mut bytes)).unwrap();
        let found = list(&mut Cursor::new(&bytes), &places).unwrap().unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [("10-base.squashfs", 0xff)]);
        assert_eq!(list(&mut Cursor::new(&bytes), &BTreeMap::new()).unwrap(), None);
    }
}
