//! Containers without a registry: an image made in the guest from its own static busybox.

use anyhow::Result;

use crate::ssh::Ssh;

/// Name of the image that [`import_image`] makes.
pub const IMAGE: &str = "b2d-test";

/// Shell commands that make [`IMAGE`]; usable on a console too.
pub const IMPORT_IMAGE: &str =
    "mkdir -p image/bin && cp /bin/busybox image/bin/ && tar -C image -c . | docker import - b2d-test";

/// Makes [`IMAGE`] in the guest.
///
/// # Errors
/// When the guest's Docker refuses.
pub fn import_image(ssh: &Ssh) -> Result<()> {
    ssh.run(IMPORT_IMAGE).map(drop)
}

/// Runs `command` in a fresh container, which is removed afterwards, and returns what it wrote.
///
/// # Errors
/// When the container cannot be run or fails.
pub fn run(ssh: &Ssh, command: &str) -> Result<String> {
    ssh.run(&format!("docker run --rm {IMAGE} /bin/busybox {command}"))
}
