//! PID 1 itself: one thread, one poll loop, all state in one value. Carries out what plan, sequence,
//! supervision and shutdown decide; decides nothing but stop or go on.

mod boot_log;
mod buttons;
mod control;
mod devices;
mod jobs;
mod lifecycle;
mod logs;
mod ping;
mod readiness;
mod shutdown;
mod sources;
mod steps;
mod timeline;
mod units;
mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use b2d_sys::effects::inotify::DirWatch;
use b2d_sys::effects::process::Pid;
use b2d_sys::effects::signals::{SIGCHLD, SignalFd};
use b2d_sys::effects::uevents::UeventSocket;
use b2d_sys::effects::{clock, reboot};
use b2d_sys::power::End;

use crate::birth::Birth;
use crate::consoles::Consoles;
use crate::facts::Facts;
use crate::idle::Idle;
use crate::model::ServiceId;
use crate::options;
use crate::plan;
use crate::power::{END_SIGNALS, Shutdown};
use crate::rescue;
use crate::sequence::{Sequence, StepRef};
use boot_log::BootLog;
use buttons::Buttons;
use control::Control;
use jobs::{Job, Output};
use timeline::Timeline;
use units::Unit;

/// Everything PID 1 knows.
struct Machine {
    facts: Facts,
    sequence: Sequence,
    waits: Vec<StepWait>,
    units: BTreeMap<ServiceId, Unit>,
    jobs: HashMap<Pid, Job>,
    outputs: Vec<Output>,
    signals: SignalFd,
    watch: DirWatch,
    uevents: Option<UeventSocket>,
    buttons: Buttons,
    boot_log: BootLog,
    control: Option<Control>,
    consoles: Consoles,
    timeline: Timeline,
    planned_end: Option<(End, Duration)>,
    shutdown: Option<Shutdown>,
    upkeep_at: Option<Duration>,
    idle: Idle,
    is_rest_planned: bool,
    is_on_disk: bool,
}

/// A step that waits for a service, at most until `deadline`.
struct StepWait {
    step: StepRef,
    service: ServiceId,
    deadline: Option<Duration>,
    announce: Option<&'static str>,
}

/// Runs the machine until its end.
pub fn run(birth: Option<Birth>) -> ! {
    let mut machine = match Machine::new(birth) {
        Ok(machine) => machine,
        Err(error) => rescue::run(&format!("starting PID 1: {error:#}")),
    };
    machine.introduce();
    machine.sequence.add(plan::early(&machine.facts).stages);
    loop {
        machine.settle();
        let ready = machine.wait();
        for source in ready {
            machine.hear(source);
        }
    }
}

impl Machine {
    fn new(birth: Option<Birth>) -> Result<Self> {
        if let Err(error) = reboot::soften_ctrl_alt_del() {
            log::warn!("{error:#}; ctrl-alt-del will reset the machine");
        }
        let signals: Vec<i32> = END_SIGNALS.into_iter().chain([SIGCHLD]).collect();
        let facts = Facts::read(Path::new("/"));
        Ok(Self {
            facts,
            sequence: Sequence::default(),
            waits: Vec::new(),
            units: BTreeMap::new(),
            jobs: HashMap::new(),
            outputs: Vec::new(),
            signals: SignalFd::new(&signals)?,
            watch: DirWatch::new()?,
            uevents: UeventSocket::open().inspect_err(|error| log::warn!("{error:#}")).ok(),
            buttons: Buttons::open(),
            boot_log: BootLog::open().context("opening the boot log")?,
            control: None,
            consoles: Consoles::open(),
            timeline: Timeline::new(birth, clock::since_kernel_start()),
            planned_end: None,
            shutdown: None,
            upkeep_at: None,
            idle: Idle::default(),
            is_rest_planned: false,
            is_on_disk: false,
        })
    }

    /// Says what the log and people should know before anything is done.
    fn introduce(&mut self) {
        log::info!("{}", self.facts.platform);
        for option in options::unknown(&self.facts.cmdline) {
            let line = format!("kernel command line: {option} is unknown; known are {}", options::names());
            log::warn!("{line}");
            self.consoles.print(&format!("boot2docker: {line}"));
        }
    }

    /// Copies new records to the boot log, and helpers' warnings to the consoles until people work there.
    fn copy_log(&mut self) {
        for warning in self.boot_log.copy() {
            if !self.sequence.is_finished() {
                self.consoles.print(&format!("boot2docker: {warning}"));
            }
        }
    }

    /// Does everything that can be done without waiting.
    fn settle(&mut self) {
        self.control_opens();
        loop {
            self.time_passes();
            self.readiness_changes();
            if self.shutdown.is_some() {
                self.shutdown_advances();
                return;
            }
            let steps = self.sequence.begin(clock::since_kernel_start());
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.begin_step(step);
            }
        }
        self.answer_clients();
        self.copy_log();
    }

    /// Opens what needs `/run`, once it is mounted.
    fn control_opens(&mut self) {
        if self.control.is_none() && self.sequence.is_over("mounts") {
            match Control::open() {
                Ok(control) => self.control = Some(control),
                Err(error) => log::debug!("{error:#}"),
            }
        }
    }
}
