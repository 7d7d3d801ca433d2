//! The lines of the timeline. Pure.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a span of time was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The kernel, until its first process.
    Kernel,
    /// The initramfs.
    Stage0,
    /// A stage of the boot plan.
    Stage,
    /// A step of a stage.
    Step,
    /// A service, from its start until it was ready.
    Service,
    /// Processor time, counted from 0.
    Processor,
}

/// Words in the file; those with a colon are followed by a name.
const WORDS: [(Kind, &str); 6] = [
    (Kind::Kernel, "kernel"),
    (Kind::Stage0, "stage0"),
    (Kind::Stage, "stage:"),
    (Kind::Step, "step:"),
    (Kind::Service, "service:"),
    (Kind::Processor, "processor"),
];

/// A span of time with a name, both ends counted from kernel start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it was.
    pub kind: Kind,
    /// Its name without blanks; empty where there is only one.
    pub name: String,
    /// Its start.
    pub began: Duration,
    /// Its end.
    pub ended: Duration,
}

impl Span {
    /// Returns how long it took.
    pub fn took(&self) -> Duration {
        self.ended.saturating_sub(self.began)
    }

    /// Returns the word for its kind, without the colon.
    pub fn word(&self) -> &'static str {
        word(self.kind).trim_end_matches(':')
    }
}

fn word(kind: Kind) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, word)| word)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (began, ended) = (self.began.as_millis(), self.ended.as_millis());
        write!(f, "{}{} {began} {ended}", word(self.kind), self.name)
    }
}

/// Returns the spans in the order of the lines.
///
/// # Errors
/// At the first line that is none, with its number.
pub fn parse(text: &str) -> Result<Vec<Span>> {
    let span =
        |(at, line)| parse_line(line).with_context(|| format!("line {}: not a span: {line:?}", at + 1));
    text.lines().enumerate().map(span).collect()
}

fn parse_line(line: &str) -> Option<Span> {
    let [label, began, ended] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let time = |text: &str| Some(Duration::from_millis(text.parse().ok()?));
    let (kind, name) = WORDS.iter().find_map(|(kind, word)| {
        let name = label.strip_prefix(word)?;
        (word.ends_with(':') || name.is_empty()).then_some((*kind, name))
    })?;
    Some(Span { kind, name: name.to_owned(), began: time(began)?, ended: time(ended)? })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A boot as PID 1 writes it.
    pub const BOOT: &str = "\
kernel 0 1600
stage0 1600 1800
step:mounts/run 1800 1803
stage:mounts 1800 1810
step:data-disk/automount 1810 2400
step:docker/docker 3700 7900
stage:data-disk 1810 2405
service:containerd 2410 3600
service:getty-tty1 2600 2600
service:docker 3700 7900
processor 0 210
";

    #[test]
    fn lines_survive_being_read() {
        let spans = parse(BOOT).unwrap();
        let again: String = spans.iter().map(|span| format!("{span}\n")).collect();
        assert_eq!(again, BOOT);
        let error = parse("kernel 0 1\nkernels 0 1\n").unwrap_err().to_string();
        assert_eq!(error, "line 2: not a span: \"kernels 0 1\"");
    }
}
