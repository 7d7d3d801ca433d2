//! Short lines for people, on every console of the kernel.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use b2d_sys::effects::tty;

use crate::facts;

/// What waits for a console that takes nothing stays below this.
const UNSAID_BYTES: usize = 16 << 10;

/// Every console, kept open: closing a serial line would wait for its output.
#[derive(Debug)]
pub struct Consoles {
    consoles: Vec<Console>,
}

#[derive(Debug)]
struct Console {
    path: PathBuf,
    file: Option<File>,
    /// What it has not taken yet: somebody else may be writing.
    unsaid: Vec<u8>,
}

impl Consoles {
    /// Opens the kernel's consoles.
    pub fn open() -> Self {
        let names = facts::consoles(Path::new("/"));
        let consoles = names.into_iter().map(|name| {
            let path = Path::new("/dev").join(name);
            Console { file: open(&path), path, unsaid: Vec::new() }
        });
        Self { consoles: consoles.collect() }
    }

    /// Writes a line to every console, without waiting: [`Consoles::go_on`] writes what one does not take now.
    pub fn print(&mut self, line: &str) {
        for console in &mut self.consoles {
            console.add(line);
            console.go_on();
        }
    }

    /// Returns the consoles that have not taken everything yet, to be waited for until they can be written to.
    pub fn unsaid(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let waiting = self.consoles.iter().enumerate().filter(|(_, console)| !console.unsaid.is_empty());
        waiting.filter_map(|(at, console)| Some((at, console.file.as_ref()?.as_fd())))
    }

    /// Writes what a console takes by now.
    pub fn go_on(&mut self, at: usize) {
        self.consoles[at].go_on();
    }
}

impl Console {
    fn add(&mut self, line: &str) {
        let text = format!("\r{line}\r\n");
        if self.unsaid.len() + text.len() > UNSAID_BYTES {
            log::debug!("{} does not take {line:?}", self.path.display());
        } else {
            self.unsaid.extend(text.bytes());
        }
    }

    fn go_on(&mut self) {
        if self.write().is_ok() {
            return;
        }
        // The end of a login hangs the line up, and with it our descriptor: open it again then.
        self.file = open(&self.path);
        if let Err(error) = self.write() {
            log::debug!("writing to {}: {error}", self.path.display());
            self.unsaid.clear();
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(ErrorKind::NotFound)?;
        let written = tty::write_now(file, &self.unsaid)?;
        self.unsaid.drain(..written);
        Ok(())
    }
}

fn open(path: &Path) -> Option<File> {
    tty::open_terminal(path).inspect_err(|error| log::debug!("{error:#}")).ok().map(File::from)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_line_waits_for_a_console_that_takes_nothing_now() {
        let (mut far, near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut file = File::from(OwnedFd::from(near));
        while file.write(&[b'x'; 64]).is_ok() {}
        let console = Console { path: "/dev/none".into(), file: Some(file), unsaid: Vec::new() };
        let mut consoles = Consoles { consoles: vec![console] };
        consoles.print("one");
        consoles.print("two");
        assert_eq!(consoles.unsaid().map(|(at, _)| at).collect::<Vec<_>>(), [0]);
        let mut heard = Vec::new();
        while !heard.ends_with(b"\rone\r\n\rtwo\r\n") {
            let mut buffer = [0; 4096];
            let count = far.read(&mut buffer).unwrap();
            heard.extend(buffer[..count].iter().filter(|&&byte| byte != b'x'));
            consoles.go_on(0);
        }
        assert_eq!(consoles.unsaid().count(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_a_console_that_is_gone_keeps_nothing() {
        let path = PathBuf::from("/dev/none");
        let mut console = Console { path, file: None, unsaid: Vec::new() };
        (0..10_000).for_each(|_| console.add("a line"));
        assert!((UNSAID_BYTES - 16..=UNSAID_BYTES).contains(&console.unsaid.len()));
        console.go_on();
        assert!(console.unsaid.is_empty());
    }
}
