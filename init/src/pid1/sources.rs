//! What PID 1 listens to, how long it sleeps, and who hears what.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::signals::SIGCHLD;
use b2d_sys::effects::{clock, input, process};
use b2d_sys::power::End;
use b2d_sys::uevent::Uevent;

use super::Machine;
use crate::facts;
use crate::model::ServiceId;
use crate::plan::{kernel, services};
use crate::power::end_for_signal;
use crate::supervise::Event;

/// Something that may be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    Records,
    Directories,
    Devices,
    Control,
    Client(usize),
    Output(usize),
    Button(usize),
    Ping(ServiceId),
}

impl Machine {
    /// Sleeps until something is heard or time is up; returns what is heard. Later entries of a list come first,
    /// so that hearing one may remove it without renumbering those still to be heard.
    pub(super) fn wait(&self) -> Vec<Source> {
        let mut sources: Vec<(Source, BorrowedFd<'_>, Interest)> = vec![
            (Source::Signals, self.signals.as_fd(), Interest::Read),
            (Source::Records, self.boot_log.as_fd(), Interest::Read),
            (Source::Directories, self.watch.as_fd(), Interest::Read),
        ];
        sources.extend(self.uevents.iter().map(|socket| (Source::Devices, socket.as_fd(), Interest::Read)));
        if let Some(control) = &self.control {
            sources.push((Source::Control, control.as_fd(), Interest::Read));
            let clients = control.listening_clients();
            sources.extend(clients.map(|(at, fd)| (Source::Client(at), fd, Interest::Read)));
        }
        let outputs = self.outputs.iter().enumerate();
        sources.extend(outputs.map(|(at, output)| (Source::Output(at), output.as_fd(), Interest::Read)));
        let buttons = self.buttons.fds().enumerate();
        sources.extend(buttons.map(|(at, fd)| (Source::Button(at), fd, Interest::Read)));
        let pings = self.units.iter().filter_map(|(id, unit)| Some((id, unit.ping.as_ref()?)));
        sources.extend(pings.map(|(id, ping)| (Source::Ping(id.clone()), ping.as_fd(), Interest::Read)));
        let fds: Vec<_> = sources.iter().map(|(_, fd, interest)| (*fd, *interest)).collect();
        let ready = poll::wait(&fds, self.sleep()).unwrap_or_else(|error| {
            log::error!("waiting for events: {error}");
            Vec::new()
        });
        let heard = sources.into_iter().zip(ready).filter(|(_, is_ready)| *is_ready);
        let mut heard: Vec<Source> = heard.map(|((source, ..), _)| source).collect();
        heard.reverse();
        heard
    }

    /// Returns how long nothing is due; None means for ever.
    fn sleep(&self) -> Option<Duration> {
        let units = self.units.values().flat_map(|unit| [unit.life.wake_at(), unit.ping_again_at]);
        let jobs = self.jobs.values().map(|job| job.deadline);
        let waits = self.waits.iter().map(|wait| wait.deadline);
        let others = [self.planned_end.map(|(_, at)| at), self.shutdown.map(|_| self.shutdown_wake_at())];
        let next = units.chain(jobs).chain(waits).chain(others).flatten().min()?;
        Some(next.saturating_sub(clock::since_kernel_start()))
    }

    /// Takes note of what is heard.
    pub(super) fn hear(&mut self, source: Source) {
        match source {
            Source::Signals => self.hear_signals(),
            Source::Records => self.boot_log.copy(),
            Source::Directories => self.watch.drain(),
            Source::Devices => self.hear_devices(),
            Source::Control => self.control.iter_mut().for_each(super::Control::accept),
            Source::Client(at) => self.hear_client(at),
            Source::Output(at) => self.hear_output(at),
            Source::Button(at) => {
                if self.buttons.was_pressed(at) {
                    self.end_machine("power button", End::PowerOff);
                }
            }
            Source::Ping(id) => self.hear_ping(&id),
        }
    }

    fn hear_signals(&mut self) {
        while let Some(signal) = self.signals.next_signal() {
            if signal == SIGCHLD {
                while let Some((pid, status)) = process::reap() {
                    self.child_ended(pid, status);
                }
            } else if let Some(end) = end_for_signal(signal) {
                self.end_machine(&format!("signal {signal}"), end);
            }
        }
    }

    fn hear_devices(&mut self) {
        let mut events = Vec::new();
        while let Some(event) = self.uevents.as_ref().and_then(|socket| socket.next_event()) {
            events.push(event);
        }
        for event in events.into_iter().filter(|event| event.action == "add") {
            match event.subsystem.as_str() {
                "input" => self.input_appears(&event),
                "net" => self.interface_appears(&event),
                _ => {}
            }
        }
    }

    fn input_appears(&mut self, event: &Uevent) {
        let device = event.devname.as_deref().and_then(|name| name.strip_prefix("input/"));
        if let Some(device) = device.filter(|device| input::has_power_key(Path::new("/"), device)) {
            self.buttons.add(device);
        }
    }

    /// Gives a network interface that was plugged in what those at boot got.
    fn interface_appears(&mut self, event: &Uevent) {
        let name = event.devpath.rsplit('/').next().unwrap_or_default().to_owned();
        let is_new = facts::is_configured_by_us(&name) && !self.facts.interfaces.contains(&name);
        if !is_new || !self.sequence.is_over("data-disk") {
            return;
        }
        log::info!("network interface {name} appeared");
        for action in kernel::interface(&name) {
            if let Err(error) = self.carry_out(&action) {
                log::warn!("{error:#}");
            }
        }
        self.facts.interfaces.push(name.clone());
        let service = services::udhcpc(&name);
        let id = service.id.clone();
        self.add_unit(service);
        self.unit_event(&id, Event::Begin);
    }
}
