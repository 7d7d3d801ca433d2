//! Carrying out steps of the boot plan.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use b2d_sys::contract;
use b2d_sys::effects::files::{ensure_dir, replace_symlink};
use b2d_sys::effects::mount::{MountFlags, mount};
use b2d_sys::effects::{clock, link};

use super::jobs::{Owner, Patience};
use super::{Machine, StepWait};
use crate::facts::StateFacts;
use crate::model::{Action, Policy, ServiceId, Wait};
use crate::plan;
use crate::rescue;
use crate::sequence::{StageEnd, StepRef};
use crate::supervise::Event;

impl Machine {
    /// Begins a step, and those after it that are over at once.
    pub(super) fn begin_step(&mut self, mut at: StepRef) {
        loop {
            let action = self.sequence.step(at).action.clone();
            let outcome = match self.begin_lasting(at, &action) {
                Ok(true) => return,
                Ok(false) => self.carry_out(&action),
                Err(error) => Err(error),
            };
            match self.count_step(at, outcome) {
                Some(next) => at = next,
                None => return,
            }
        }
    }

    /// Notes the end of a step that lasted, and begins the next.
    pub(super) fn end_step(&mut self, at: StepRef, outcome: Result<()>) {
        if let Some(next) = self.count_step(at, outcome) {
            self.begin_step(next);
        }
    }

    /// Begins a step that may last; returns false for one that does not.
    fn begin_lasting(&mut self, at: StepRef, action: &Action) -> Result<bool> {
        let now = clock::since_kernel_start();
        match action {
            Action::Helper { argv, limit } => {
                self.start_job(Owner::Step(at), argv, Patience::KillAfter(*limit))?;
            }
            Action::Hook { path, patience } => {
                self.start_hook(Owner::Step(at), path, Patience::LeaveAfter(*patience))?;
            }
            Action::Start { service, wait } => {
                self.unit_event(service, Event::Begin);
                let Wait::Ready(limit) = wait else { return Ok(false) };
                self.wait_for(at, service, Some(now + *limit), None);
            }
            Action::Await { service, limit } => self.wait_for(at, service, Some(now + *limit), None),
            Action::Announce { service, line } => self.wait_for(at, service, None, Some(*line)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn wait_for(
        &mut self,
        step: StepRef,
        service: &ServiceId,
        deadline: Option<Duration>,
        announce: Option<&'static str>,
    ) {
        self.waits.push(StepWait { step, service: service.clone(), deadline, announce });
    }

    /// Carries out what does not last.
    pub(super) fn carry_out(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Mount { source, target, fstype, options, data } => {
                let target = Path::new(target);
                fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
                mount(source, target, fstype, mount_flags(options)?, data)
            }
            Action::Dir { path, mode } => ensure_dir(path, *mode, None),
            Action::Link { target, link } => link_unless_file(Path::new(target), Path::new(link)),
            Action::Write { path, text } => {
                fs::write(path, text).with_context(|| format!("writing {text} to {path}"))
            }
            Action::LinkUp { interface } => link::set_up(interface),
            Action::PlanTheRest => {
                self.plan_the_rest();
                Ok(())
            }
            Action::Background { path, log } => self.start_background(path, log),
            Action::Rescue { reason } => self.rescue(reason),
            // These last, and are begun elsewhere.
            Action::Helper { .. }
            | Action::Hook { .. }
            | Action::Start { .. }
            | Action::Await { .. }
            | Action::Announce { .. } => Ok(()),
        }
    }

    fn plan_the_rest(&mut self) {
        let state = StateFacts::read(Path::new("/"));
        let plan = plan::rest(&self.facts, &state);
        self.is_rest_planned = true;
        self.is_on_disk = state.is_on_disk;
        self.begin_upkeep(clock::since_kernel_start());
        for service in plan.services {
            self.add_unit(service);
        }
        self.sequence.add(plan.stages);
    }

    /// Logs a step's end, does what its policy says, and returns the next step of its stage.
    fn count_step(&mut self, at: StepRef, outcome: Result<()>) -> Option<StepRef> {
        let now = clock::since_kernel_start();
        let (label, began) = (self.sequence.label(at), self.sequence.began(at));
        let took = now.saturating_sub(began).as_millis();
        self.timeline.add_step(
            self.sequence.stage_name(at),
            &self.sequence.step(at).action.name(),
            began,
            now,
        );
        let is_ok = outcome.is_ok() || self.sequence.step(at).policy == Policy::Optional;
        match outcome {
            Ok(()) => log::info!("{label}: ok {took} ms"),
            Err(error) => self.step_failed(&format!("{label}: {error:#}"), self.sequence.step(at).policy),
        }
        match self.sequence.end_step(at, is_ok, now) {
            Ok(next) => Some(next),
            Err(end) => {
                self.tell_stage(&end);
                None
            }
        }
    }

    fn step_failed(&mut self, line: &str, policy: Policy) {
        match policy {
            Policy::Rescue => self.rescue(line),
            Policy::Optional => log::info!("{line}"),
            Policy::Warn => {
                log::error!("{line}");
                self.consoles.print(&format!("boot2docker: {line}"));
            }
        }
    }

    /// Gives up, with a log to read in the rescue shell.
    fn rescue(&mut self, reason: &str) -> ! {
        self.copy_log();
        rescue::run(reason)
    }

    /// Tells people of a stage's end until they may be typing at a prompt.
    fn tell_stage(&mut self, end: &StageEnd) {
        self.timeline.add_stage(end, clock::since_kernel_start());
        let result = if end.failed == 0 { "ok" } else { "failed" };
        let took = end.took.as_millis();
        if !self.sequence.is_over("logins") || end.failed > 0 {
            self.consoles.print(&format!("boot2docker: {}: {result} ({took} ms)", end.name));
        }
        if self.sequence.is_finished() {
            log::info!("boot is complete");
        }
    }

    /// Tells people that a service is ready.
    pub(super) fn announce(&mut self, line: &str, now: Duration) {
        let line = format!("{line} ({:.1} s after kernel start)", now.as_secs_f64());
        log::info!("{line}");
        self.consoles.print(&line);
    }
}

/// Makes a link unless a file of somebody's is in the way.
fn link_unless_file(target: &Path, link: &Path) -> Result<()> {
    if fs::symlink_metadata(link).is_ok_and(|meta| !meta.is_symlink()) {
        log::info!("{} is a file of its own; left alone", link.display());
        return Ok(());
    }
    replace_symlink(target, link)
}

fn mount_flags(options: &str) -> Result<MountFlags> {
    let mut flags = MountFlags::empty();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        flags |= match option {
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            "ro" => MountFlags::RDONLY,
            other => bail!("mount option {other:?} is unknown"),
        };
    }
    Ok(flags)
}

/// Links the older name to the boot log.
pub(super) fn link_boot_log() -> Result<()> {
    replace_symlink(Path::new(contract::BOOT_LOG), Path::new(contract::BOOT_LOG_LINK))
}
