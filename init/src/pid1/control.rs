//! The control socket: requests of root's commands, and answers once they are true.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use b2d_sys::contract;
use b2d_sys::effects::{clock, local};
use b2d_sys::power::End;

use super::Machine;
use super::units::Unit;
use crate::model::ServiceId;
use crate::protocol::{REQUEST_BYTES, Reply, Request, Verb};
use crate::supervise::{Event, Phase};

/// Clients at once; more are turned away, so that nobody can use up our descriptors.
const CLIENTS: usize = 32;

/// The socket and those who talk on it.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    socket: UnixStream,
    request: Vec<u8>,
    waits_for: Option<(ServiceId, Wanted)>,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Up,
    Down,
}

impl Control {
    /// Opens the socket.
    ///
    /// # Errors
    /// When its directory does not exist yet.
    pub(super) fn open() -> Result<Self> {
        Ok(Self {
            listener: local::listen_for_root(Path::new(contract::CONTROL_SOCKET))?,
            clients: Vec::new(),
        })
    }

    /// Accepts whoever waits.
    pub(super) fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.clients.len() >= CLIENTS || socket.set_nonblocking(true).is_err() {
                continue;
            }
            self.clients.push(Client { socket, request: Vec::new(), waits_for: None });
        }
    }

    /// Returns the clients whose request is still to come.
    pub(super) fn listening_clients(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let clients = self.clients.iter().enumerate().filter(|(_, client)| client.waits_for.is_none());
        clients.map(|(at, client)| (at, client.socket.as_fd()))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Client {
    /// Returns the request once it is complete; Some(None) means the client has gone or talks nonsense.
    fn read(&mut self) -> Option<Option<Request>> {
        let mut buffer = [0; REQUEST_BYTES];
        loop {
            if let Some(end) = self.request.iter().position(|&byte| byte == b'\n') {
                return Some(Request::parse(&String::from_utf8_lossy(&self.request[..end])));
            }
            match self.socket.read(&mut buffer) {
                Ok(count) if count > 0 && self.request.len() + count <= REQUEST_BYTES => {
                    self.request.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                _ => return Some(None),
            }
        }
    }

    fn answer(mut self, reply: &Reply) {
        // A client that does not wait for its answer misses it.
        if let Err(error) = self.socket.write_all(reply.to_string().as_bytes()) {
            log::debug!("answering a client: {error}");
        }
    }
}

impl Machine {
    /// Reads a client's request and answers it, now or once it is true.
    pub(super) fn hear_client(&mut self, at: usize) {
        let Some(control) = &mut self.control else { return };
        let Some(request) = control.clients.get_mut(at).and_then(Client::read) else { return };
        let mut client = control.clients.remove(at);
        let reply = match request {
            None => Ok(Reply::failed("PID 1 does not understand")),
            Some(Request::List) => Ok(self.list()),
            Some(Request::End(end, delay)) => Ok(self.plan_end(end, delay)),
            Some(Request::Service(verb, name)) => self.serve(verb, &ServiceId::new(name)),
        };
        match (reply, &mut self.control) {
            (Ok(reply), _) => client.answer(&reply),
            (Err(waits_for), Some(control)) => {
                client.waits_for = Some(waits_for);
                control.clients.push(client);
            }
            (Err(_), None) => {}
        }
    }

    /// Answers the clients whose wish has come true.
    pub(super) fn answer_clients(&mut self) {
        let Some(control) = &mut self.control else { return };
        let units = &self.units;
        let (done, rest) = std::mem::take(&mut control.clients).into_iter().partition(|client| {
            let Some((id, wanted)) = &client.waits_for else { return false };
            units.get(id).is_none_or(|unit| is_true(unit, *wanted))
        });
        control.clients = rest;
        let done: Vec<Client> = done;
        done.into_iter().for_each(|client| client.answer(&Reply::default()));
    }

    /// Does what is asked of a service; returns the answer, or what to wait for.
    fn serve(&mut self, verb: Verb, id: &ServiceId) -> Result<Reply, (ServiceId, Wanted)> {
        let Some(unit) = self.units.get(id) else {
            return Ok(Reply::failed(format!("{id}: no such service")));
        };
        let (event, wanted) = match verb {
            Verb::Status => return Ok(status(unit)),
            Verb::Reload if unit.is_up() && unit.service.reloads => {
                unit.reload();
                return Ok(Reply::default());
            }
            Verb::Reload if unit.is_up() => (Event::Restart, Wanted::Up),
            Verb::Reload => return Ok(Reply::failed(format!("{id} is not running"))),
            Verb::Start if unit.is_up() => return Ok(Reply::ok(describe(unit))),
            Verb::Start => (Event::Start, Wanted::Up),
            Verb::Restart => (Event::Restart, Wanted::Up),
            Verb::Stop => (Event::Stop, Wanted::Down),
        };
        log::info!("{id}: asked to {verb:?}");
        let needed = if wanted == Wanted::Up { unit.service.after.clone() } else { vec![] };
        for service in needed {
            self.unit_event(&service, Event::Start);
        }
        self.unit_event(id, event);
        Err((id.clone(), wanted))
    }

    fn list(&self) -> Reply {
        Reply { out: self.units.values().map(describe).collect(), ..Reply::default() }
    }

    fn plan_end(&mut self, end: End, delay: Duration) -> Reply {
        if delay.is_zero() {
            self.end_machine("a command", end);
            return Reply::default();
        }
        self.planned_end = Some((end, clock::since_kernel_start() + delay));
        let plan = format!("{} in {} min", end.gerund(), delay.as_secs() / 60);
        log::info!("a command asks for {plan}");
        self.consoles.print(&format!("boot2docker: {plan}"));
        Reply::ok(plan)
    }
}

fn is_true(unit: &Unit, wanted: Wanted) -> bool {
    match wanted {
        // A start that fails has been tried, too; status tells.
        Wanted::Up => unit.is_up() || matches!(unit.life.phase, Phase::Waiting { .. } | Phase::Stopped),
        Wanted::Down => unit.life.phase == Phase::Stopped,
    }
}

/// Says whether a service runs, and what its preparation found to be wrong.
fn status(unit: &Unit) -> Reply {
    let mut out = vec![describe(unit)];
    let notes = fs::read_to_string(Path::new(contract::MOTD_DIR).join(unit.service.id.to_string()));
    // No file: nothing is wrong.
    out.extend(notes.unwrap_or_default().lines().map(str::to_owned));
    Reply { out, code: u8::from(!unit.life.has_process()), ..Reply::default() }
}

fn describe(unit: &Unit) -> String {
    let id = &unit.service.id;
    let state = match unit.life.phase {
        Phase::Running { .. } => "is running",
        Phase::Starting { .. } => "is starting",
        Phase::Preparing => "is being prepared",
        Phase::Waiting { .. } => "is not running, waits to be started again",
        Phase::Stopped => "is not running",
        Phase::Stopping { .. } | Phase::Killed { .. } => "is stopping",
    };
    let pid = unit.pid.map(|pid| format!(" (pid {})", pid.as_raw_nonzero())).unwrap_or_default();
    let faults = match unit.faults {
        0 => String::new(),
        1 => ", ended by itself once".to_owned(),
        count => format!(", ended by itself {count} times"),
    };
    format!("{id} {state}{pid}{faults}")
}
