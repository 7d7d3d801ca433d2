//! Takes the power away at random moments and looks what is left: QEMU is killed during first format, boot,
//! `docker load`, container writes and shutdown. One boot checks what the last cut left and suffers the next one.
//!
//! What the guest has handed to its disk is there afterwards, what is in its memory is not. A disk that loses its own cache is
//! another matter and not tried here.

mod bench;
mod requests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::Lab;
use crate::slot::Slot;
use bench::Bench;

/// Cuts into one disk.
pub const ROUND_CUTS: usize = 10;
/// What the cuts into one disk fall into. Another disk begins anew, so that first formats are cut, too, and checks stay short.
/// What a cut has left is checked from outside at once, and from inside when Docker starts next: a cut into a boot does not
/// wait for that.
pub type Round = [Moment; ROUND_CUTS];
/// The round of the long proof.
pub const LONG: Round = [
    Moment::Format,
    Moment::Format,
    Moment::Load,
    Moment::Boot,
    Moment::Load,
    Moment::Write,
    Moment::Boot,
    Moment::Load,
    Moment::Shutdown,
    Moment::Boot,
];
/// The round of the tests: all moments, but Docker starts four times only, which takes most of the time.
pub const SHORT: Round = [
    Moment::Format,
    Moment::Format,
    Moment::Load,
    Moment::Boot,
    Moment::Boot,
    Moment::Write,
    Moment::Boot,
    Moment::Shutdown,
    Moment::Boot,
    Moment::Boot,
];

/// What the machine does while the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It formats a disk that asks for it.
    Format,
    /// It boots from a disk in use.
    Boot,
    /// Docker loads, tags or commits images.
    Load,
    /// A container writes.
    Write,
    /// It shuts down.
    Shutdown,
}

/// What came of the cuts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cuts made and survived, by moment.
    pub survived: BTreeMap<Moment, usize>,
    /// Images that were acknowledged: each ran when Docker was started next, and again after the last cut.
    pub images: usize,
    /// Cuts within two seconds of an acknowledgement.
    pub right_after: usize,
    /// How long it took; of rounds side by side, the sum.
    pub elapsed: Duration,
}

impl Tally {
    /// Returns the number of cuts survived.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.survived.values().sum()
    }

    /// Adds what came of another round.
    pub fn add(&mut self, other: &Self) {
        for (moment, count) in &other.survived {
            *self.survived.entry(*moment).or_default() += count;
        }
        self.images += other.images;
        self.right_after += other.right_after;
        self.elapsed += other.elapsed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cuts, seconds) = (self.cuts(), self.elapsed.as_secs());
        write!(
            f,
            "{cuts} cuts survived, {} images acknowledged, {} cuts less than 2 s after that, {seconds} s",
            self.images, self.right_after
        )?;
        self.survived.iter().try_for_each(|(moment, count)| write!(f, "; {moment:?} {count}"))
    }
}

/// Cuts ten times into the life of one disk, in the folder of `lab`; `tell` hears of each cut.
///
/// # Errors
/// At the first cut that costs something: the text says which, and `seed` repeats it as far as timing allows.
pub fn round(
    lab: &Lab,
    slot: &Arc<Slot>,
    moments: Round,
    seed: u64,
    mut tell: impl FnMut(&str),
) -> Result<Tally> {
    let started = Instant::now();
    let mut bench = Bench::new(lab, slot, seed)?;
    let mut tally = Tally::default();
    for (cut, wanted) in moments.into_iter().enumerate() {
        let cut_into = bench.cut(wanted);
        let (moment, what) =
            cut_into.with_context(|| format!("seed {seed}, cut {} ({wanted:?})", cut + 1))?;
        *tally.survived.entry(moment).or_default() += 1;
        let seconds = started.elapsed().as_secs();
        tell(&format!("seed {seed}, cut {}: {moment:?}, {what} ({seconds} s)", cut + 1));
    }
    bench.last_look().with_context(|| format!("seed {seed}, looking after the last cut"))?;
    tally.images = bench.kept.len();
    tally.right_after = bench.right_after;
    tally.elapsed = started.elapsed();
    Ok(tally)
}
