//! The measuring itself: starts systems by turns and collects samples. Anything that fails ends the run with a reason,
//! for a series with holes compares nothing.

use std::time::Duration;

use anyhow::{Context, Result};

use super::guest::{BIG_ARCHIVE, IMAGE};
use super::least;
use super::machine::{Running, Start};
use super::measure::Samples;
use super::subject::Subject;
use crate::{Deadline, Lab};

/// When memory is looked at.
const IDLE: Duration = Duration::from_secs(30);

/// How often one machine runs a container for the median.
const RUNS: usize = 20;

/// Containers that are started at once.
const MANY: usize = 50;

/// Bounds of the search for the least memory. Unit: MiB.
const LEAST: (u32, u32) = (96, 768);

/// A machine with too little memory is given up after this many times the usual time to a container.
const PATIENCE: f64 = 2.5;

/// A series under way.
#[derive(Debug)]
pub struct Series<'a> {
    /// The machines' surroundings.
    pub lab: &'a Lab,
    /// What was measured so far.
    pub samples: Samples,
}

impl Series<'_> {
    /// Starts each subject in each of its ways once, by turns: the first way of all, then the second of all.
    ///
    /// # Errors
    /// When a system does not come up or does not end.
    pub fn boot_all(&mut self, subjects: &[Subject], only_first_way: bool) -> Result<()> {
        let most = subjects.iter().map(|subject| subject.ways.len()).max().unwrap_or_default();
        for way in 0..if only_first_way { 1 } else { most } {
            for subject in subjects {
                if let Some((measure, start)) = subject.ways.get(way) {
                    self.boot(subject, measure, start)
                        .with_context(|| format!("measuring {measure} of {}", subject.name))?;
                }
            }
        }
        Ok(())
    }

    fn boot(&mut self, subject: &Subject, measure: &'static str, start: &Start) -> Result<()> {
        let name = &subject.name;
        let mut machine = Running::start(self.lab, start)?;
        if let Some(ready) = &subject.ready {
            let seconds = machine.await_text(ready, Deadline::boot())?;
            self.samples.add(measure, name, seconds);
            eprintln!("bench: {name}, {measure}: {seconds:.2} s");
            return Ok(());
        }
        let api = machine.event("api", Deadline::boot())?;
        self.samples.add(measure, name, api.since_power_on);
        let (since_kernel, since_power_on) = (api.since_kernel, api.since_power_on);
        eprintln!(
            "bench: {name}, {measure}: {since_power_on:.2} s, {since_kernel:.2} s of them the system's own"
        );
        // Once a pair is enough for what the boot loader has no part in.
        if measure == "power-on-kernel" {
            let container = machine.event("container", Deadline::boot())?;
            self.samples.add("api", name, since_kernel);
            self.samples.add("container", name, container.since_kernel - since_kernel);
            self.samples.add("pid1", name, machine.event("pid1", Deadline::boot())?.since_kernel);
            if name != super::measure::FLOOR {
                self.samples.add("ssh", name, machine.event("ssh", Deadline::boot())?.since_kernel);
                self.samples.add("shutdown", name, machine.power_off()?);
            }
        }
        Ok(())
    }

    /// Starts a subject once with one CPU and a clock that counts its instructions, and measures the processor time to API.
    ///
    /// # Errors
    /// When the system does not come up.
    pub fn count(&mut self, subject: &Subject) -> Result<()> {
        let start = Start { is_counted: true, cpus: 1, ..subject.direct().clone() };
        let mut machine = Running::start(self.lab, &start)?;
        let api = machine.event("api", Deadline::boot())?.since_kernel;
        let busy = machine.event("busy", Deadline::boot())?.since_kernel;
        eprintln!(
            "bench: {}: {busy:.2} s of processor time to API, {api:.2} s since the kernel's start",
            subject.name
        );
        self.samples.add("counted", &subject.name, busy);
        Ok(())
    }

    /// Starts a subject once and measures memory at rest, then work.
    ///
    /// # Errors
    /// When a command in it fails.
    pub fn work(&mut self, subject: &Subject, is_quick: bool) -> Result<()> {
        let name = &subject.name;
        let mut machine = Running::start(self.lab, subject.direct())?;
        let api = machine.event("api", Deadline::boot())?;
        machine.event("container", Deadline::boot())?;
        let rest = (IDLE.as_secs_f64() + api.since_power_on - machine.age().as_secs_f64()).max(0.0);
        let memory = machine.run_ok(&format!("sleep {rest:.0}; cat /proc/meminfo"))?.output;
        self.samples.add("idle", name, used_mib(&memory).context("reading /proc/meminfo")?);
        let loops = machine.run_ok("cat /sys/block/loop*/size 2>/dev/null || true")?.output;
        self.samples.add("pinned", name, sectors_mib(&loops));
        for _ in 0..RUNS {
            let run = format!("docker run --rm --pull=never {IMAGE} /bin/busybox true");
            self.samples.add("run", name, machine.run_ok(&run)?.seconds);
        }
        if !is_quick {
            self.samples.add(
                "load",
                name,
                machine.run_ok(&format!("docker load -q -i {BIG_ARCHIVE}"))?.seconds,
            );
            self.samples.add("many", name, machine.run_ok(&format!("start {MANY}"))?.seconds);
        }
        eprintln!("bench: {name}: work measured after {:.0} s", machine.age().as_secs_f64());
        Ok(())
    }

    /// Finds the least memory with which a subject boots and runs a container.
    ///
    /// # Errors
    /// When a machine cannot be started at all, or even much memory is not enough.
    pub fn least(&mut self, subject: &Subject) -> Result<()> {
        let name = &subject.name;
        let (measure, start) = subject.usual();
        let median = |measure| self.samples.summary(measure, name).map(|summary| summary.median);
        let usual = median(measure).zip(median("container")).context("the usual time is not known")?;
        let limit = Duration::from_secs_f64((usual.0 + usual.1) * PATIENCE);
        let found = least::enough(LEAST.0, LEAST.1, |memory_mib| {
            let start = Start { memory_mib, ..start.clone() };
            let mut machine = Running::start(self.lab, &start)?;
            // Why it does not come up, by panic or for ever, makes no difference.
            let container = machine.event("container", Deadline::host(limit));
            let works = container.is_ok_and(|told| told.since_kernel.is_finite());
            eprintln!("bench: {name} with {memory_mib} MiB: {}", if works { "enough" } else { "not enough" });
            anyhow::Ok(works)
        })?;
        let found = found.with_context(|| format!("{name} does not work with {} MiB", LEAST.1))?;
        self.samples.add("least", name, f64::from(found));
        Ok(())
    }
}

/// Returns total less available memory.
fn used_mib(meminfo: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((field("MemTotal:")? - field("MemAvailable:")?) / 1024.0)
}

/// Adds up sizes in sectors of 512 bytes, one a line.
fn sectors_mib(sizes: &str) -> f64 {
    sizes.lines().filter_map(|line| line.trim().parse::<f64>().ok()).fold(0.0, |sum, size| sum + size)
        / 2048.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_memory_is_what_is_not_available() {
        let meminfo = "MemTotal:        2048000 kB\nMemFree:          1 kB\nMemAvailable:    1843200 kB\n";
        assert_eq!(used_mib(meminfo), Some(200.0));
        assert_eq!(used_mib("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn loop_devices_without_file_count_nothing() {
        assert_eq!(sectors_mib("131072\n2048\n0\n"), 65.0);
        assert!(sectors_mib("").is_sign_positive(), "a table would show -0");
    }
}
