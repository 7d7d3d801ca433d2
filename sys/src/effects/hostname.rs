//! The kernel's idea of the machine's name.

use anyhow::{Context, Result};

/// Returns the machine's name.
pub fn get() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Sets the machine's name.
///
/// # Errors
/// Without the right to, or when the name is longer than 64 bytes.
pub fn set(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).with_context(|| format!("setting the host name {name}"))
}
