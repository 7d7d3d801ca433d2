//! Reads what sshd and the user's home have to be made from, below a root path. Decides nothing.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::contract::{DOCKER_HOME, SSH_DIR, SSH_STATE_DIR, USERDATA};
use b2d_sys::effects::files::read_optional;

use crate::keys;

/// The image's own configuration, kept for a later run of this program in the same boot.
pub const IMAGE_CONFIG: &str = "/run/boot2docker/sshd_config.image";
/// Name of the configuration in [`SSH_DIR`] and [`SSH_STATE_DIR`].
pub const CONFIG: &str = "sshd_config";
/// The image's configuration beside [`CONFIG`] in [`SSH_STATE_DIR`]: for people to compare, and for the next image to tell
/// whether somebody has changed the stored one.
pub const CONFIG_OF_IMAGE: &str = "sshd_config.image";
/// Keys for user docker that an administrator put on the data disk.
pub const EXTRA_KEYS: &str = "/var/lib/boot2docker/authorized_keys";
/// Keys of user docker, below the home.
pub const HOME_KEYS: &str = ".ssh/authorized_keys";

/// A file of sshd's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// All that the plan decides upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Files of the image's `/usr/local/etc/ssh`; none once that is a link.
    pub image_files: Vec<SshFile>,
    /// Files of the persistent directory; None if there is no such directory yet.
    pub stored_files: Option<Vec<SshFile>>,
    /// The image's configuration as an earlier run of this boot kept it.
    pub kept_config: Option<Vec<u8>>,
    /// The user's archive.
    pub userdata: Option<Vec<u8>>,
    /// Keys an administrator put on the data disk.
    pub extra_keys: Option<String>,
    /// Keys that are in the user's home already.
    pub home_keys: Option<String>,
}

/// Reads the facts below `root`.
///
/// # Errors
/// When something exists but cannot be read.
pub fn read(root: &Path) -> Result<Facts> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let image_dir = at(SSH_DIR);
    let is_link = image_dir.is_symlink();
    Ok(Facts {
        image_files: if is_link { Vec::new() } else { files_in(&image_dir)?.unwrap_or_default() },
        stored_files: files_in(&at(SSH_STATE_DIR))?,
        kept_config: bytes(&at(IMAGE_CONFIG))?,
        userdata: bytes(&at(USERDATA))?,
        extra_keys: text(&at(EXTRA_KEYS))?,
        home_keys: text(&at(DOCKER_HOME).join(HOME_KEYS))?,
    })
}

/// Returns the regular files of a directory by name, or None if it does not exist.
fn files_in(dir: &Path) -> Result<Option<Vec<SshFile>>> {
    let read = || -> io::Result<Vec<SshFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push(SshFile { name, content: fs::read(entry.path())? });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        files => files.map(Some).with_context(|| format!("reading {}", dir.display())),
    }
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    read_optional(path).with_context(|| format!("reading {}", path.display()))
}

fn text(path: &Path) -> Result<Option<String>> {
    Ok(bytes(path)?.map(|bytes| keys::decode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn fresh_machine_has_only_the_image() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "usr/local/etc/ssh/sshd_config", "UsePAM no\n");
        let config = SshFile { name: CONFIG.to_owned(), content: b"UsePAM no\n".to_vec() };
        let expected = Facts { image_files: vec![config], ..Facts::default() };
        assert_eq!(read(root.path()).unwrap(), expected);
    }

    #[test]
    fn link_is_not_read_as_the_image() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &format!("{SSH_STATE_DIR}/b"), "2");
        write(root.path(), &format!("{SSH_STATE_DIR}/a"), "1");
        write(root.path(), USERDATA, "tar");
        write(root.path(), EXTRA_KEYS, "key");
        fs::create_dir_all(root.path().join("usr/local/etc")).unwrap();
        std::os::unix::fs::symlink(SSH_STATE_DIR, root.path().join("usr/local/etc/ssh")).unwrap();
        let facts = read(root.path()).unwrap();
        assert_eq!(facts.image_files, []);
        let names: Vec<String> = facts.stored_files.unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((facts.userdata, facts.extra_keys), (Some(b"tar".to_vec()), Some("key".to_owned())));
    }
}
