//! Images for `docker load`, made on the host.

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// Returns an archive for `docker load` with one image `name` of one layer: the guest's own `busybox`, and `filling`. The
/// image says its name, from its configuration: images of the same filling share their layer.
///
/// Source: the Docker image specification v1.2, and moby's `image/tarexport`.
///
/// # Errors
/// When it cannot be made in memory.
pub fn docker_archive(name: &str, busybox: &[u8], filling: &[u8]) -> Result<Vec<u8>> {
    let layer = tar_of(&[("bin/busybox", 0o755, busybox), ("filling", 0o644, filling)])?;
    let digest = sha256(&layer);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/busybox", "echo", name] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [format!("{name}:latest")],
        "Layers": ["layer.tar"],
    }]);
    tar_of(&[
        ("config.json", 0o644, config.to_string().as_bytes()),
        ("layer.tar", 0o644, &layer),
        ("manifest.json", 0o644, manifest.to_string().as_bytes()),
    ])
}

/// Returns an archive of files: path, permission bits and content of each.
///
/// # Errors
/// When it cannot be made in memory.
pub fn tar_of(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = Header::new_ustar();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, *content)?;
    }
    Ok(archive.into_inner()?)
}

/// Returns a digest as `sha256sum` prints it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
