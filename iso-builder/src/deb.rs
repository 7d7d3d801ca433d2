//! Reading .deb files: an `ar` archive with a compressed tar of the package's files.
//!
//! Source: deb(5), format 2.0. Maintainer scripts in `control.tar` are never looked at.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;

/// Unpacks all files of a package below `folder`, as the user who runs this.
///
/// # Errors
/// When the package cannot be read or a file cannot be written; the text names the package.
pub fn unpack(deb: &Path, folder: &Path) -> Result<()> {
    with_files(deb, |archive| {
        archive.set_preserve_mtime(true);
        archive.set_overwrite(true);
        archive.unpack(folder)
    })
    .with_context(|| format!("unpacking into {}", folder.display()))
}

/// Returns the first file of a package whose path satisfies `wanted`, handing its content to `read`.
///
/// # Errors
/// When the package cannot be read or has no such file.
pub fn read_file<T>(
    deb: &Path,
    wanted: impl Fn(&Path) -> bool,
    read: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let mut read = Some(read);
    let mut found = None;
    with_files(deb, |archive| {
        for entry in archive.entries()? {
            let mut entry = entry?;
            if wanted(&entry.path()?)
                && let Some(read) = read.take()
            {
                found = Some(read(&mut entry));
                return Ok(());
            }
        }
        Ok(())
    })?;
    found.unwrap_or_else(|| Err(anyhow!("reading {}: no such file in the package", deb.display())))
}

/// A file of a package, as its tar header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Absolute path in the package.
    pub path: PathBuf,
    /// Permission bits, set-user-id included.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// What it is.
    pub kind: MemberKind,
    /// A regular file's bytes, where they were asked for.
    pub content: Option<Arc<[u8]>>,
}

/// The kinds of files that packages hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A hard link to another member, given by its absolute path.
    HardLink(PathBuf),
    /// A symbolic link and what it says.
    Symlink(PathBuf),
}

/// Returns every file of a package in its order, with the content of those that `keep` asks for.
///
/// # Errors
/// When the package cannot be read or holds something that is no file, folder or link.
pub fn members(deb: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    with_files(deb, |archive| {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut member = member(&entry)?;
            if member.kind == MemberKind::File && keep(&member.path) {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                member.content = Some(content.into());
            }
            members.push(member);
        }
        Ok(())
    })?;
    Ok(members)
}

fn member<R: Read>(entry: &tar::Entry<'_, R>) -> std::io::Result<Member> {
    let header = entry.header();
    let link = || entry.link_name().map(|name| name.map(std::borrow::Cow::into_owned).unwrap_or_default());
    let kind = match header.entry_type() {
        tar::EntryType::Directory => MemberKind::Folder,
        tar::EntryType::Regular => MemberKind::File,
        tar::EntryType::Link => MemberKind::HardLink(absolute(&link()?)),
        tar::EntryType::Symlink => MemberKind::Symlink(link()?),
        other => {
            return Err(std::io::Error::other(format!("{:?} has the odd type {other:?}", entry.path()?)));
        }
    };
    let number = |value: u64| u32::try_from(value).map_err(std::io::Error::other);
    Ok(Member {
        path: absolute(&entry.path()?),
        mode: header.mode()? & 0o7777,
        uid: number(header.uid()?)?,
        gid: number(header.gid()?)?,
        kind,
        content: None,
    })
}

/// Returns the package's control file. Source: deb-control(5).
///
/// # Errors
/// When the package cannot be read or has none.
pub fn control(deb: &Path) -> Result<String> {
    let mut text = None;
    with_archive(deb, "control.tar", |archive| {
        for entry in archive.entries()? {
            let mut entry = entry?;
            if absolute(&entry.path()?) == Path::new("/control") {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                text = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(())
    })?;
    text.ok_or_else(|| anyhow!("reading {}: there is no control file in it", deb.display()))
}

/// Makes `./usr/bin/x` the absolute `/usr/bin/x`.
fn absolute(path: &Path) -> PathBuf {
    let parts = path.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    Path::new("/").join(parts.collect::<PathBuf>())
}

/// Hands the package's files to `read`.
fn with_files(
    deb: &Path,
    read: impl FnOnce(&mut tar::Archive<Box<dyn Read + '_>>) -> std::io::Result<()>,
) -> Result<()> {
    with_archive(deb, "data.tar", read)
}

/// Finds the member `wanted`, with whatever suffix, in the package, decompresses it and hands it to `read`.
fn with_archive(
    deb: &Path,
    wanted: &str,
    read: impl FnOnce(&mut tar::Archive<Box<dyn Read + '_>>) -> std::io::Result<()>,
) -> Result<()> {
    let reading = || format!("reading {}", deb.display());
    let file = File::open(deb).with_context(reading)?;
    let mut outer = ar::Archive::new(BufReader::new(file));
    while let Some(member) = outer.next_entry() {
        let member = member.with_context(reading)?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        let Some(compression) = name.strip_prefix(wanted) else { continue };
        let buffered = BufReader::with_capacity(1 << 18, member);
        let stream: Box<dyn Read + '_> = match compression {
            ".xz" => Box::new(XzDecoder::new(buffered)),
            ".zst" => Box::new(zstd::Decoder::with_buffer(buffered).with_context(reading)?),
            ".gz" => Box::new(GzDecoder::new(buffered)),
            "" => Box::new(buffered),
            other => bail!("reading {}: {wanted}{other} has an unknown compression", deb.display()),
        };
        return read(&mut tar::Archive::new(stream)).with_context(reading);
    }
    bail!("reading {}: no {wanted} in it; it is no Debian package", deb.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A package with one program, one link and one folder, made in memory.
    fn write_deb(path: &Path, compress: impl FnOnce(&[u8]) -> Vec<u8>, suffix: &str) {
        let mut files = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(5);
        files.append_data(&mut header.clone(), "./usr/bin/tool", &b"hello"[..]).unwrap();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        files.append_link(&mut header, "./usr/bin/alias", "tool").unwrap();
        let data = compress(&files.into_inner().unwrap());
        let mut deb = ar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), (&format!("data.tar{suffix}"), &data)] {
            let header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            deb.append(&header, bytes).unwrap();
        }
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn members_keep_mode_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let deb = folder.path().join("tool.deb");
        write_deb(&deb, xz, ".xz");
        let members = members(&deb, |path| path.ends_with("tool")).unwrap();
        let [tool, alias] = &members[..] else { panic!("{members:?}") };
        assert_eq!((tool.path.as_path(), tool.mode), (Path::new("/usr/bin/tool"), 0o4755));
        assert_eq!(tool.content.as_deref(), Some(&b"hello"[..]));
        assert_eq!(alias.kind, MemberKind::Symlink("tool".into()));
    }

    #[test]
    fn every_compression_unpacks_to_the_same_bytes() {
        let gz = |bytes: &[u8]| {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        };
        let zst = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let plain = |bytes: &[u8]| bytes.to_vec();
        type Compress<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
        let cases: [(&str, Compress<'_>); 4] = [(".xz", &xz), (".zst", &zst), (".gz", &gz), ("", &plain)];
        for (suffix, compress) in cases {
            let folder = tempfile::tempdir().unwrap();
            let deb = folder.path().join("tool.deb");
            write_deb(&deb, compress, suffix);
            unpack(&deb, folder.path()).unwrap();
            assert_eq!(std::fs::read(folder.path().join("usr/bin/alias")).unwrap(), b"hello", "{suffix}");
        }
    }

    #[test]
    fn a_file_that_is_no_package_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let deb = folder.path().join("page.deb");
        std::fs::write(&deb, "<html>not found</html>").unwrap();
        let error = format!("{:#}", members(&deb, |_| false).unwrap_err());
        assert!(error.contains("page.deb"), "{error}");
    }
}
