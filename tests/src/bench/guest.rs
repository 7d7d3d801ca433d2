//! What the benchmark brings into every system it measures: the probe, a small image to run, a big one to load.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use iso_builder::digest::{self, KeyBuilder};
use iso_builder::project::Project;
use iso_builder::tools::ToolsTree;
use iso_builder::{run, step};
use serde_json::json;

use super::ext4::New;

/// Folder of the probe and the images in every system.
pub const FOLDER: &str = "/var/lib/boot2docker/bench";

/// Name of the image that containers are made of.
pub const IMAGE: &str = "b2d-bench";

/// The archive of [`IMAGE`] in every system.
pub const IMAGE_ARCHIVE: &str = "/var/lib/boot2docker/bench/image.tar";

/// The big archive in every system.
pub const BIG_ARCHIVE: &str = "/var/lib/boot2docker/bench/big.tar";

/// Size of the big image's only layer.
const BIG_BYTES: usize = 200 << 20;

/// Raised when the code below changes the files.
const REVISION: u32 = 1;

/// The program inside the systems, as source: it needs nothing but the standard library.
const PROBE_SOURCE: &str = include_str!("../bin/bench-probe.rs");

/// These files on the host.
#[derive(Debug, Clone)]
pub struct GuestFiles {
    folder: PathBuf,
}

impl GuestFiles {
    /// Makes the files, unless they are there.
    ///
    /// # Errors
    /// When the probe does not compile or a file cannot be written.
    pub fn prepare(project: &Project, tools: &ToolsTree) -> Result<Self> {
        let key = KeyBuilder::new("bench-guest", REVISION).text(PROBE_SOURCE).text(&tools.key()).finish();
        let folder = step::latest(&project.target_folder("bench/guest")?, &key, |part| {
            compile_probe(project, &part.join("probe"))?;
            let busybox = tools.path("/usr/bin/busybox");
            let busybox = fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;
            write_image(&part.join("image.tar"), IMAGE, &[("bin/busybox", &busybox)])?;
            write_image(&part.join("big.tar"), "b2d-bench-big", &[("noise", &noise(BIG_BYTES))])
        })?;
        Ok(Self { folder })
    }

    /// Returns a name for exactly these files.
    #[must_use]
    pub fn key(&self) -> String {
        self.folder.to_string_lossy().into_owned()
    }

    /// Returns the files as they are put into a system; [`FOLDER`] must be there.
    #[must_use]
    pub fn list(&self) -> Vec<New> {
        vec![
            New::Program(format!("{FOLDER}/probe"), self.folder.join("probe")),
            New::File(IMAGE_ARCHIVE.to_owned(), self.folder.join("image.tar")),
            New::File(BIG_ARCHIVE.to_owned(), self.folder.join("big.tar")),
        ]
    }
}

/// Compiles the probe as a static program, for it must run on any system.
fn compile_probe(project: &Project, program: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort"]);
    rustc.args(["-C", "strip=symbols", "--target", "x86_64-unknown-linux-gnu", "-o"]).arg(program);
    rustc.arg(project.root().join("tests/src/bin/bench-probe.rs"));
    run::output(&mut rustc).map(drop).context("compiling the probe")
}

/// Writes an archive as `docker save` does, with one layer that holds `files`.
/// Source: Docker Image Specification v1.2.
fn write_image(path: &Path, name: &str, files: &[(&str, &[u8])]) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let mut layer = tar::Builder::new(Vec::new());
    for (file, content) in files {
        append(&mut layer, file, content, 0o755).with_context(writing)?;
    }
    let layer = layer.into_inner().with_context(writing)?;
    let digest = digest::of_reader(&mut &layer[..]).with_context(writing)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/busybox", "true"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [format!("{name}:latest")], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(BufWriter::new(File::create(path).with_context(writing)?));
    append(&mut archive, "manifest.json", manifest.to_string().as_bytes(), 0o644)
        .and_then(|()| append(&mut archive, "config.json", config.to_string().as_bytes(), 0o644))
        .and_then(|()| append(&mut archive, "layer.tar", &layer, 0o644))
        .and_then(|()| archive.into_inner())
        .and_then(|mut file| file.flush())
        .with_context(writing)
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, content)
}

/// Returns bytes that nothing can compress, the same every time. Source: xorshift64*, Vigna 2016.
fn noise(count: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_names_its_layer_by_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        write_image(&path, "x", &[("bin/a", b"program")]).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(File::open(&path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "config.json" {
                let config: serde_json::Value = serde_json::from_reader(&mut entry).unwrap();
                let diff_id = config["rootfs"]["diff_ids"][0].as_str().unwrap();
                assert_eq!(diff_id.len(), "sha256:".len() + 64);
            }
            names.push(name);
        }
        assert_eq!(names, ["manifest.json", "config.json", "layer.tar"]);
    }

    #[test]
    fn noise_is_the_same_every_time_and_does_not_repeat() {
        let bytes = noise(4096);
        assert_eq!(bytes, noise(4096));
        assert_ne!(bytes[..64], bytes[64..128]);
    }
}
