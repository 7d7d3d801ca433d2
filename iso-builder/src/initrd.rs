//! The initramfs: two cpio archives one behind the other. PID 1's is compressed; that of the layers is not, for they are
//! already.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{self, ModeFileType};

use crate::digest::KeyBuilder;
use crate::layers::Layer;
use crate::project::Project;
use crate::step;

/// Raised when the code below changes the result.
const REVISION: u32 = 2;

/// Folder in the initramfs whose squashfs files stage 0 stacks, in name order.
const LAYERS: &str = "layers";

/// zstd level of PID 1's archive: the highest whose window the kernel's decompressor takes for any size.
/// Source: Linux lib/decompress_unzstd.c, ZSTD_WINDOWSIZE_MAX.
const LEVEL: i32 = 19;

/// An archive that is not compressed begins at a multiple of this. Unit: bytes.
/// Source: Linux init/initramfs.c, unpack_to_rootfs().
const ALIGNMENT: usize = 4;

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
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mtime = u32::try_from(epoch).context("the time stamp does not fit into a cpio archive")?;
        write(BufWriter::new(file), init, layers, mtime)
            .with_context(|| format!("writing {}", path.display()))
    })?;
    Ok(folder.join("initrd.img"))
}

/// Returns the initramfs `initrd` with one more layer: a third archive with the squashfs `layer`, which the kernel unpacks
/// beside the others.
///
/// # Errors
/// When the layer is too large for an archive.
pub fn with_layer(mut initrd: Vec<u8>, name: &str, layer: &[u8], mtime: u32) -> Result<Vec<u8>> {
    initrd.resize(initrd.len().next_multiple_of(ALIGNMENT), 0);
    let size = u32::try_from(layer.len()).context("the layer is too large for a cpio archive")?;
    let mut archive = Archive { out: initrd, inode: 0, mtime };
    let entry = archive.entry(&format!("{LAYERS}/{name}"), ModeFileType::Regular, 0o644);
    let mut writer = entry.write(&mut archive.out, size);
    writer.write_all(layer).context("writing the layer")?;
    writer.finish().context("writing the layer")?;
    newc::trailer(archive.out).context("writing the layer")
}

fn write<W: Write>(mut out: W, init: &Path, layers: &[Layer], mtime: u32) -> Result<()> {
    let mut first = Archive { out: Vec::new(), inode: 0, mtime };
    first.folder("dev")?;
    let console = first.entry("dev/console", ModeFileType::Char, 0o600);
    console.rdev_major(CONSOLE.0).rdev_minor(CONSOLE.1).write(&mut first.out, 0).finish()?;
    first.file("init", 0o755, init)?;
    let inode = first.inode;
    let mut first = zstd::bulk::compress(&newc::trailer(first.out)?, LEVEL).context("compressing PID 1")?;
    first.resize(first.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&first)?;

    let mut second = Archive { out, inode, mtime };
    second.folder(LAYERS)?;
    for Layer { name, file } in layers {
        second.file(&format!("{LAYERS}/{name}"), 0o644, file)?;
    }
    Ok(newc::trailer(second.out)?.flush()?)
}

/// A cpio archive under construction.
struct Archive<W: Write> {
    out: W,
    inode: u32,
    mtime: u32,
}

impl<W: Write> Archive<W> {
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

    fn file(&mut self, name: &str, mode: u32, path: &Path) -> Result<()> {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let size = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
        let size = u32::try_from(size)
            .with_context(|| format!("{} is too large for a cpio archive", path.display()))?;
        let entry = self.entry(name, ModeFileType::Regular, mode);
        let mut writer = entry.write(&mut self.out, size);
        io::copy(&mut file, &mut writer).with_context(|| format!("copying {}", path.display()))?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns names and sizes in the archive at the start of `bytes`, and what follows it.
    fn entries(mut bytes: &[u8]) -> (Vec<(String, u32)>, &[u8]) {
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

    #[test]
    fn a_further_layer_is_an_archive_of_its_own() {
        let initrd = with_layer(b"12345".to_vec(), "60-custom.squashfs", b"layer", 1).unwrap();
        assert_eq!(initrd[..8], *b"12345\0\0\0");
        let (found, rest) = entries(&initrd[8..]);
        assert_eq!((found, rest), (vec![("layers/60-custom.squashfs".to_owned(), 5)], &[][..]));
    }

    #[test]
    fn the_archives_hold_init_console_and_layers_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let init = folder.path().join("my-init");
        fs::write(&init, "program").unwrap();
        let layers = [Layer { name: "10-base.squashfs", file: init.clone() }];
        let mut bytes = Vec::new();
        write(&mut bytes, &init, &layers, 1).unwrap();
        let size = zstd::zstd_safe::find_frame_compressed_size(&bytes).unwrap();
        let first = zstd::decode_all(&bytes[..size]).unwrap();
        let names = |expected: &[(&str, u32)]| -> Vec<_> {
            expected.iter().map(|&(name, size)| (name.to_owned(), size)).collect()
        };
        assert_eq!(entries(&first).0, names(&[("dev", 0), ("dev/console", 0), ("init", 7)]));
        let second = size.next_multiple_of(ALIGNMENT);
        assert_eq!(bytes[size..second], [0; ALIGNMENT][..second - size]);
        let (layers, rest) = entries(&bytes[second..]);
        assert_eq!(layers, names(&[("layers", 0), ("layers/10-base.squashfs", 7)]));
        assert_eq!(rest, b"");
    }
}
