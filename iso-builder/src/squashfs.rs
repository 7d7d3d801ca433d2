//! Looks into the layers of an ISO without mounting them, without tools and without root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use backhand::{FilesystemReader, InnerNode, Node, SquashfsFileReader};

use crate::compare;

/// What squashfs writes for "has no part in a shared block".
const NO_FRAGMENT: usize = 0xffff_ffff;

/// A layer of the image, opened for reading.
pub struct Layer {
    /// Name in the initramfs, such as `10-base.squashfs`.
    pub name: String,
    /// Size in the initramfs. Units: bytes.
    pub packed_bytes: u64,
    content: FilesystemReader<'static>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A file, folder or link of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path in the image.
    pub path: String,
    /// As `ls -l` begins a line: `-rwxr-xr-x`.
    pub mode: String,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Size when unpacked. Units: bytes.
    pub size_bytes: u64,
    /// Share in the layer, blocks that several files share divided by size. Units: bytes.
    pub packed_bytes: u64,
    /// Where a symbolic link leads.
    pub link: Option<String>,
}

/// Opens the layers in the initramfs of the ISO at `path`, the lowest first.
///
/// # Errors
/// When the file is no ISO of ours.
pub fn layers_of(path: &Path) -> Result<Vec<Layer>> {
    let initrd = compare::initrd_of(path)?;
    let files = compare::archive_files(&initrd).with_context(|| format!("reading {}", path.display()))?;
    let layers = files.into_iter().filter(|(name, _)| name.ends_with(".squashfs"));
    layers
        .map(|(name, bytes)| {
            let short = name.rsplit('/').next().unwrap_or(&name);
            Layer::open(short, bytes).with_context(|| format!("reading {name} of {}", path.display()))
        })
        .collect()
}

/// What a layer has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Where it leads, if it is a symbolic link.
    pub link: Option<PathBuf>,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

impl Layer {
    /// Opens the squashfs `bytes`.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let packed_bytes = bytes.len() as u64;
        let content = FilesystemReader::from_reader(Cursor::new(bytes)).context("reading a squashfs")?;
        Ok(Self { name: name.to_owned(), packed_bytes, content })
    }

    /// Returns the time stamp of the whole. Unit: seconds since 1970.
    #[must_use]
    pub fn time(&self) -> u32 {
        self.content.mod_time
    }

    /// Returns what is at `path`.
    #[must_use]
    pub fn find(&self, path: &Path) -> Option<Found> {
        let node = self.content.files().find(|node| node.fullpath == path)?;
        let link = match &node.inner {
            InnerNode::Symlink(link) => Some(link.link.clone()),
            _ => None,
        };
        let header = node.header;
        Some(Found {
            is_folder: matches!(node.inner, InnerNode::Dir(_)),
            link,
            mode: u32::from(header.permissions),
            owner: (header.uid, header.gid),
        })
    }

    /// Returns everything in it but the root folder, by path.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut shares = self.shares();
        let mut entries: Vec<_> = self
            .content
            .files()
            .filter(|node| node.fullpath != Path::new("/"))
            .map(|node| {
                let path = node.fullpath.to_string_lossy().into_owned();
                let packed_bytes = shares.remove(&path).unwrap_or_default();
                entry(node, path, packed_bytes)
            })
            .collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries
    }

    /// Returns the content of the regular file at `path`.
    ///
    /// # Errors
    /// When it cannot be unpacked.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        for node in self.content.files().filter(|node| node.fullpath == Path::new(path)) {
            if let InnerNode::File(file) = &node.inner {
                let mut bytes = Vec::with_capacity(file.file_len());
                self.content
                    .file(file)
                    .reader()
                    .read_to_end(&mut bytes)
                    .with_context(|| format!("unpacking {path} of {}", self.name))?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Returns the packed size of every regular file. A copy of another file takes no room and counts nothing.
    fn shares(&self) -> BTreeMap<String, u64> {
        let mut seen = BTreeSet::new();
        let mut shares = BTreeMap::new();
        let mut in_fragment: BTreeMap<usize, Vec<(String, u64)>> = BTreeMap::new();
        for node in self.content.files() {
            let InnerNode::File(file) = &node.inner else { continue };
            let path = node.fullpath.to_string_lossy().into_owned();
            if !seen.insert((file.blocks_start(), file.frag_index(), file.block_offset(), file.file_len())) {
                continue;
            }
            let blocks: u64 = file.block_sizes().iter().map(|block| u64::from(block.size())).sum();
            shares.insert(path.clone(), blocks);
            if file.frag_index() != NO_FRAGMENT {
                let tail = file.file_len() as u64 % u64::from(self.content.block_size);
                in_fragment.entry(file.frag_index()).or_default().push((path, tail));
            }
        }
        for (index, tails) in in_fragment {
            let fragment = self.content.fragments.as_ref().and_then(|fragments| fragments.get(index));
            let packed = fragment.map_or(0, |fragment| u64::from(fragment.size.size()));
            let total: u64 = tails.iter().map(|(_, tail)| tail).sum();
            for (path, tail) in tails {
                *shares.entry(path).or_default() += packed * tail / total.max(1);
            }
        }
        shares
    }
}

fn entry(node: &Node<SquashfsFileReader>, path: String, packed_bytes: u64) -> Entry {
    let (kind, size_bytes, link) = match &node.inner {
        InnerNode::File(file) => ('-', file.file_len() as u64, None),
        InnerNode::Symlink(link) => ('l', 0, Some(link.link.to_string_lossy().into_owned())),
        InnerNode::Dir(_) => ('d', 0, None),
        InnerNode::CharacterDevice(_) => ('c', 0, None),
        InnerNode::BlockDevice(_) => ('b', 0, None),
        InnerNode::NamedPipe => ('p', 0, None),
        InnerNode::Socket => ('s', 0, None),
    };
    let owner = (node.header.uid, node.header.gid);
    Entry { path, mode: mode(kind, node.header.permissions), owner, size_bytes, packed_bytes, link }
}

/// Writes permission bits as `ls -l` does.
fn mode(kind: char, bits: u16) -> String {
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let triple = bits >> shift;
        text.push(if triple & 4 != 0 { 'r' } else { '-' });
        text.push(if triple & 2 != 0 { 'w' } else { '-' });
        text.push(match (triple & 1 != 0, bits & special != 0) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_writes_them() {
        for (kind, bits, expected) in [
            ('-', 0o644, "-rw-r--r--"),
            ('-', 0o4755, "-rwsr-xr-x"),
            ('d', 0o1777, "drwxrwxrwt"),
            ('-', 0o2600, "-rw---S---"),
        ] {
            assert_eq!(mode(kind, bits), expected);
        }
    }
}
