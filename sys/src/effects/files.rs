//! Files and directories, written so that a power cut leaves the old or the new content, never half of it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

/// Replaces `path` by a file with these bytes, permission bits and owner (uid, gid; None: ours).
///
/// # Errors
/// When a step fails; then the old file is still in place.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let temporary = sibling(path, "new");
    let written = write_new(&temporary, bytes, mode, owner).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        remove_if_exists(&temporary)?;
    }
    written.with_context(|| format!("writing {}", path.display()))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    remove_if_exists(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid))?;
    }
    // Again, as the umask may have taken bits away and chown drops set-uid.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes `path` and its missing parents (0755) directories, and gives `path` these permission bits and owner.
///
/// # Errors
/// When something else is in the way, or the file system refuses.
pub fn ensure_dir(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let make = || -> io::Result<()> {
        fs::create_dir_all(path)?;
        if let Some((uid, gid)) = owner {
            chown(path, Some(uid), Some(gid))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    make().with_context(|| format!("making directory {}", path.display()))
}

/// Makes `path` a directory whose updates are synchronous: a file that was renamed into it is on the disk when the call
/// returns, without a sync of the directory. Directories made in it later are so, too; missing parents are not. Missing
/// ones get these permission bits, those that exist keep theirs.
///
/// Returns false if the file system has no such flag; then it is a directory like any other.
/// Source: uapi/linux/fs.h FS_DIRSYNC_FL; chattr(1), attribute D.
///
/// # Errors
/// When something else is in the way, or the file system refuses.
pub fn ensure_synchronous_dir(path: &Path, mode: u32) -> Result<bool> {
    let make = || -> io::Result<bool> {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        let directory = fs::File::open(path)?;
        let set = ioctl_getflags(&directory).and_then(|flags| {
            if flags.contains(IFlags::DIRSYNC) {
                return Ok(());
            }
            ioctl_setflags(&directory, flags | IFlags::DIRSYNC)
        });
        match set {
            // tmpfs and XFS know other flags only, some file systems know none.
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            set => set.map(|()| true).map_err(io::Error::from),
        }
    };
    make().with_context(|| format!("making directory {}, with synchronous updates", path.display()))
}

/// Makes `link` a symbolic link to `target`, whatever file or link was there; an empty directory gives way, too.
///
/// # Errors
/// When a directory with content is in the way, or the file system refuses; then nothing has changed.
pub fn replace_symlink(target: &Path, link: &Path) -> Result<()> {
    let temporary = sibling(link, "new");
    let make = || -> io::Result<()> {
        if fs::read_link(link).is_ok_and(|old| old == target) {
            return Ok(());
        }
        remove_if_exists(&temporary)?;
        symlink(target, &temporary)?;
        if fs::symlink_metadata(link).is_ok_and(|meta| meta.is_dir()) {
            fs::remove_dir(link)?;
        }
        fs::rename(&temporary, link)
    };
    let made = make();
    if made.is_err() {
        remove_if_exists(&temporary)?;
    }
    made.with_context(|| format!("linking {} to {}", link.display(), target.display()))
}

/// Returns a file's bytes, or None if there is no such file.
///
/// # Errors
/// When it exists but cannot be read.
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file or link; one that is not there is fine.
///
/// # Errors
/// When it exists and stays.
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_replaced_with_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_atomic(&path, b"old", 0o644, None).unwrap();
        write_atomic(&path, b"new", 0o600, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_write_names_the_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("dir");
        fs::create_dir_all(target.join("sub")).unwrap();
        let error = write_atomic(&target, b"x", 0o644, None).unwrap_err();
        assert_eq!(error.to_string(), format!("writing {}", target.display()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_replace_files_links_and_empty_directories_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        fs::create_dir(at("empty")).unwrap();
        fs::create_dir_all(at("full/sub")).unwrap();
        for name in ["file", "empty", "absent", "file"] {
            replace_symlink(Path::new("/target"), &at(name)).unwrap();
            assert_eq!(fs::read_link(at(name)).unwrap(), Path::new("/target"), "{name}");
        }
        assert!(replace_symlink(Path::new("/target"), &at("full")).is_err());
        assert!(at("full/sub").is_dir());
    }

    #[test]
    fn synchronous_directories_are_made_once_and_keep_their_bits() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("a"), dir.path().join("a/b"));
        let is_synchronous = ensure_synchronous_dir(&outer, 0o711).unwrap();
        fs::set_permissions(&outer, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(ensure_synchronous_dir(&inner, 0o711).unwrap(), is_synchronous);
        assert_eq!(ensure_synchronous_dir(&outer, 0o711).unwrap(), is_synchronous, "again");
        assert_eq!(outer.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(inner.metadata().unwrap().mode() & 0o777, 0o711);
        if is_synchronous {
            let flags = |path| ioctl_getflags(fs::File::open(path).unwrap()).unwrap();
            assert!(flags(&inner).contains(IFlags::DIRSYNC));
            fs::create_dir(inner.join("c")).unwrap();
            assert!(flags(&inner.join("c")).contains(IFlags::DIRSYNC), "what is made in it is so, too");
        } else {
            eprintln!("skipped: the file system below {} has no such flag", dir.path().display());
        }
        fs::write(dir.path().join("file"), "x").unwrap();
        assert!(ensure_synchronous_dir(&dir.path().join("file/d"), 0o711).is_err());
    }

    #[test]
    fn absent_file_reads_as_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_optional(&dir.path().join("a/b")).unwrap(), None);
        ensure_dir(&dir.path().join("a/b"), 0o700, None).unwrap();
        assert_eq!(dir.path().join("a/b").metadata().unwrap().mode() & 0o777, 0o700);
        assert!(read_optional(&dir.path().join("a/b")).is_err());
    }
}
