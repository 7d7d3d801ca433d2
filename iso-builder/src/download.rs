//! Archives that are no packages: had once, kept in the cache by digest, checked at each use.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::APT_HELPER;
use crate::config::{Archive, ArchivePlace};
use crate::progress::Progress;
use crate::project::Project;
use crate::{digest, run, step, turn};

/// Returns the file of an archive, downloading it unless it is in the cache. `key` is what the configuration calls it.
///
/// # Errors
/// When it cannot be had, or has another digest; the text names the line.
pub fn fetch(
    key: &str,
    archive: &Archive,
    project: &Project,
    offline: bool,
    ui: Progress,
) -> Result<PathBuf> {
    let file = match &archive.from.value {
        ArchivePlace::File(path) => path.clone(),
        ArchivePlace::Url(url) => {
            let file = project.cache_folder("downloads")?.join(&archive.sha256);
            let refused = || archive.from.mistake(format!("{key}: {url} is not in the cache"));
            ensure!(!offline || file.is_file(), "{}, and --offline forbids to download it", refused());
            let bar = ui.spinner(&format!("downloading {url}"));
            download(key, archive, url, &file)?;
            drop(bar);
            file
        }
    };
    check(key, &file, archive)?;
    Ok(file)
}

/// Makes `file` the archive at `url`, unless it is there.
fn download(key: &str, archive: &Archive, url: &str, file: &Path) -> Result<()> {
    let _turn = turn::take(&file.with_extension("lock"), "downloading the same archive")?;
    if file.is_file() {
        return Ok(());
    }
    let part = file.with_extension("part");
    step::remove(&part)?;
    // apt's own downloader: it knows the host's proxies, and is there where apt is.
    run::output(Command::new(APT_HELPER).arg("download-file").arg(url).arg(&part))
        .with_context(|| format!("downloading {url}"))?;
    if let Err(error) = check(key, &part, archive) {
        step::remove(&part)?;
        return Err(error);
    }
    fs::rename(&part, file).with_context(|| format!("renaming {}", part.display()))
}

fn check(key: &str, file: &Path, archive: &Archive) -> Result<()> {
    let found = digest::of_file(file).map_err(|error| archive.from.mistake(format!("{key}: {error:#}")))?;
    if found != archive.sha256 {
        let message = format!("{key}: the sha256 of {} is {found}, not {}", file.display(), archive.sha256);
        return Err(archive.from.mistake(message).into());
    }
    Ok(())
}

/// Returns what is in a compressed file, whatever compressed it.
///
/// # Errors
/// When it cannot be read, or is compressed by something else.
pub fn unpacked(file: &Path) -> Result<Box<dyn Read>> {
    let open = || -> std::io::Result<(BufReader<File>, [u8; 4])> {
        let mut magic = [0; 4];
        File::open(file)?.read_exact(&mut magic)?;
        Ok((BufReader::new(File::open(file)?), magic))
    };
    let reading = || format!("reading {}", file.display());
    let (stream, magic) = open().with_context(reading)?;
    Ok(match magic {
        [0xfd, b'7', b'z', b'X'] => Box::new(liblzma::read::XzDecoder::new(stream)),
        [0x1f, 0x8b, ..] => Box::new(flate2::read::GzDecoder::new(stream)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(stream).with_context(reading)?),
        _ => bail!("reading {}: allowed are archives packed by xz, gzip or zstd", file.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Located, Place};

    #[test]
    fn another_digest_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("linux.tar.gz");
        fs::write(&file, "x").unwrap();
        let right = digest::of_file(&file).unwrap();
        let archive = |sha256: &str| Archive {
            from: Located {
                value: ArchivePlace::File(file.clone()),
                place: Place { path: Path::new("my.toml").into(), line: 3 },
            },
            sha256: sha256.to_owned(),
        };
        check("kernel.source", &file, &archive(&right)).unwrap();
        let error = check("kernel.source", &file, &archive("00")).unwrap_err().to_string();
        let expected =
            format!("my.toml:3: kernel.source: the sha256 of {} is {right}, not 00", file.display());
        assert_eq!(error, expected);
    }

    /// Answers `answers` requests of a server of its own, then is gone; anything but `/linux.tar.gz` is not found.
    fn serve(answers: usize) -> (String, std::thread::JoinHandle<()>) {
        use std::io::{BufRead as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            for _ in 0..answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let (code, body) = if head[0].contains(" /linux.tar.gz ") {
                    ("200 OK", "abc")
                } else {
                    ("404 Not Found", "")
                };
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {code}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
        });
        (url, served)
    }

    #[test]
    fn a_url_is_asked_once_and_only_what_was_promised_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let right = digest::of_reader(&mut &b"abc"[..]).unwrap();
        let archive = |url: &str, sha256: &str| Archive {
            from: Located {
                value: ArchivePlace::Url(url.to_owned()),
                place: Place { path: Path::new("my.toml").into(), line: 3 },
            },
            sha256: sha256.to_owned(),
        };
        let get = |url: &str, sha256: &str| {
            let file = folder.path().join(sha256);
            download("kernel.source", &archive(url, sha256), url, &file)
                .map(|()| fs::read_to_string(file).unwrap())
        };
        let (server, served) = serve(3);
        let url = format!("{server}/linux.tar.gz");
        assert_eq!(get(&url, &right).unwrap(), "abc");
        assert_eq!(get(&url, &right).unwrap(), "abc", "from the cache");
        let error = get(&url, "00").unwrap_err().to_string();
        assert!(
            error.starts_with("my.toml:3: kernel.source: the sha256 of ") && error.ends_with("not 00"),
            "{error}"
        );
        let gone = format!("{server}/gone.tar.gz");
        let error = format!("{:#}", get(&gone, "01").unwrap_err());
        assert!(error.contains(&format!("downloading {gone}")) && error.contains("404"), "{error}");
        served.join().unwrap();
        let mut kept: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        kept.retain(|name| !name.to_string_lossy().ends_with(".lock"));
        assert_eq!(kept, [right.as_str()]);
    }

    #[test]
    fn archives_are_read_whatever_packed_them() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"text").unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(b"text").unwrap();
        for (name, bytes) in [
            ("gzip", gzip.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("zstd", zstd::encode_all(&b"text"[..], 1).unwrap()),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, bytes).unwrap();
            assert_eq!(std::io::read_to_string(unpacked(&file).unwrap()).unwrap(), "text", "{name}");
        }
        let file = folder.path().join("plain");
        fs::write(&file, "text").unwrap();
        let error = unpacked(&file).err().unwrap().to_string();
        assert!(error.ends_with("plain: allowed are archives packed by xz, gzip or zstd"), "{error}");
    }
}
