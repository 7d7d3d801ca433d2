//! Short lines for people, on every console of the kernel.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use b2d_sys::effects::tty;

use crate::facts;

/// Every console, kept open: closing a serial line would wait for its output.
#[derive(Debug)]
pub struct Consoles {
    consoles: Vec<(PathBuf, Option<File>)>,
}

impl Consoles {
    /// Opens the kernel's consoles.
    pub fn open() -> Self {
        let names = facts::consoles(Path::new("/"));
        let consoles = names.into_iter().map(|name| {
            let path = Path::new("/dev").join(name);
            let file = open(&path);
            (path, file)
        });
        Self { consoles: consoles.collect() }
    }

    /// Writes a line to every console that takes it now; one that does not loses it.
    pub fn print(&mut self, line: &str) {
        let text = format!("\r{line}\r\n");
        for (path, file) in &mut self.consoles {
            // The end of a login hangs the line up, and with it our descriptor: open it again then.
            if !write(file, &text) {
                *file = open(path);
                if !write(file, &text) {
                    log::debug!("{} does not take {line:?}", path.display());
                }
            }
        }
    }
}

fn open(path: &Path) -> Option<File> {
    tty::open_terminal(path).inspect_err(|error| log::debug!("{error:#}")).ok().map(File::from)
}

fn write(file: &mut Option<File>, text: &str) -> bool {
    file.as_mut().is_some_and(|file| file.write_all(text.as_bytes()).is_ok())
}
