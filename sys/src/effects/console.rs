//! Lines for whoever watches the machine boot. The log has them, too, but nobody reads a log on a screen.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::tty::open_terminal;

/// Names of the kernel's consoles, in one line.
const CONSOLES: &str = "/sys/class/tty/console/active";

/// Writes the lines to every console that takes them now. A console that does not is no reason to stop.
pub fn say(lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("\rboot2docker: {line}\r\n")).collect();
    let names = fs::read_to_string(CONSOLES).unwrap_or_default();
    for name in names.split_whitespace() {
        if let Err(error) = write(&Path::new("/dev").join(name), &text) {
            log::debug!("{error:#}");
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut console = File::from(open_terminal(path)?);
    console.write_all(text.as_bytes()).with_context(|| format!("writing to {}", path.display()))
}
