//! The initramfs: cpio archives one behind the other. PID 1's is compressed. The next one has the list of the layers with their
//! checksums. With these two, which a boot loader can read as a file of its own, stage 0 finds the rest on the medium. Those
//! with the layers follow, not compressed, for the layers are.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cpio::newc::{self, ModeFileType};
use xxhash_rust::xxh64::xxh64;

use crate::digest::KeyBuilder;
use crate::layers::Layer;
use crate::project::Project;
use crate::step;

/// Raised when the code below changes the result.
const REVISION: u32 = 5;

/// Folder in the initramfs whose squashfs files stage 0 stacks, in name order.
const LAYERS: &str = "layers";

/// Name of the list of the layers among them, in the form of `xxh64sum`. Stage 0 reads it.
const SUMS: &str = "xxh64sums";

/// zstd level of PID 1's archive: the highest whose window the kernel's decompressor takes for any size.
/// Source: Linux lib/decompress_unzstd.c, ZSTD_WINDOWSIZE_MAX.
const LEVEL: i32 = 19;

/// Stage 0 looks for the list of layers on the medium behind PID 1's archive, no further than this. Unit: bytes.
const HEAD_BYTES: usize = 2 << 20;

/// An archive that is not compressed begins at a multiple of this. Unit: bytes.
/// Source: Linux init/initramfs.c, unpack_to_rootfs().
const ALIGNMENT: usize = 4;

/// A layer's content begins at a multiple of this, as files on a CD do, so that stage 0 can have the device write it straight into
/// memory. Unit: bytes. Source: ECMA-119, 6.1.2.
const SECTOR: usize = 2048;

/// A cpio entry's head without its name. Unit: bytes. Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
const ENTRY_HEAD: usize = 110;

/// Character device 5:1, the console that the kernel opens for PID 1.
const CONSOLE: (u32, u32) = (5, 1);

/// Returns the initramfs made of PID 1 and the layers.
///
/// # Errors
/// When a part cannot be read or the archive cannot be written.
pub fn build(project: &Project, init: &Path, layers: &[Layer], epoch: u64) -> Result<PathBuf> {
    let mut key = KeyBuilder::new("initrd", REVISION).text(&epoch.to_string()).tree(init)?;
    for layer in layers {
        key = key.text(layer.name).text(&layer.key());
    }
    let folder = step::latest(&project.target_folder("initrd")?, &key.finish(), |part| {
        let path = part.join("initrd.img");
        let mtime = u32::try_from(epoch).context("the time stamp does not fit into a cpio archive")?;
        let writing = || format!("writing {}", path.display());
        fs::write(&path, bytes(init, layers, mtime).with_context(writing)?).with_context(writing)
    })?;
    Ok(folder.join("initrd.img"))
}

/// Returns the initramfs `initrd` with one more layer: a further archive with the squashfs `layer`, which the kernel unpacks
/// beside the others, and a line in the list if there is one.
///
/// # Errors
/// When it is no initramfs of ours, or the layer is too large for an archive.
pub fn with_layer(initrd: &[u8], name: &str, layer: &[u8], mtime: u32) -> Result<Vec<u8>> {
    let mut out = match list_of(initrd)? {
        None => initrd.to_vec(),
        Some(List { archive, text }) => {
            let head = Archive { out: initrd[..archive.start].to_vec(), inode: 0, mtime };
            let list = head.list(&(text + &sum_line(name, layer)));
            let mut out = list.context("writing the list of layers")?;
            // What follows stays where it is within a sector.
            let zeros = initrd[archive.end..].iter().take_while(|byte| **byte == 0).count();
            let next = archive.end + zeros;
            out.resize(out.len() + next.wrapping_sub(out.len()) % SECTOR, 0);
            out.extend_from_slice(&initrd[next..]);
            out
        }
    };
    append_layer(&mut out, name, layer, mtime)?;
    Ok(out)
}

/// Appends an archive with one layer; before it are as many zeros as it takes for the layer to begin a sector.
fn append_layer(out: &mut Vec<u8>, name: &str, layer: &[u8], mtime: u32) -> Result<()> {
    let path = format!("{LAYERS}/{name}");
    let head = (ENTRY_HEAD + path.len() + 1).next_multiple_of(ALIGNMENT);
    out.resize((out.len() + head).next_multiple_of(SECTOR) - head, 0);
    let mut archive = Archive { out: mem::take(out), inode: 0, mtime };
    archive.file(&path, 0o644, layer)?;
    *out = newc::trailer(archive.out)?;
    Ok(())
}

/// Returns how many of an initramfs' first bytes a boot loader has to read for stage 0 to find the rest on the medium; None if
/// it has no list of layers. Unit: bytes.
///
/// # Errors
/// When it is no initramfs of ours.
pub fn stage0_bytes(initrd: &[u8]) -> Result<Option<usize>> {
    Ok(list_of(initrd)?.map(|list| list.archive.end))
}

/// Returns how many bytes of an initramfs its first, compressed archive takes, which holds PID 1.
///
/// # Errors
/// When it begins otherwise.
pub fn first_archive_bytes(initrd: &[u8]) -> Result<usize> {
    let size = zstd::zstd_safe::find_frame_compressed_size(initrd).ok().filter(|size| *size <= initrd.len());
    size.context("reading the initramfs: its first archive is not compressed by zstd, or is cut off")
}

/// The list of layers in an initramfs.
struct List {
    archive: Range<usize>,
    text: String,
}

/// Looks for the list of layers; an initramfs of an older ISO has none.
fn list_of(initrd: &[u8]) -> Result<Option<List>> {
    let reading = "reading the initramfs' list of layers";
    let start = first_archive_bytes(initrd)?.next_multiple_of(ALIGNMENT);
    let mut rest = initrd.get(start..).unwrap_or_default();
    let mut text = None;
    loop {
        let mut reader = newc::Reader::new(rest).context(reading)?;
        let (name, is_trailer) = (reader.entry().name().to_owned(), reader.entry().is_trailer());
        if name == format!("{LAYERS}/{SUMS}") {
            let mut content = String::new();
            reader.read_to_string(&mut content).context(reading)?;
            text = Some(content);
        } else if name != LAYERS && !is_trailer {
            return Ok(None);
        }
        rest = reader.finish().context(reading)?;
        if is_trailer {
            return Ok(text.map(|text| List { archive: start..initrd.len() - rest.len(), text }));
        }
    }
}

fn sum_line(name: &str, layer: &[u8]) -> String {
    format!("{:016x}  {name}\n", xxh64(layer, 0))
}

/// Returns the initramfs made of PID 1 and the layers.
fn bytes(init: &Path, layers: &[Layer], mtime: u32) -> Result<Vec<u8>> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("reading {}", file.display()));
    let mut first = Archive { out: Vec::new(), inode: 0, mtime };
    first.folder("dev")?;
    let console = first.entry("dev/console", ModeFileType::Char, 0o600);
    console.rdev_major(CONSOLE.0).rdev_minor(CONSOLE.1).write(&mut first.out, 0).finish()?;
    first.file("init", 0o755, &read(init)?)?;
    let mut head = zstd::bulk::compress(&newc::trailer(first.out)?, LEVEL).context("compressing PID 1")?;
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    ensure!(head.len() < HEAD_BYTES, "PID 1 takes {} bytes, more than stage 0 looks through", head.len());
    let contents: Vec<_> = layers.iter().map(|layer| read(&layer.file)).collect::<Result<_>>()?;
    let lines = layers.iter().zip(&contents).map(|(layer, content)| sum_line(layer.name, content));
    let mut out = Archive { out: head, inode: 0, mtime }.list(&lines.collect::<String>())?;
    for (layer, content) in layers.iter().zip(&contents) {
        append_layer(&mut out, layer.name, content, mtime)?;
    }
    Ok(out)
}

/// A cpio archive under construction.
struct Archive {
    out: Vec<u8>,
    inode: u32,
    mtime: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, kind: ModeFileType, mode: u32) -> newc::Builder {
        self.inode += 1;
        newc::Builder::new(name)
            .ino(self.inode)
            .nlink(1)
            .mtime(self.mtime)
            .mode(mode)
            .set_mode_file_type(kind)
    }

    fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, ModeFileType::Directory, 0o755).write(&mut self.out, 0).finish().map(drop)
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len())
            .with_context(|| format!("{name} is too large for a cpio archive"))?;
        let entry = self.entry(name, ModeFileType::Regular, mode);
        let mut writer = entry.write(&mut self.out, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }

    /// Ends as the archive with the folder of layers and their list `text`.
    fn list(mut self, text: &str) -> Result<Vec<u8>> {
        self.folder(LAYERS)?;
        self.file(&format!("{LAYERS}/{SUMS}"), 0o644, text.as_bytes())?;
        let mut out = newc::trailer(self.out)?;
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns names and sizes in the archive that `bytes` begin with, after zeros, and what follows it.
    fn entries(bytes: &[u8]) -> (Vec<(String, u32)>, &[u8]) {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let mut bytes = &bytes[zeros..];
        let mut names = Vec::new();
        loop {
            let reader = newc::Reader::new(bytes).unwrap();
            let (name, size) = (reader.entry().name().to_owned(), reader.entry().file_size());
            let is_trailer = reader.entry().is_trailer();
            bytes = reader.finish().unwrap();
            if is_trailer {
                return (names, bytes);
            }
            names.push((name, size));
        }
    }

    /// Returns an initramfs with one layer.
    fn initramfs() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let init = folder.path().join("my-init");
        fs::write(&init, "program").unwrap();
        let layers = [Layer { name: "10-base.squashfs", file: init.clone() }];
        bytes(&init, &layers, 1).unwrap()
    }

    fn names(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
        expected.iter().map(|&(name, size)| (name.to_owned(), size)).collect()
    }

    /// Checksum of "program" and of "layer", by `xxh64sum`.
    const LINES: [&str; 2] =
        ["834f6f5067cc5247  10-base.squashfs\n", "5331df098242f6b6  60-custom.squashfs\n"];

    #[test]
    fn the_archives_hold_init_console_list_and_layers_and_nothing_else() {
        let bytes = initramfs();
        let size = first_archive_bytes(&bytes).unwrap();
        let first = zstd::decode_all(&bytes[..size]).unwrap();
        assert_eq!(entries(&first).0, names(&[("dev", 0), ("dev/console", 0), ("init", 7)]));
        let second = size.next_multiple_of(ALIGNMENT);
        assert_eq!(bytes[size..second], [0; ALIGNMENT][..second - size]);
        let (list, rest) = entries(&bytes[second..]);
        assert_eq!(list, names(&[("layers", 0), ("layers/xxh64sums", 35)]));
        let (layers, rest) = entries(rest);
        assert_eq!((layers, rest), (names(&[("layers/10-base.squashfs", 7)]), &[][..]));
    }

    #[test]
    fn layers_begin_sectors() {
        let bytes = with_layer(&initramfs(), "60-custom.squashfs", b"layer", 1).unwrap();
        for content in ["program", "layer"] {
            let is_content = |at: &usize| bytes[*at..].starts_with(content.as_bytes());
            assert!((0..bytes.len()).step_by(SECTOR).any(|at| is_content(&at)), "{content}");
        }
    }

    #[test]
    fn stage_0_gets_all_before_the_layers() {
        let bytes = initramfs();
        let stage0 = stage0_bytes(&bytes).unwrap().unwrap();
        assert_eq!(entries(&bytes[stage0..]).0, names(&[("layers/10-base.squashfs", 7)]));
        assert_eq!(list_of(&bytes).unwrap().unwrap().text, LINES[0]);
    }

    #[test]
    fn a_further_layer_is_an_archive_of_its_own_and_on_the_list() {
        let before = initramfs();
        let after = with_layer(&before, "60-custom.squashfs", b"layer", 1).unwrap();
        assert_eq!(list_of(&after).unwrap().unwrap().text, LINES.concat());
        let ends = [&before, &after].map(|bytes| stage0_bytes(bytes).unwrap().unwrap());
        let (_, further) = entries(&after[ends[1]..]);
        let layer = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        assert_eq!(layer(&after[ends[1]..after.len() - further.len()]), layer(&before[ends[0]..]));
        assert_eq!(entries(further), (names(&[("layers/60-custom.squashfs", 5)]), &[][..]));
    }

    #[test]
    fn an_initramfs_without_a_list_gets_the_layer_alone() {
        let mut older = initramfs()[..first_archive_bytes(&initramfs()).unwrap()].to_vec();
        older.resize(older.len().next_multiple_of(ALIGNMENT), 0);
        let head = older.len();
        let layers = Archive { out: older, inode: 0, mtime: 1 };
        let mut archive = layers;
        archive.folder(LAYERS).unwrap();
        let older = newc::trailer(archive.out).unwrap();
        assert_eq!(stage0_bytes(&older).unwrap(), None);
        let after = with_layer(&older, "60-custom.squashfs", b"layer", 1).unwrap();
        assert_eq!(after[..older.len()], older);
        let (_, further) = entries(&after[head..]);
        assert_eq!(entries(further).0, names(&[("layers/60-custom.squashfs", 5)]));
    }
}
