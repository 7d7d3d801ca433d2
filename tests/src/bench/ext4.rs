//! File systems in image files, made and filled without mounting anything.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use iso_builder::run;
use iso_builder::tools::ToolsTree;

/// Size of a block, as mke2fs chooses it for all but tiny file systems.
const BLOCK_BYTES: u64 = 4096;

/// Bytes per inode, as boot2docker has always made data disks: overlay needs many inodes.
const BYTES_PER_INODE: &str = "8192";

/// A file system to be made in an image file.
#[derive(Debug, Clone, Copy)]
pub struct FileSystem<'a> {
    /// The image; it exists and is large enough.
    pub image: &'a Path,
    /// Where the file system starts. Unit: bytes.
    pub start: u64,
    /// Unit: bytes.
    pub length: u64,
    /// The volume label.
    pub label: &'a str,
}

/// Something to be added to a file system; paths are absolute in it, folders above must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum New {
    /// A folder.
    Folder(String),
    /// A copy of a file of the host, which may be executed.
    Program(String, PathBuf),
    /// A copy of a file of the host.
    File(String, PathBuf),
    /// A file with this text.
    Text(String, String),
    /// A symbolic link and what it says.
    Link(String, String),
}

impl New {
    /// Returns a file with this text.
    #[must_use]
    pub fn text(path: &str, text: &str) -> Self {
        Self::Text(path.to_owned(), text.to_owned())
    }
}

impl FileSystem<'_> {
    /// Makes the file system, with the content of `from` in it; its tables are complete, so that no kernel thread
    /// goes on writing them while something is measured.
    ///
    /// # Errors
    /// When mke2fs fails.
    pub fn make(&self, tools: &ToolsTree, from: Option<&Path>) -> Result<()> {
        let mut mkfs = tools.program("mkfs.ext4");
        mkfs.env("MKE2FS_CONFIG", tools.path("/etc/mke2fs.conf"))
            .args(["-q", "-F", "-L", self.label, "-i", BYTES_PER_INODE, "-b", &BLOCK_BYTES.to_string(), "-E"])
            .arg(format!("root_owner=0:0,offset={},lazy_itable_init=0,lazy_journal_init=0", self.start));
        if let Some(from) = from {
            mkfs.arg("-d").arg(from);
        }
        mkfs.arg(self.image).arg((self.length / BLOCK_BYTES).to_string());
        run::output(&mut mkfs).map(drop)
    }

    /// Adds files; all belong to root.
    ///
    /// # Errors
    /// When debugfs fails or complains.
    pub fn add(&self, tools: &ToolsTree, files: &[New]) -> Result<()> {
        let scratch = tempfile::tempdir().context("creating a folder for new files")?;
        let mut script = tempfile::NamedTempFile::new().context("creating a script for debugfs")?;
        for (index, file) in files.iter().enumerate() {
            let text = scratch.path().join(index.to_string());
            if let New::Text(_, content) = file {
                fs::write(&text, content).with_context(|| format!("writing {}", text.display()))?;
            }
            script.write_all(commands(file, &text).as_bytes()).context("writing a script for debugfs")?;
        }
        let mut debugfs = tools.program("debugfs");
        debugfs.arg("-w").arg("-f").arg(script.path());
        debugfs.arg(format!("{}?offset={}", self.image.display(), self.start));
        let output = run::output(&mut debugfs)?;
        // debugfs tells its version first, then what went wrong, and ends well all the same.
        let words = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<_> = words.lines().skip(1).filter(|line| !line.is_empty()).collect();
        ensure!(complaints.is_empty(), "filling {}: {}", self.image.display(), complaints.join("; "));
        Ok(())
    }
}

/// Returns debugfs' commands for one file. Source: debugfs(8); `write` puts files into the current folder only.
fn commands(file: &New, text: &Path) -> String {
    let within = |path: &str| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (if folder.is_empty() { "/".to_owned() } else { folder.to_owned() }, name.to_owned())
    };
    let copy = |path: &str, from: &Path, mode: &str| {
        let (folder, name) = within(path);
        let owner = format!("sif {name} uid 0\nsif {name} gid 0\nsif {name} mode {mode}\n");
        format!("cd {folder}\nwrite {} {name}\n{owner}", from.display())
    };
    match file {
        New::Folder(path) => format!("cd /\nmkdir {path}\n"),
        New::Program(path, from) => copy(path, from, "0100755"),
        New::File(path, from) => copy(path, from, "0100644"),
        New::Text(path, _) => copy(path, text, "0100644"),
        New::Link(path, target) => {
            let (folder, name) = within(path);
            format!("cd {folder}\nsymlink {name} {target}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_in_their_folder_and_belong_to_root() {
        let program = New::Program("/a/b/probe".into(), "/host/probe".into());
        let expected =
            "cd /a/b\nwrite /host/probe probe\nsif probe uid 0\nsif probe gid 0\nsif probe mode 0100755\n";
        assert_eq!(commands(&program, Path::new("")), expected);
        assert_eq!(commands(&New::Folder("/a".into()), Path::new("")), "cd /\nmkdir /a\n");
        let link = New::Link("/w/x".into(), "/t/x".into());
        assert_eq!(commands(&link, Path::new("")), "cd /w\nsymlink x /t/x\n");
        let text = commands(&New::text("/x", "hello"), Path::new("/tmp/0"));
        assert!(text.starts_with("cd /\nwrite /tmp/0 x\n"), "{text}");
    }
}
