//! The floor: our kernel and root with a shell script as PID 1 that starts containerd and dockerd and nothing else.
//!
//! The script is one more layer, appended to the initramfs as docs/adr/0001-layers.md describes.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{self, ModeFileType};
use iso_builder::digest::KeyBuilder;
use iso_builder::project::Project;
use iso_builder::tools::ToolsTree;
use iso_builder::{run, step};

use super::subject::Ours;

/// PID 1 of the floor.
const SCRIPT: &str = include_str!("floor-init.sh");

/// The layer with the script; its name puts it on top.
const LAYER: &str = "layers/90-floor.squashfs";

/// Archives in an initramfs begin at multiples of four. Source: Documentation/driver-api/early-userspace/buffer-format.rst.
const ALIGNMENT: u64 = 4;

/// Returns the initramfs of the floor.
///
/// # Errors
/// When the layer cannot be packed or appended.
pub fn initrd(project: &Project, tools: &ToolsTree, ours: &Ours) -> Result<PathBuf> {
    let key = KeyBuilder::new("bench-floor", 2).text(&ours.sha256).text(SCRIPT).finish();
    let folder = step::latest(&project.target_folder("bench/floor")?, &key, |part| {
        let (root, layer) = (part.join("root"), part.join("layer.squashfs"));
        let init = root.join("usr/sbin/init");
        fs::create_dir_all(root.join("usr/sbin")).context("making a folder for the floor's PID 1")?;
        step::write_atomically(&init, SCRIPT.as_bytes())?;
        for path in [root.clone(), root.join("usr"), root.join("usr/sbin"), init] {
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .with_context(|| format!("opening {} to all", path.display()))?;
        }
        let mut mksquashfs = tools.program("mksquashfs");
        mksquashfs.arg(&root).arg(&layer).args(["-comp", "zstd", "-all-root", "-no-progress", "-quiet"]);
        run::output(&mut mksquashfs).context("packing the floor's layer")?;
        append(&ours.initrd, &layer, &part.join("initrd")).context("writing the floor's initramfs")?;
        step::remove(&root)
    })?;
    Ok(folder.join("initrd"))
}

/// Writes a copy of `initrd` with `layer` appended to `to`.
fn append(initrd: &Path, layer: &Path, to: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(to)?);
    let length = io::copy(&mut File::open(initrd)?, &mut out)?;
    let padding = length.next_multiple_of(ALIGNMENT) - length;
    out.write_all(&[0; ALIGNMENT as usize][..usize::try_from(padding).unwrap_or_default()])?;
    let content = fs::read(layer)?;
    let size = u32::try_from(content.len()).map_err(io::Error::other)?;
    // Far from the numbers of the first archive: equal ones would be taken for hard links.
    let entry =
        newc::Builder::new(LAYER).ino(1 << 20).nlink(1).mode(0o644).set_mode_file_type(ModeFileType::Regular);
    let mut writer = entry.write(&mut out, size);
    writer.write_all(&content)?;
    writer.finish()?;
    newc::trailer(&mut out)?.flush()
}
