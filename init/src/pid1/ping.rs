//! Asking a daemon whether it serves: one HTTP request on a socket that never makes us wait.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use b2d_sys::effects::local;

/// When nobody answers, ask again after this; a daemon that is starting holds the request instead.
pub(super) const RETRY: Duration = Duration::from_millis(200);
const REQUEST: &[u8] = b"GET /_ping HTTP/1.0\r\n\r\n";
const STATUS_BYTES: usize = 12;

/// A request under way.
#[derive(Debug)]
pub(super) struct Ping {
    socket: UnixStream,
    answer: Vec<u8>,
}

impl Ping {
    /// Sends the request, or returns None if nobody listens.
    pub(super) fn send(path: &Path) -> Option<Self> {
        let mut socket = local::connect_nonblocking(path).ok()?;
        socket.write_all(REQUEST).ok()?;
        Some(Self { socket, answer: Vec::new() })
    }

    /// Returns whether the daemon serves, or None if it has not said so yet.
    pub(super) fn answer(&mut self) -> Option<bool> {
        let mut buffer = [0; 256];
        while self.answer.len() < STATUS_BYTES {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Some(false),
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => return Some(false),
            }
        }
        Some(is_ok(&self.answer))
    }
}

impl AsFd for Ping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Tells whether an HTTP answer begins with status 200.
fn is_ok(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.") && answer.get(8..STATUS_BYTES) == Some(b" 200")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_200_counts() {
        assert!(is_ok(b"HTTP/1.0 200 OK\r\n"));
        assert!(is_ok(b"HTTP/1.1 200 OK\r\n"));
        assert!(!is_ok(b"HTTP/1.0 503 no\r\n"));
        assert!(!is_ok(b"HTTP/1.0"));
    }

    #[test]
    fn a_daemon_may_take_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(Ping::send(&path).is_none());
        let listener = UnixListener::bind(&path).unwrap();
        let mut ping = Ping::send(&path).unwrap();
        assert_eq!(ping.answer(), None);
        let (mut daemon, _) = listener.accept().unwrap();
        daemon.write_all(b"HTTP/1.0 2").unwrap();
        assert_eq!(ping.answer(), None);
        daemon.write_all(b"00 OK\r\n").unwrap();
        assert_eq!(ping.answer(), Some(true));
    }
}
