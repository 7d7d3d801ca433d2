//! What the host must have. Everything missing is named with its fix before any work starts.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::enter;

/// Programs the builder starts on the host, and the Debian or Ubuntu package to install.
const PROGRAMS: [(&str, &str); 4] = [
    ("apt-get", "apt (the builder needs Debian, Ubuntu or a container of one)"),
    ("apt-config", "apt"),
    ("cargo", "Rust, by rustup"),
    ("rustc", "Rust, by rustup"),
];

/// Part of apt that downloads single files.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Environment variable that says how many processes or threads work at a time; without it that many as there are processors.
pub(crate) const JOBS_VARIABLE: &str = "BOOT2DOCKER_JOBS";

/// Returns how many processes or threads shall compile and pack at a time.
#[must_use]
pub fn jobs() -> usize {
    let asked = env::var(JOBS_VARIABLE).ok().and_then(|text| text.parse().ok()).filter(|jobs| *jobs > 0);
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Checks the host.
///
/// # Errors
/// One error that lists everything that is missing.
pub fn check() -> Result<()> {
    if let Some(text) = env::var_os(JOBS_VARIABLE)
        && !text.to_str().is_some_and(|text| text.parse().is_ok_and(|jobs: usize| jobs > 0))
    {
        bail!("reading {JOBS_VARIABLE}: `{}` is no number above 0", text.display());
    }
    let mut missing = Vec::new();
    if env::consts::OS != "linux" || env::consts::ARCH != "x86_64" {
        missing.push(format!("Linux on x86-64 (this is {} on {})", env::consts::OS, env::consts::ARCH));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    for (program, package) in PROGRAMS {
        if !env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            missing.push(format!("the program {program}: install {package}"));
        }
    }
    if !Path::new(APT_HELPER).is_file() {
        missing.push(format!("the program {APT_HELPER}: install apt"));
    }
    if !missing.is_empty() {
        bail!("this host lacks {}", missing.join("; and "));
    }
    check_namespaces()
}

/// Tries in a fresh process what [`crate::enter`] will need.
fn check_namespaces() -> Result<()> {
    let output = Command::new(enter::THIS_PROGRAM)
        .args([enter::SUBCOMMAND, enter::PROBE])
        .output()
        .context("trying to make namespaces")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("iso-builder: "));
    }
    Ok(())
}
