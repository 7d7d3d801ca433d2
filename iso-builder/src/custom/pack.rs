//! Packing a layer without any tool.

use std::io::Cursor;

use anyhow::{Context, Result};
use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

use crate::tree::{Content, Tree};

/// Size of a block. Unit: bytes. The same as the image's other layers have.
const BLOCK_BYTES: u32 = 1 << 20;

/// Mode of the layer's root, which becomes that of the whole image.
const ROOT_MODE: u16 = 0o755;

/// Returns a squashfs of `tree`. The same tree gives the same bytes.
pub(super) fn squashfs(tree: &Tree, time: u32) -> Result<Vec<u8>> {
    let mut writer = FilesystemWriter::default();
    writer.set_compressor(FilesystemCompressor::new(Compressor::Zstd, None).context("choosing zstd")?);
    writer.set_block_size(BLOCK_BYTES);
    writer.set_time(time);
    writer.set_root_mode(ROOT_MODE);
    for (path, node) in tree.iter() {
        let mode =
            u16::try_from(node.mode).with_context(|| format!("packing {path}: mode {:#o}", node.mode))?;
        let header = NodeHeader::new(mode, node.owner.0, node.owner.1, time);
        let path = path.as_path();
        let pushed = match &node.content {
            Content::Folder => writer.push_dir(path, header),
            Content::File(bytes) => writer.push_file(Cursor::new(bytes.to_vec()), path, header),
            Content::Symlink(target) => writer.push_symlink(target.clone(), path, header),
        };
        pushed.with_context(|| format!("packing {}", path.display()))?;
    }
    let mut bytes = Cursor::new(Vec::new());
    writer.write(&mut bytes).context("packing the custom layer")?;
    Ok(bytes.into_inner())
}
