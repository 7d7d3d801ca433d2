//! The initramfs: PID 1 and the layers in a cpio archive, not compressed, for the layers are already.

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
const REVISION: u32 = 1;

/// Folder in the initramfs whose squashfs files stage 0 stacks, in name order.
const LAYERS: &str = "layers";

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
        let archive = Archive { out: BufWriter::new(file), inode: 0, mtime };
        archive.write_all(init, layers).with_context(|| format!("writing {}", path.display()))
    })?;
    Ok(folder.join("initrd.img"))
}

struct Archive<W: Write> {
    out: W,
    inode: u32,
    mtime: u32,
}

impl<W: Write> Archive<W> {
    fn write_all(mut self, init: &Path, layers: &[Layer]) -> Result<()> {
        self.folder("dev")?;
        let console = self.entry("dev/console", ModeFileType::Char, 0o600);
        console.rdev_major(CONSOLE.0).rdev_minor(CONSOLE.1).write(&mut self.out, 0).finish()?;
        self.file("init", 0o755, init)?;
        self.folder(LAYERS)?;
        for Layer { name, file } in layers {
            self.file(&format!("{LAYERS}/{name}"), 0o644, file)?;
        }
        newc::trailer(&mut self.out)?.flush()?;
        Ok(())
    }

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

    #[test]
    fn the_archive_holds_init_console_and_layers_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let init = folder.path().join("my-init");
        fs::write(&init, "program").unwrap();
        let layers = [Layer { name: "10-base.squashfs", file: init.clone() }];
        let mut bytes = Vec::new();
        Archive { out: &mut bytes, inode: 0, mtime: 1 }.write_all(&init, &layers).unwrap();
        let mut names = Vec::new();
        let mut rest = &bytes[..];
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push((reader.entry().name().to_owned(), reader.entry().file_size()));
            rest = reader.finish().unwrap();
        }
        let expected =
            [("dev", 0), ("dev/console", 0), ("init", 7), ("layers", 0), ("layers/10-base.squashfs", 7)];
        assert_eq!(names, expected.map(|(name, size)| (name.to_owned(), size)));
    }
}
