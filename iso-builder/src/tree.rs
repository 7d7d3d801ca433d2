//! The image's files as a value: paths inside the image, what is there, its mode and owner.
//!
//! Written as a tar stream, so that no file of the image ever lies on the host and no privilege is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Folders that are links into `/usr`, as Debian has had it since 2023.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Mode of folders that nobody described.
const FOLDER_MODE: u32 = 0o755;

/// An absolute, normalised path inside the image; never a path of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(PathBuf);

impl GuestPath {
    /// Resolves `.` and `..` by text and moves `/bin`, `/sbin`, `/lib` and `/lib64` below `/usr`.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        let mut normal = PathBuf::from("/");
        for part in path.as_ref().components() {
            match part {
                Component::Normal(name) => {
                    if normal == Path::new("/") && MERGED.iter().any(|merged| name == *merged) {
                        normal.push("usr");
                    }
                    normal.push(name);
                }
                Component::ParentDir => {
                    normal.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Self(normal)
    }

    /// As [`Self::new`], but keeps `/bin` and the like: they are links themselves.
    #[must_use]
    pub fn unmerged(path: impl AsRef<Path>) -> Self {
        let is_merged = |name: &str| path.as_ref() == Path::new("/").join(name);
        if MERGED.into_iter().any(is_merged) { Self(path.as_ref().to_path_buf()) } else { Self::new(path) }
    }

    /// Returns the path that `target`, the text of a symbolic link at this path, leads to.
    #[must_use]
    pub fn follow(&self, target: &Path) -> Self {
        Self::new(self.folder().join(target))
    }

    /// Returns the folder this path is in; `/` is in itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.0.parent().unwrap_or(&self.0)
    }

    /// Returns the absolute path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns the path as an archive writes it, without the leading slash.
    fn in_archive(&self) -> &Path {
        self.0.strip_prefix("/").unwrap_or(&self.0)
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(out)
    }
}

/// What is at a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// A regular file with these bytes.
    File(Arc<[u8]>),
    /// A symbolic link with this text.
    Symlink(PathBuf),
}

impl fmt::Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => out.write_str("folder"),
            Self::File(bytes) => write!(out, "file of {} bytes", bytes.len()),
            Self::Symlink(target) => write!(out, "link to {}", target.display()),
        }
    }
}

/// A file, folder or link of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner's and group's number.
    pub owner: (u32, u32),
}

impl Node {
    /// Returns a file of root's.
    #[must_use]
    pub fn file(bytes: impl Into<Arc<[u8]>>, mode: u32) -> Self {
        Self { content: Content::File(bytes.into()), mode, owner: (0, 0) }
    }

    /// Returns a symbolic link.
    #[must_use]
    pub fn symlink(target: impl Into<PathBuf>) -> Self {
        Self { content: Content::Symlink(target.into()), mode: 0o777, owner: (0, 0) }
    }

    /// Returns a folder.
    #[must_use]
    pub fn folder(mode: u32, owner: (u32, u32)) -> Self {
        Self { content: Content::Folder, mode, owner }
    }
}

/// Files of the image by path. Iterating is in path order, so equal trees give equal archives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<GuestPath, Node>,
}

impl Tree {
    /// Puts a node at a path, replacing what was there.
    pub fn insert(&mut self, path: GuestPath, node: Node) {
        self.nodes.insert(path, node);
    }

    /// Puts a node at a path unless something is there.
    pub fn insert_if_absent(&mut self, path: GuestPath, node: Node) {
        self.nodes.entry(path).or_insert(node);
    }

    /// Returns what is at a path.
    #[must_use]
    pub fn get(&self, path: &GuestPath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Returns what is at a path, to change it.
    pub fn get_mut(&mut self, path: &GuestPath) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// Returns all nodes in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&GuestPath, &Node)> {
        self.nodes.iter()
    }

    /// Returns all nodes in path order, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&GuestPath, &mut Node)> {
        self.nodes.iter_mut()
    }

    /// Takes out the regular files of at least `bytes` bytes.
    #[must_use]
    pub fn take_large_files(&mut self, bytes: usize) -> Self {
        let is_large = |node: &Node| matches!(&node.content, Content::File(file) if file.len() >= bytes);
        let (large, rest) = std::mem::take(&mut self.nodes).into_iter().partition(|(_, node)| is_large(node));
        self.nodes = rest;
        Self { nodes: large }
    }

    /// Adds the folders that the nodes lie in; `describe` may give their mode and owner.
    pub fn add_parents(&mut self, describe: impl Fn(&GuestPath) -> Option<Node>) {
        let parents: Vec<_> = self
            .nodes
            .keys()
            .flat_map(|path| path.folder().ancestors())
            .filter(|path| *path != Path::new("/"))
            .map(GuestPath::new)
            .collect();
        for path in parents {
            let node = describe(&path).unwrap_or_else(|| Node::folder(FOLDER_MODE, (0, 0)));
            self.insert_if_absent(path, node);
        }
    }

    /// Writes everything as a tar stream in path order; every time stamp is `epoch`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_tar(&self, out: impl Write, epoch: u64) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        for (path, node) in &self.nodes {
            let mut header = tar::Header::new_gnu();
            header.set_mode(node.mode);
            header.set_uid(node.owner.0.into());
            header.set_gid(node.owner.1.into());
            header.set_mtime(epoch);
            header.set_size(0);
            match &node.content {
                Content::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    archive.append_data(&mut header, path.in_archive(), io::empty())?;
                }
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, path.in_archive(), &bytes[..])?;
                }
                Content::Symlink(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    archive.append_link(&mut header, path.in_archive(), target)?;
                }
            }
        }
        archive.into_inner()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_are_absolute_normal_and_merged_into_usr() {
        let cases = [
            ("/bin/sh", "/usr/bin/sh"),
            ("./lib64/ld.so", "/usr/lib64/ld.so"),
            ("/usr/bin/../sbin/x", "/usr/sbin/x"),
            ("/libexec/x", "/libexec/x"),
            ("/../../etc", "/etc"),
        ];
        for (path, expected) in cases {
            assert_eq!(GuestPath::new(path).as_path(), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn a_link_leads_from_its_own_folder() {
        let link = GuestPath::new("/usr/lib64/ld.so");
        assert_eq!(link.follow(Path::new("../lib/ld-2.so")), GuestPath::new("/usr/lib/ld-2.so"));
        assert_eq!(link.follow(Path::new("/lib/ld-2.so")), GuestPath::new("/usr/lib/ld-2.so"));
    }

    #[test]
    fn the_archive_depends_on_content_alone_and_not_on_order() {
        let build = |paths: [&str; 2]| {
            let mut tree = Tree::default();
            for path in paths {
                tree.insert(GuestPath::new(path), Node::file(path.as_bytes(), 0o644));
            }
            tree.add_parents(|_| None);
            let mut bytes = Vec::new();
            tree.write_tar(&mut bytes, 1).unwrap();
            bytes
        };
        let forwards = build(["/etc/a", "/usr/b"]);
        let mut names = Vec::new();
        for entry in tar::Archive::new(&forwards[..]).entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert_eq!(names, ["etc", "etc/a", "usr", "usr/b"]);
        let mut tree = Tree::default();
        tree.insert(GuestPath::new("/usr/b"), Node::file(*b"/usr/b", 0o644));
        tree.insert(GuestPath::new("/etc/a"), Node::file(*b"/etc/a", 0o644));
        tree.add_parents(|_| None);
        let mut backwards = Vec::new();
        tree.write_tar(&mut backwards, 1).unwrap();
        assert_eq!(forwards, backwards);
    }

    #[test]
    fn large_files_are_taken_out_and_nothing_else() {
        let mut tree = Tree::default();
        for (path, node) in [
            ("/usr", Node::folder(0o755, (0, 0))),
            ("/usr/large", Node::file(*b"12345678", 0o755)),
            ("/usr/link", Node::symlink("large")),
            ("/usr/small", Node::file(*b"1234567", 0o644)),
        ] {
            tree.insert(GuestPath::new(path), node);
        }
        let large = tree.take_large_files(8);
        let paths = |tree: &Tree| tree.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>();
        assert_eq!(paths(&large), ["/usr/large"]);
        assert_eq!(paths(&tree), ["/usr", "/usr/link", "/usr/small"]);
    }
}
