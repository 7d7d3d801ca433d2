//! What a person sees while a step runs: a bar or spinner on a terminal, plain lines elsewhere.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Redraw interval of spinners.
const TICK: Duration = Duration::from_millis(120);

/// Steps shorter than this are not worth a line of their own when they end.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

/// All bars, one line each: downloads and the kernel go on at the same time.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    terminal: bool,
}

impl Progress {
    /// Shows bars when standard error is a terminal, and plain lines otherwise.
    #[must_use]
    pub fn new() -> Self {
        use std::io::IsTerminal as _;
        Self { terminal: std::io::stderr().is_terminal() }
    }

    /// Starts a step whose length is unknown.
    #[must_use]
    pub fn spinner(self, what: &str) -> Bar {
        self.start(what, ProgressBar::no_length(), "{spinner} {msg} {elapsed}")
    }

    /// Starts a step of `total` equal parts.
    #[must_use]
    pub fn count(self, what: &str, total: u64) -> Bar {
        self.start(what, ProgressBar::new(total), "{spinner} {msg} [{bar:32}] {pos}/{len} {elapsed}")
    }

    /// Starts a step of `total` bytes.
    #[must_use]
    pub fn bytes(self, what: &str, total: u64) -> Bar {
        let style = "{spinner} {msg} [{bar:32}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
        self.start(what, ProgressBar::new(total), style)
    }

    /// Prints a line that stays.
    pub fn note(self, line: &str) {
        BARS.suspend(|| eprintln!("{line}"));
    }

    fn start(self, what: &str, bar: ProgressBar, template: &str) -> Bar {
        let style = ProgressStyle::with_template(template).expect("the templates above are valid");
        let bar = bar.with_style(style.progress_chars("=> ")).with_message(what.to_owned());
        let mut bar = bar.with_finish(ProgressFinish::AndClear);
        if self.terminal {
            bar = BARS.add(bar);
            bar.enable_steady_tick(TICK);
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            eprintln!("{what} ...");
        }
        Bar { bar, what: what.to_owned(), started: Instant::now() }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// A step under way; dropping it ends it and says how long it took, if that was long.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    what: String,
    started: Instant,
}

impl Bar {
    /// Moves the bar forward.
    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// Shows what the step is busy with; on a terminal only.
    pub fn detail(&self, detail: &str) {
        self.bar.set_message(format!("{}: {detail}", self.what));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        let took = self.started.elapsed();
        if took >= WORTH_A_LINE && !std::thread::panicking() {
            BARS.suspend(|| eprintln!("{}: {:.1} s", self.what, took.as_secs_f64()));
        }
    }
}
