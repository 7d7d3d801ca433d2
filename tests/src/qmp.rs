//! QEMU's control connection: one JSON object a line, requests answered in order, events in between.
//! Source: docs/interop/qmp-spec.rst in QEMU.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Deadline;

/// QEMU answers at once, even while the guest is stopped.
const ANSWER: Duration = Duration::from_secs(30);

/// A control connection.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes over a fresh connection and leaves its negotiation phase.
    ///
    /// # Errors
    /// When the other end is not QEMU.
    pub fn new(stream: UnixStream) -> Result<Self> {
        let mut qmp = Self { stream: BufReader::new(stream) };
        let greeting = qmp.receive(Deadline::host(ANSWER))?;
        ensure!(greeting.get("QMP").is_some(), "reading QEMU's greeting: it says {greeting}");
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs `command` and returns its result.
    ///
    /// # Errors
    /// When QEMU refuses, with its words, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}").with_context(|| format!("sending {command} to QEMU"))?;
        let deadline = Deadline::host(ANSWER);
        loop {
            let mut answer =
                self.receive(deadline).with_context(|| format!("awaiting QEMU's answer to {command}"))?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("running {command} in QEMU: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
        }
    }

    /// Presses the ACPI power button.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Adds a virtio disk with the image `path` to the running machine.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug_disk(&mut self, name: &str, path: &Path, is_read_only: bool) -> Result<()> {
        let file = json!({
            "driver": "file", "filename": path, "node-name": name, "read-only": is_read_only
        });
        self.execute("blockdev-add", file)?;
        let device = json!({ "driver": "virtio-blk-pci", "drive": name, "id": format!("{name}-disk") });
        self.execute("device_add", device).map(drop)
    }

    /// Plugs the cable of network card `number` in or pulls it.
    ///
    /// # Errors
    /// When there is no such card.
    pub fn plug(&mut self, number: usize, is_in: bool) -> Result<()> {
        let link = json!({ "name": format!("net{number}"), "up": is_in });
        self.execute("set_link", link).map(drop)
    }

    /// Returns the host's port of 127.0.0.1 that leads to the guest's TCP port `guest`, or None when nothing does.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn forwarded_port(&mut self, guest: u16) -> Result<Option<u16>> {
        // The monitor alone knows which port was free.
        let table = self.execute("human-monitor-command", json!({ "command-line": "info usernet" }))?;
        Ok(host_port(table.as_str().unwrap_or_default(), guest))
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Value> {
        let left = deadline.remaining().context("waiting for QEMU: the deadline passed")?;
        self.stream.get_ref().set_read_timeout(Some(left))?;
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).context("reading from QEMU")?;
        ensure!(count > 0, "reading from QEMU: it closed the connection");
        serde_json::from_str(&line).with_context(|| format!("reading QEMU's line {line:?}"))
    }
}

/// Returns the host port of the forward to `guest` in the table of `info usernet`.
/// Source: libslirp, slirp_connection_info(): protocol[state], fd, source, port, destination, port, queues.
fn host_port(table: &str, guest: u16) -> Option<u16> {
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.first() == Some(&"TCP[HOST_FORWARD]"))
        .find(|fields| fields.get(5).and_then(|port| port.parse().ok()) == Some(guest))
        .and_then(|fields| fields.get(3)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Hub -1 (net0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[ESTABLISHED]   17       127.0.0.1 40001       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]  12       127.0.0.1 45011       10.0.2.15  2376     0     0\r
  TCP[HOST_FORWARD]  11       127.0.0.1 45010       10.0.2.15    22     0     0\r
";

    #[test]
    fn the_port_chosen_by_qemu_is_read_from_its_table() {
        for (guest, expected) in [(22, Some(45010)), (2376, Some(45011)), (80, None)] {
            assert_eq!(host_port(TABLE, guest), expected, "guest port {guest}");
        }
    }

    #[test]
    fn events_are_passed_over_and_errors_are_passed_on() {
        let (host, mut qemu) = UnixStream::pair().unwrap();
        qemu.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"RESET\"}\n{\"return\": 7}\n")
            .unwrap();
        qemu.write_all(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such device\"}}\n")
            .unwrap();
        let mut qmp = Qmp::new(host).unwrap();
        assert_eq!(qmp.execute("query-x", json!({})).unwrap(), json!(7));
        let error = qmp.execute("device_del", json!({})).unwrap_err();
        assert_eq!(format!("{error:#}"), "running device_del in QEMU: no such device");
    }
}
