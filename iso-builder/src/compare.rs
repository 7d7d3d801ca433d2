//! Where two ISOs differ: down to the file in the layer in the initramfs in the ISO.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc;

use crate::initrd;
use crate::iso9660::Iso;
use crate::run;
use crate::tools::ToolsTree;

/// Files by path: for each its bytes, or what stands for them.
type Files = BTreeMap<String, Vec<u8>>;

/// Returns the path of the first file that differs, `initrd.img!layers/10-base.squashfs!/usr/bin/x` for one deep inside.
///
/// `scratch` is a folder for unpacking layers.
///
/// # Errors
/// When an ISO cannot be read.
pub fn first_difference(tools: &ToolsTree, first: &Path, second: &Path, scratch: &Path) -> Result<String> {
    let Some(path) = differing(&iso_files(first)?, &iso_files(second)?) else {
        return Ok("the ISO's structure, outside of all files,".to_owned());
    };
    if path != "/boot/initrd.img" {
        return Ok(path);
    }
    let initrds = (initrd_of(first)?, initrd_of(second)?);
    let (one, two) = (archive_files(&initrds.0)?, archive_files(&initrds.1)?);
    let Some(member) = differing(&one, &two) else { return Ok(format!("{path}, outside of its files,")) };
    let (Some(left), Some(right)) = (one.get(&member), two.get(&member)) else {
        return Ok(format!("{path}!{member}"));
    };
    if !member.ends_with(".squashfs") {
        return Ok(format!("{path}!{member}"));
    }
    let left = layer_files(tools, left, &scratch.join("left"))?;
    let right = layer_files(tools, right, &scratch.join("right"))?;
    Ok(match differing(&left, &right) {
        Some(file) => format!("{path}!{member}!{file}"),
        None => format!("{path}!{member}, outside of its files,"),
    })
}

/// Returns the first path that only one side has, or at which they have different bytes.
fn differing(one: &Files, two: &Files) -> Option<String> {
    let mut paths: Vec<_> = one.keys().chain(two.keys()).collect();
    paths.sort();
    paths.into_iter().find(|path| one.get(*path) != two.get(*path)).cloned()
}

fn iso_files(path: &Path) -> Result<Files> {
    let iso = Iso::open(path)?;
    let mut files = Files::new();
    for entry in iso.entries()?.into_iter().filter(|entry| !entry.is_directory) {
        files.insert(entry.path, iso.content(entry.extent)?);
    }
    Ok(files)
}

/// Returns the initramfs of an ISO.
///
/// # Errors
/// When the ISO cannot be read or is not ours.
pub fn initrd_of(path: &Path) -> Result<Vec<u8>> {
    let iso = Iso::open(path)?;
    iso.read("/boot/initrd.img")
}

/// Begin of a zstd frame. Source: RFC 8878 section 3.1.1.
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Returns the regular files of a cpio archive, or of several in a row, compressed or not.
///
/// # Errors
/// When the bytes are no such archive.
pub fn archive_files(mut bytes: &[u8]) -> Result<Files> {
    let reading = "reading the initramfs";
    let mut files = Files::new();
    loop {
        // Archives may be padded with zeros, and another one may follow.
        let padding = bytes.iter().take_while(|&&byte| byte == 0).count();
        bytes = &bytes[padding..];
        if bytes.is_empty() {
            return Ok(files);
        }
        if bytes.starts_with(ZSTD_MAGIC) {
            let (archive, rest) = bytes.split_at(initrd::first_archive_bytes(bytes)?);
            files.extend(archive_files(&zstd::decode_all(archive).context(reading)?)?);
            bytes = rest;
            continue;
        }
        let mut reader = newc::Reader::new(bytes).context(reading)?;
        if !reader.entry().is_trailer() && reader.entry().mode() & 0o170_000 == 0o100_000 {
            let name = reader.entry().name().to_owned();
            let mut content = Vec::new();
            reader.read_to_end(&mut content).context(reading)?;
            files.insert(name, content);
        }
        bytes = reader.finish().context(reading)?;
    }
}

/// Unpacks a layer and returns its files; what is no regular file is described in words.
fn layer_files(tools: &ToolsTree, layer: &[u8], scratch: &Path) -> Result<Files> {
    fs::create_dir_all(scratch).with_context(|| format!("creating {}", scratch.display()))?;
    let file = scratch.join("layer.squashfs");
    fs::write(&file, layer).with_context(|| format!("writing {}", file.display()))?;
    let root = scratch.join("root");
    // Mode, owner, size and time of every file, in path order; then the content of each.
    let listed = run::text(tools.program("unsquashfs").args(["-lln", "-UTC"]).arg(&file))
        .context("listing a layer's files")?;
    run::output(
        tools
            .program("unsquashfs")
            .args(["-quiet", "-no-progress", "-no-xattrs", "-d"])
            .arg(&root)
            .arg(&file),
    )
    .context("unpacking a layer")?;
    let mut files = Files::new();
    for line in listed.lines() {
        let Some((_, name)) = line.split_once("squashfs-root") else { continue };
        let name = name.split(" -> ").next().unwrap_or(name);
        let path = root.join(name.trim_start_matches('/'));
        let mut description = line.as_bytes().to_vec();
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            description.extend(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        }
        files.insert(name.to_owned(), description);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).unwrap();
        let mut writer = newc::Builder::new(name).mode(0o100_644).write(Vec::new(), size);
        std::io::Write::write_all(&mut writer, content).unwrap();
        newc::trailer(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn archives_in_a_row_are_read_as_one() {
        let mut bytes = zstd::encode_all(&archive("init", b"one")[..], 1).unwrap();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(archive("layers/60-site.squashfs", b"two"));
        let files = archive_files(&bytes).unwrap();
        let expected = [("init", b"one".to_vec()), ("layers/60-site.squashfs", b"two".to_vec())];
        assert_eq!(files, expected.map(|(name, content)| (name.to_owned(), content)).into());
    }

    #[test]
    fn the_first_difference_is_by_path_and_a_missing_file_counts() {
        let files = |pairs: &[(&str, &str)]| -> Files {
            pairs.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
        };
        let one = files(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(differing(&one, &one.clone()), None);
        assert_eq!(differing(&one, &files(&[("a", "1"), ("b", "x"), ("c", "y")])), Some("b".into()));
        assert_eq!(differing(&one, &files(&[("a", "1"), ("c", "3")])), Some("b".into()));
    }
}
