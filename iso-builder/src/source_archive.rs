//! Where the source of the kernel, or of a program, comes from: Debian's package of it, or an archive by itself.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::lock::LockedPackage;
use crate::{deb, download};

/// An archive whose single folder is the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceArchive {
    /// In the package that the kernel's source has.
    Package(Box<LockedPackage>, PathBuf),
    /// By itself.
    File {
        /// The archive.
        file: PathBuf,
        /// Its digest.
        sha256: String,
    },
}

impl SourceArchive {
    /// Returns the digest of package or archive.
    #[must_use]
    pub fn sha256(&self) -> &str {
        match self {
            Self::Package(package, _) => &package.sha256,
            Self::File { sha256, .. } => sha256,
        }
    }

    /// Unpacks the source into `folder`, without the folder that all its paths begin with.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Package(package, file) => {
                package.verify(file)?;
                let is_source = |path: &Path| {
                    let path = path.to_string_lossy();
                    path.ends_with(".tar.xz") && path.contains("linux-source")
                };
                deb::read_file(file, is_source, |stream| {
                    unpack_tar(liblzma::read::XzDecoder::new(stream), folder)
                })
            }
            Self::File { file, .. } => unpack_tar(download::unpacked(file)?, folder)
                .with_context(|| format!("unpacking {}", file.display())),
        }
    }
}

fn unpack_tar(stream: impl Read, folder: &Path) -> Result<()> {
    let reading = "reading the source archive";
    let mut archive = tar::Archive::new(stream);
    archive.set_preserve_mtime(true);
    for entry in archive.entries().context(reading)? {
        let mut entry = entry.context(reading)?;
        // All paths begin with linux-VERSION/; a global header of git's has none.
        let path: PathBuf = entry.path().context(reading)?.components().skip(1).collect();
        if path.components().all(|part| matches!(part, Component::Normal(_))) {
            let target = folder.join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
            }
            entry.unpack(&target).with_context(|| format!("unpacking {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archives_own_folder_is_left_out() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        builder.append_data(&mut header, "linux-6.99/kernel/Kconfig", &b"menu\n"[..]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("linux.tar.zst");
        fs::write(&file, zstd::encode_all(&builder.into_inner().unwrap()[..], 1).unwrap()).unwrap();
        let out = folder.path().join("out");
        SourceArchive::File { file, sha256: String::new() }.unpack(&out).unwrap();
        assert_eq!(fs::read_to_string(out.join("kernel/Kconfig")).unwrap(), "menu\n");
    }
}
