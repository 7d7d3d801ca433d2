//! An engine from upstream's archive of static programs, in place of packages.
//!
//! Source: Docker's manual, "Install Docker Engine from binaries": one folder `docker/` with all programs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::config::Config;
use crate::download;
use crate::tree::{Content, GuestPath, Node, Tree};

/// Folder of the archive with all programs.
const FOLDER: &str = "docker";

/// Programs of the archive, and where the image has each. Upstream's `ctr` is not in the image.
const PROGRAMS: [(&str, &str); 7] = [
    ("containerd", "/usr/bin/containerd"),
    ("containerd-shim-runc-v2", "/usr/bin/containerd-shim-runc-v2"),
    ("docker", "/usr/bin/docker"),
    ("docker-init", "/usr/bin/docker-init"),
    ("docker-proxy", "/usr/sbin/docker-proxy"),
    ("dockerd", "/usr/sbin/dockerd"),
    ("runc", "/usr/sbin/runc"),
];

/// Packages whose programs the archive has; a build with an archive does without them.
pub(crate) const REPLACED: [&str; 5] = ["containerd", "docker-cli", "docker.io", "runc", "tini"];

/// Returns the packages that a build does without.
#[must_use]
pub(crate) fn left_out(config: &Config) -> &'static [&'static str] {
    if config.engine_archive.is_some() { &REPLACED } else { &[] }
}

/// Adds those programs of the archive `file` to `tree` that the image has, by their paths.
///
/// # Errors
/// When the archive cannot be read or lacks a program.
pub fn add(tree: &mut Tree, file: &Path, has: impl Fn(&Path) -> bool) -> Result<()> {
    let mut programs =
        read(file).with_context(|| format!("reading the engine's archive {}", file.display()))?;
    for (name, path) in PROGRAMS {
        let program = programs.remove(name);
        let program = program.with_context(|| {
            let all = PROGRAMS.map(|(name, _)| format!("{FOLDER}/{name}")).join(", ");
            format!(
                "reading the engine's archive {}: {FOLDER}/{name} is not in it; needed are {all}",
                file.display()
            )
        })?;
        if has(Path::new(path)) {
            tree.insert(
                GuestPath::new(path),
                Node { content: Content::File(program.into()), mode: 0o755, owner: (0, 0) },
            );
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(download::unpacked(file)?);
    let mut programs = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path).to_path_buf();
        let Ok(name) = path.strip_prefix(FOLDER) else { continue };
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            ensure!(bytes.starts_with(b"\x7fELF"), "{} is no program", path.display());
            programs.insert(name.display().to_string(), bytes);
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(programs: &[&str]) -> tempfile::NamedTempFile {
        let mut builder = tar::Builder::new(Vec::new());
        for name in programs {
            let content = format!("\x7fELF {name}");
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            builder.append_data(&mut header, format!("docker/{name}"), content.as_bytes()).unwrap();
        }
        let packed = zstd::encode_all(&builder.into_inner().unwrap()[..], 1).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), packed).unwrap();
        file
    }

    #[test]
    fn what_the_image_has_is_added_and_the_rest_left_out() {
        let all = PROGRAMS.map(|(name, _)| name);
        let mut tree = Tree::default();
        tree.insert(GuestPath::new("/usr/bin/other"), Node::file(*b"other", 0o755));
        let has = |path: &Path| ["/usr/sbin/dockerd", "/usr/bin/docker-init"].map(Path::new).contains(&path);
        add(&mut tree, archive(&[&all[..], &["ctr"]].concat()).path(), has).unwrap();
        let lines: Vec<_> =
            tree.iter().map(|(path, node)| (path.to_string(), node.content.clone())).collect();
        let file = |text: &str| Content::File(text.as_bytes().into());
        let expected = [
            ("/usr/bin/docker-init".to_owned(), file("\x7fELF docker-init")),
            ("/usr/bin/other".to_owned(), file("other")),
            ("/usr/sbin/dockerd".to_owned(), file("\x7fELF dockerd")),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_archive_that_lacks_a_program_is_refused() {
        let file = archive(&["dockerd"]);
        let error = add(&mut Tree::default(), file.path(), |_| true).unwrap_err().to_string();
        assert!(error.contains("docker/containerd is not in it; needed are docker/containerd, "), "{error}");
    }
}
