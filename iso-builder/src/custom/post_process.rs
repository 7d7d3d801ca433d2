//! A program of the user's that may change the files of a custom layer before they are packed. It runs in the tools tree,
//! so that it finds the same tools on every host, and without network.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::facts;
use crate::document::Located;
use crate::enter::{Bind, Spec};
use crate::run;
use crate::tools::ToolsTree;
use crate::tree::{Content, GuestPath, Node, Tree};

/// Where the program sees the layer's files; it starts there.
const FILES: &str = "/out";

/// Where it sees the folder it is in.
const OWN_FOLDER: &str = "/src";

/// Returns `tree` as `program` leaves it. What it does not touch keeps mode and owner; what is new is root's.
///
/// # Errors
/// When the program fails, with its last words, or leaves something that is neither file, folder nor link.
pub fn run(tools: &ToolsTree, program: &Located<PathBuf>, tree: &Tree, epoch: u64) -> Result<Tree> {
    let file = fs::canonicalize(&program.value)
        .map_err(|error| program.mistake(format!("post-process: {}: {error}", program.value.display())))?;
    let (folder, name) = (file.parent().unwrap_or(Path::new("/")), file.file_name().unwrap_or_default());
    let scratch = tempfile::tempdir().context("creating a folder for the custom layer's files")?;
    write(tree, scratch.path())?;
    let start = format!("{OWN_FOLDER}/{}", name.to_string_lossy());
    let spec = Spec::new(tools, FILES, &[&start])
        .bind(Bind::writable(scratch.path(), FILES))
        .bind(Bind::read_only(folder, OWN_FOLDER))
        .env("SOURCE_DATE_EPOCH", &epoch.to_string());
    run::output(&mut spec.command()?).with_context(|| format!("post-processing with {}", file.display()))?;
    read(tree, scratch.path(), program)
}

fn write(tree: &Tree, folder: &Path) -> Result<()> {
    for (path, node) in tree.iter() {
        let target = folder.join(path.as_path().strip_prefix("/").unwrap_or(path.as_path()));
        let written = match &node.content {
            Content::Folder => fs::create_dir_all(&target),
            Content::Symlink(to) => symlink(to, &target),
            Content::File(bytes) => fs::write(&target, bytes).and_then(|()| {
                // The owner in the image may be another; the program must be able to change the file.
                fs::set_permissions(&target, fs::Permissions::from_mode(node.mode & 0o777 | 0o600))
            }),
        };
        written.with_context(|| format!("writing {}", target.display()))?;
    }
    Ok(())
}

fn read(before: &Tree, folder: &Path, program: &Located<PathBuf>) -> Result<Tree> {
    let (mut found, mut tree) = (Vec::new(), Tree::default());
    let root = GuestPath::new("/");
    facts::read_tree(&program.with(folder.to_path_buf()), folder, &root, &mut found)?;
    for (path, node) in found.into_iter().filter(|(path, _)| *path != root) {
        let node = match before.get(&path) {
            Some(old) => Node { content: node.content, ..old.clone() },
            None => node,
        };
        tree.insert(path, node);
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Place;

    #[test]
    fn files_go_out_and_come_back_as_they_were_declared() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        let secret = Node { content: Content::File((*b"x").into()), mode: 0o400, owner: (7, 8) };
        tree.insert(GuestPath::new("/etc/secret"), secret.clone());
        tree.insert(GuestPath::new("/etc/link"), Node::symlink("secret"));
        tree.insert(GuestPath::new("/etc"), Node::folder(0o750, (0, 3)));
        write(&tree, folder.path()).unwrap();
        let program =
            Located { value: PathBuf::new(), place: Place { path: Path::new("my.toml").into(), line: 1 } };
        assert_eq!(read(&tree, folder.path(), &program).unwrap(), tree);
        fs::write(folder.path().join("etc/secret"), "y").unwrap();
        fs::write(folder.path().join("new"), "z").unwrap();
        fs::remove_file(folder.path().join("etc/link")).unwrap();
        let changed = read(&tree, folder.path(), &program).unwrap();
        let secret = Node { content: Content::File((*b"y").into()), ..secret };
        assert_eq!(changed.get(&GuestPath::new("/etc/secret")), Some(&secret));
        assert_eq!(changed.get(&GuestPath::new("/etc/link")), None);
        assert_eq!(changed.get(&GuestPath::new("/new")), Some(&Node::file(*b"z", 0o644)));
    }
}
