//! Where the kernel's source comes from: Debian's package, or an archive that the configuration names.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::APT_HELPER;
use crate::config::{KernelSource, SourcePlace};
use crate::lock::LockedPackage;
use crate::progress::Progress;
use crate::project::Project;
use crate::{deb, digest, run, step, turn};

/// An archive whose single folder is the kernel's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceArchive {
    /// In a package.
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
    /// Returns the archive that the configuration names, downloading it unless it is in the cache.
    ///
    /// # Errors
    /// When it cannot be had, or has another digest; the text names the line.
    pub fn fetch(source: &KernelSource, project: &Project, offline: bool, ui: Progress) -> Result<Self> {
        let sha256 = source.sha256.clone();
        let file = match &source.from.value {
            SourcePlace::File(path) => path.clone(),
            SourcePlace::Url(url) => {
                let file = project.cache_folder("downloads")?.join(&sha256);
                let _turn = turn::take(&file.with_extension("lock"), "downloading the kernel's source")?;
                if !file.is_file() {
                    let refused = || source.from.mistake(format!("kernel.source: {url} is not in the cache"));
                    ensure!(!offline, "{}, and --offline forbids to download it", refused());
                    let bar = ui.spinner("downloading the kernel's source");
                    let part = file.with_extension("part");
                    step::remove(&part)?;
                    // apt's own downloader: it knows the host's proxies, and is there where apt is.
                    run::output(Command::new(APT_HELPER).arg("download-file").arg(url).arg(&part))
                        .with_context(|| format!("downloading {url}"))?;
                    check(&part, source)?;
                    fs::rename(&part, &file).with_context(|| format!("renaming {}", part.display()))?;
                    drop(bar);
                }
                file
            }
        };
        check(&file, source)?;
        Ok(Self::File { file, sha256 })
    }

    /// Returns the digest of package or archive.
    #[must_use]
    pub fn sha256(&self) -> &str {
        match self {
            Self::Package(package, _) => &package.sha256,
            Self::File { sha256, .. } => sha256,
        }
    }

    /// Unpacks the source into `folder`, without the folder that all its paths begin with.
    pub(super) fn unpack(&self, folder: &Path) -> Result<()> {
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
            Self::File { file, .. } => {
                let open = || -> std::io::Result<(BufReader<File>, [u8; 4])> {
                    let mut magic = [0; 4];
                    File::open(file)?.read_exact(&mut magic)?;
                    Ok((BufReader::new(File::open(file)?), magic))
                };
                let (stream, magic) = open().with_context(|| format!("reading {}", file.display()))?;
                match magic {
                    [0xfd, b'7', b'z', b'X'] => unpack_tar(liblzma::read::XzDecoder::new(stream), folder),
                    [0x1f, 0x8b, ..] => unpack_tar(flate2::read::GzDecoder::new(stream), folder),
                    [0x28, 0xb5, 0x2f, 0xfd] => unpack_tar(
                        zstd::Decoder::new(stream).with_context(|| format!("reading {}", file.display()))?,
                        folder,
                    ),
                    _ => bail!("reading {}: allowed are .tar.xz, .tar.gz and .tar.zst", file.display()),
                }
                .with_context(|| format!("unpacking {}", file.display()))
            }
        }
    }
}

fn check(file: &Path, source: &KernelSource) -> Result<()> {
    let found =
        digest::of_file(file).map_err(|error| source.from.mistake(format!("kernel.source: {error:#}")))?;
    if found != source.sha256 {
        let message =
            format!("kernel.source: the sha256 of {} is {found}, not {}", file.display(), source.sha256);
        return Err(source.from.mistake(message).into());
    }
    Ok(())
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
    use crate::document::{Located, Place};

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        builder.append_data(&mut header, "linux-6.99/kernel/Kconfig", &b"menu\n"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn source(path: &Path, sha256: &str) -> KernelSource {
        let place = Place { path: Path::new("my.toml").into(), line: 3 };
        KernelSource {
            from: Located { value: SourcePlace::File(path.to_path_buf()), place },
            sha256: sha256.to_owned(),
        }
    }

    #[test]
    fn archives_are_unpacked_whatever_packed_them() {
        let folder = tempfile::tempdir().unwrap();
        let gz = {
            use std::io::Write as _;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&archive()).unwrap();
            encoder.finish().unwrap()
        };
        for (name, bytes) in [("gz", gz), ("zst", zstd::encode_all(&archive()[..], 1).unwrap())] {
            let file = folder.path().join(name);
            fs::write(&file, bytes).unwrap();
            let out = folder.path().join(format!("{name}.out"));
            SourceArchive::File { file, sha256: String::new() }.unpack(&out).unwrap();
            assert_eq!(fs::read_to_string(out.join("kernel/Kconfig")).unwrap(), "menu\n", "{name}");
        }
        let file = folder.path().join("plain");
        fs::write(&file, archive()).unwrap();
        let error = SourceArchive::File { file, sha256: String::new() }.unpack(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("plain: allowed are .tar.xz, .tar.gz and .tar.zst"), "{error}");
    }

    #[test]
    fn another_digest_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("linux.tar.gz");
        fs::write(&file, "x").unwrap();
        let right = digest::of_file(&file).unwrap();
        check(&file, &source(&file, &right)).unwrap();
        let error = check(&file, &source(&file, "00")).unwrap_err().to_string();
        let expected =
            format!("my.toml:3: kernel.source: the sha256 of {} is {right}, not 00", file.display());
        assert_eq!(error, expected);
    }
}
