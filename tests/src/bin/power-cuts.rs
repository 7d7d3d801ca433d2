//! `cargo run -p tests --bin power-cuts`: the long proof; the tests make one round of ten cuts.
//!
//! Rounds are numbered by their seeds, so `--seed` goes on where an earlier run was stopped. Its machines do not take the
//! places of the tests' machines.

use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use tests::Lab;
use tests::power_cuts::{self, LONG, ROUND_CUTS, Tally};
use tests::slot::Slot;

const USAGE: &str = "usage: power-cuts [--cuts N] [--seed FIRST] [--machines N]";
/// Cuts unless the command line says otherwise.
const CUTS: u64 = 200;

/// What came of the rounds so far.
#[derive(Debug, Default)]
struct Results {
    tally: Tally,
    lost: Vec<String>,
}

fn main() -> Result<()> {
    let (mut cuts, mut seed, mut machines) = (CUTS, 1, 2);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().context(USAGE)?.parse::<u64>().context(USAGE);
        match arg.as_str() {
            "--cuts" => cuts = number()?,
            "--seed" => seed = number()?,
            "--machines" => machines = number()?,
            _ => bail!(USAGE),
        }
    }
    let end = seed + cuts.div_ceil(ROUND_CUTS as u64);
    let (next, results) = (AtomicU64::new(seed), Mutex::new(Results::default()));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..machines)
            .map(|_| {
                scope.spawn({
                    let (next, results) = (&next, &results);
                    move || rounds(next, end, results)
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a failed round is an error"))
    })?;
    let lost = results.into_inner().expect("no worker panics").lost;
    ensure!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

/// Takes seeds until none is left. What a failed round left stays in its folder.
fn rounds(next: &AtomicU64, end: u64, results: &Mutex<Results>) -> Result<()> {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return Ok(());
        }
        let lab = Lab::new(&format!("power-cuts-seed-{seed}"))?;
        let slot = Arc::new(Slot::acquire(&lab.folder().join("slots"))?);
        let round = power_cuts::round(&lab, &slot, LONG, seed, say);
        let mut results = results.lock().expect("no worker panics");
        match round {
            Ok(tally) => {
                results.tally.add(&tally);
                fs::remove_dir_all(lab.folder()).context("removing what a round left")?;
            }
            Err(error) => {
                say(&format!("LOST: {error:#}"));
                results.lost.push(format!("{error:#}"));
            }
        }
        say(&format!(
            "so far {}; {} rounds failed; next seed {}",
            results.tally,
            results.lost.len(),
            next.load(Ordering::Relaxed)
        ));
    }
}

/// Prints a line; nobody reading it is no reason to stop.
fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}
