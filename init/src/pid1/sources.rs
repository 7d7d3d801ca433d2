//! What PID 1 listens to, how long it sleeps, and who hears what.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::signals::SIGCHLD;
use b2d_sys::effects::{clock, process};
use b2d_sys::power::End;

use super::Machine;
use crate::model::ServiceId;
use crate::power::end_for_signal;

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
    Console(usize),
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
        let unsaid = self.consoles.unsaid();
        sources.extend(unsaid.map(|(at, fd)| (Source::Console(at), fd, Interest::Write)));
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
        let jobs = self.jobs.values().flat_map(|job| [job.deadline, job.report_at]);
        let waits = self.waits.iter().map(|wait| wait.deadline);
        let others = [
            self.planned_end.map(|(_, at)| at),
            self.shutdown.map(|_| self.shutdown_wake_at()),
            self.upkeep_at.filter(|_| self.shutdown.is_none()),
        ];
        let next = units.chain(jobs).chain(waits).chain(others).flatten().min()?;
        Some(next.saturating_sub(clock::since_kernel_start()))
    }

    /// Takes note of what is heard.
    pub(super) fn hear(&mut self, source: Source) {
        match source {
            Source::Signals => self.hear_signals(),
            Source::Records => self.copy_log(),
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
            Source::Console(at) => self.consoles.go_on(at),
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
}
