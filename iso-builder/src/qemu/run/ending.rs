//! How the machine ended: QEMU's exit code is the same for a power-off and for a pulled plug, its last event is not.
//! Source: QEMU, qapi/run-state.json, SHUTDOWN.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

/// QEMU has closed its connection when it is gone; this only bounds a surprise.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(5);

/// A listener for QEMU's control connection.
#[derive(Debug)]
pub(super) struct Ending {
    path: PathBuf,
    reason: Receiver<Option<String>>,
    _folder: tempfile::TempDir,
}

#[derive(Deserialize)]
struct Line {
    event: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    reason: Option<String>,
}

impl Ending {
    /// Begins to listen.
    pub(super) fn listen() -> Result<Self> {
        // A socket's path has 108 bytes at most; target/ may lie deeper.
        let folder = tempfile::tempdir().context("creating a folder for a socket")?;
        let path = folder.path().join("qmp");
        let listener =
            UnixListener::bind(&path).with_context(|| format!("making the socket {}", path.display()))?;
        let (sender, reason) = mpsc::channel();
        thread::spawn(move || {
            let reason = listener.accept().ok().and_then(|(stream, _)| last_reason(stream));
            // Nobody waits when this program ends first.
            drop(sender.send(reason));
        });
        Ok(Self { path, reason, _folder: folder })
    }

    /// Returns the socket that QEMU is to connect to.
    pub(super) fn socket(&self) -> &Path {
        &self.path
    }

    /// Returns whether the guest has switched itself off. To be asked when QEMU is gone.
    pub(super) fn is_power_off(&self) -> bool {
        let reason = self.reason.recv_timeout(LAST_WORD_LIMIT).unwrap_or_default();
        log::debug!("the machine ended: {reason:?}");
        reason.as_deref() == Some("guest-shutdown")
    }
}

/// Reads events until QEMU closes the connection; returns the reason of the last SHUTDOWN.
fn last_reason(mut stream: UnixStream) -> Option<String> {
    // QEMU may be gone already; what it said is still there to be read.
    if let Err(error) = stream.write_all(b"{\"execute\": \"qmp_capabilities\"}\n") {
        log::debug!("greeting QEMU: {error}");
    }
    let mut reason = None;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        if let Ok(Line { event: Some(event), data: Some(data) }) = serde_json::from_str(&line)
            && event == "SHUTDOWN"
        {
            reason = data.reason;
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_switched_itself_off_ended_well() {
        for (reason, expected) in [("guest-shutdown", true), ("host-qmp-quit", false), ("guest-panic", false)]
        {
            let ending = Ending::listen().unwrap();
            let mut qemu = UnixStream::connect(ending.socket()).unwrap();
            writeln!(qemu, "{{\"QMP\": {{}}}}\n{{\"return\": {{}}}}").unwrap();
            writeln!(qemu, "{{\"event\": \"RESET\", \"data\": {{\"reason\": \"guest-reset\"}}}}").unwrap();
            writeln!(
                qemu,
                "{{\"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true, \"reason\": \"{reason}\"}}}}"
            )
            .unwrap();
            drop(qemu);
            assert_eq!(ending.is_power_off(), expected, "{reason}");
        }
    }
}
