//! What is measured, in the order it is told, and the targets. Data.

use std::collections::BTreeMap;

use super::stats::Summary;

/// Name of our own system in tables.
pub const OURS: &str = "boot2docker";

/// Name of the Debian system in tables.
pub const PEER: &str = "Debian";

/// Name of the least that can start Docker in tables.
pub const FLOOR: &str = "floor";

/// Unit of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// MiB.
    Mib,
}

/// Something that is measured; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Its name in `bench.json`.
    pub id: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// Unit of the samples.
    pub unit: Unit,
}

const fn seconds(id: &'static str, title: &'static str) -> Measure {
    Measure { id, title, unit: Unit::Seconds }
}

const fn mib(id: &'static str, title: &'static str) -> Measure {
    Measure { id, title, unit: Unit::Mib }
}

/// All measures.
pub const MEASURES: [Measure; 18] = [
    seconds("power-on-cd", "power-on to API, from CD (BIOS)"),
    seconds("power-on-disk", "power-on to API, from disk (BIOS)"),
    seconds("power-on-uefi", "power-on to API, from CD (UEFI)"),
    seconds("power-on-kernel", "power-on to API, kernel started by QEMU"),
    seconds("pid1", "kernel start to first program"),
    seconds("ssh", "kernel start to SSH banner"),
    seconds("api", "kernel start to API"),
    seconds("counted", "processor time to API, counted in instructions"),
    seconds("container", "API to first container's output"),
    seconds("run", "`docker run --rm` of a local image"),
    seconds("load", "`docker load` of 200 MB"),
    seconds("many", "50 containers started at once"),
    seconds("shutdown", "`poweroff` to machine off"),
    mib("idle", "memory used 30 s after API"),
    mib("pinned", "of that, pinned by the root image"),
    mib("least", "least memory for boot and a container"),
    mib("read", "read by the boot loader"),
    mib("size", "ISO, or installed size"),
];

/// A bound that we have set ourselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// A measure of ours.
    pub measure: &'static str,
    /// What it is divided by: system and measure; None for a bound on the figure itself.
    pub by: Option<(&'static str, &'static str)>,
    /// The most it may be.
    pub at_most: f64,
}

const fn ratio(measure: &'static str, system: &'static str, other: &'static str, at_most: f64) -> Target {
    Target { measure, by: Some((system, other)), at_most }
}

const fn absolute(measure: &'static str, at_most: f64) -> Target {
    Target { measure, by: None, at_most }
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    ratio("api", PEER, "api", 0.25),
    ratio("api", FLOOR, "api", 1.15),
    ratio("power-on-cd", PEER, "power-on-disk", 0.35),
    ratio("idle", PEER, "idle", 0.55),
    ratio("run", PEER, "run", 0.9),
    ratio("shutdown", PEER, "shutdown", 0.5),
    absolute("least", 256.0),
    absolute("size", 80.0),
];

/// Samples by measure and system.
#[derive(Debug, Clone, Default)]
pub struct Samples(BTreeMap<(&'static str, String), Vec<f64>>);

impl Samples {
    /// Adds a sample; one that is no number stands for something that did not happen and is left out.
    pub fn add(&mut self, measure: &'static str, system: &str, value: f64) {
        debug_assert!(MEASURES.iter().any(|known| known.id == measure), "{measure} is not in the list");
        if value.is_finite() {
            self.0.entry((measure, system.to_owned())).or_default().push(value);
        }
    }

    /// Sums up a measure of a system; None when there is no sample.
    #[must_use]
    pub fn summary(&self, measure: &'static str, system: &str) -> Option<Summary> {
        Summary::of(self.0.get(&(measure, system.to_owned()))?)
    }

    /// Returns the systems with samples, ours first, then those in `order`.
    #[must_use]
    pub fn systems(&self) -> Vec<String> {
        let order = [OURS, PEER, FLOOR];
        let rank = |name: &String| order.iter().position(|known| known == name).unwrap_or(order.len());
        let mut names: Vec<_> = self.0.keys().map(|(_, system)| system.clone()).collect();
        names.sort_by_key(|name| (rank(name), name.clone()));
        names.dedup();
        names
    }

    /// Returns the figure that a target bounds; None when a part of it was not measured.
    #[must_use]
    pub fn figure(&self, target: &Target) -> Option<f64> {
        let ours = self.summary(target.measure, OURS)?.median;
        let Some((system, measure)) = target.by else { return Some(ours) };
        let other = self.summary(measure, system)?.median;
        (other > 0.0).then_some(ours / other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_about_a_known_measure() {
        let is_known = |id| MEASURES.iter().any(|measure| measure.id == id);
        for target in TARGETS {
            assert!(is_known(target.measure) && target.by.is_none_or(|(_, id)| is_known(id)), "{target:?}");
        }
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let mut samples = Samples::default();
        for (system, values) in [(OURS, [2.0, 3.0, 9.0]), (PEER, [12.0, 11.0, 60.0])] {
            for value in values {
                samples.add("api", system, value);
            }
        }
        assert_eq!(samples.figure(&TARGETS[0]), Some(0.25));
        assert_eq!(samples.figure(&TARGETS[1]), None, "the floor was not measured");
        assert_eq!(samples.systems(), [OURS, PEER]);
    }

    #[test]
    fn what_did_not_happen_is_no_sample() {
        let mut samples = Samples::default();
        samples.add("container", OURS, f64::NAN);
        assert_eq!(samples.summary("container", OURS), None);
    }
}
