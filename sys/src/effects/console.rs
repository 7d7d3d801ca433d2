//! Lines for whoever watches the machine boot. The log has them, too, but nobody reads a log on a screen.

use std::fs;
use std::path::Path;

use super::tty;

/// Names of the kernel's consoles, in one line.
const CONSOLES: &str = "/sys/class/tty/console/active";

/// Writes the lines to every console that takes them within a second. A console that does not is no reason to stop.
pub fn say(lines: &[String]) {
    let lines: Vec<String> = lines.iter().map(|line| format!("boot2docker: {line}")).collect();
    let names = fs::read_to_string(CONSOLES).unwrap_or_default();
    for name in names.split_whitespace() {
        if let Err(error) = tty::print(&Path::new("/dev").join(name), &lines.join("\r\n")) {
            log::debug!("{error:#}");
        }
    }
}
