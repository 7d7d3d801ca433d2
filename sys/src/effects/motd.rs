//! The message of the day: what people should know who log in. It lies in RAM, so it survives no boot.

use std::path::Path;

use anyhow::Result;

use super::files::{read_optional, write_atomic};

const MOTD: &str = "etc/motd";

/// Adds lines to the message of the day of the system at `root`.
///
/// # Errors
/// When it cannot be read or written.
pub fn add(root: &Path, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = root.join(MOTD);
    let mut text = read_optional(&path)?.unwrap_or_default();
    lines.iter().for_each(|line| text.extend_from_slice(format!("* {line}\n").as_bytes()));
    write_atomic(&path, &text, 0o644, None)
}
