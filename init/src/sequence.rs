//! Progress of the boot plan: which step is next, which stage is over. Pure; carries nothing out.

use std::time::Duration;

use crate::model::{Stage, Step};

/// Names one step: stage and step number, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepRef {
    /// Which stage.
    pub stage: usize,
    /// Which of its steps.
    pub step: usize,
}

#[derive(Clone, Debug)]
struct Progress {
    stage: Stage,
    /// Start of the stage and of the step under way.
    started: Option<(Duration, Duration)>,
    done: usize,
    failed: usize,
}

/// A stage that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageEnd {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How many of its steps failed.
    pub failed: usize,
}

/// The plan and how far it has come.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    stages: Vec<Progress>,
}

impl Sequence {
    /// Adds stages to the plan.
    pub fn add(&mut self, stages: Vec<Stage>) {
        let fresh = |stage| Progress { stage, started: None, done: 0, failed: 0 };
        self.stages.extend(stages.into_iter().map(fresh));
    }

    /// Returns the steps that may begin now, and counts them as begun.
    pub fn begin(&mut self, now: Duration) -> Vec<StepRef> {
        let ready: Vec<usize> = (0..self.stages.len()).filter(|&at| self.may_begin(at)).collect();
        for &at in &ready {
            self.stages[at].started = Some((now, now));
        }
        ready.into_iter().map(|stage| StepRef { stage, step: 0 }).collect()
    }

    fn may_begin(&self, at: usize) -> bool {
        let progress = &self.stages[at];
        progress.started.is_none() && progress.stage.after.iter().all(|name| self.is_over(name))
    }

    /// Tells whether the stage of this name is over; false for a stage nobody has planned yet.
    pub fn is_over(&self, name: &str) -> bool {
        self.stages
            .iter()
            .any(|p| p.stage.name == name && p.started.is_some() && p.done == p.stage.steps.len())
    }

    /// Tells whether every stage is over.
    pub fn is_finished(&self) -> bool {
        self.stages.iter().all(|progress| self.is_over(progress.stage.name))
    }

    /// Returns a step.
    pub fn step(&self, at: StepRef) -> &Step {
        &self.stages[at.stage].stage.steps[at.step]
    }

    /// Returns the name of a step's stage.
    pub fn stage_name(&self, at: StepRef) -> &'static str {
        self.stages[at.stage].stage.name
    }

    /// Returns a step's place for the log: "data-disk 1/2 automount".
    pub fn label(&self, at: StepRef) -> String {
        let stage = &self.stages[at.stage].stage;
        format!("{} {}/{} {}", stage.name, at.step + 1, stage.steps.len(), self.step(at).action.name())
    }

    /// Returns when the step under way in this stage began.
    pub fn began(&self, at: StepRef) -> Duration {
        self.stages[at.stage].started.unwrap_or_default().1
    }

    /// Counts a step as over; returns the stage's next step, or the stage's end.
    pub fn end_step(&mut self, at: StepRef, is_ok: bool, now: Duration) -> Result<StepRef, StageEnd> {
        let progress = &mut self.stages[at.stage];
        progress.done = at.step + 1;
        progress.failed += usize::from(!is_ok);
        let began = progress.started.unwrap_or_default().0;
        progress.started = Some((began, now));
        if progress.done < progress.stage.steps.len() {
            return Ok(StepRef { step: progress.done, ..at });
        }
        Err(StageEnd { name: progress.stage.name, took: now.saturating_sub(began), failed: progress.failed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Policy};

    fn stage(name: &'static str, after: &[&'static str], steps: usize) -> Stage {
        let step = Step { action: Action::PlanTheRest, policy: Policy::Warn };
        Stage { name, after: after.to_vec(), steps: vec![step; steps] }
    }

    #[test]
    fn independent_stages_overlap_and_dependent_ones_wait() {
        let now = Duration::ZERO;
        let at = |stage, step| StepRef { stage, step };
        let mut plan = Sequence::default();
        plan.add(vec![stage("a", &[], 2), stage("b", &[], 1), stage("c", &["a", "late"], 1)]);
        assert_eq!(plan.begin(now), [at(0, 0), at(1, 0)]);
        assert_eq!(plan.begin(now), []);
        assert_eq!(plan.end_step(at(0, 0), false, now), Ok(at(0, 1)));
        let end = StageEnd { name: "a", took: Duration::from_secs(3), failed: 1 };
        assert_eq!(plan.end_step(at(0, 1), true, Duration::from_secs(3)), Err(end));
        assert_eq!(plan.begin(now), [], "waits for a stage not planned yet");
        plan.add(vec![stage("late", &[], 1)]);
        assert_eq!(plan.begin(now), [at(3, 0)]);
        assert!(plan.end_step(at(3, 0), true, now).is_err());
        assert_eq!(plan.begin(now), [at(2, 0)]);
        assert!(!plan.is_finished());
        for rest in [at(2, 0), at(1, 0)] {
            assert!(plan.end_step(rest, true, now).is_err());
        }
        assert!(plan.is_finished());
    }
}
