//! `cargo run -p tests --bin power-cuts -- --cuts 200`: the long proof; the tests make ten cuts.

use std::io::Write;

use anyhow::{Context, Result, bail};
use tests::{Lab, power_cuts};

const USAGE: &str = "usage: power-cuts [--cuts N] [--seed N]";

fn main() -> Result<()> {
    let (mut cuts, mut seed) = (200, 1);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().context(USAGE)?.parse::<u64>().context(USAGE);
        match arg.as_str() {
            "--cuts" => cuts = usize::try_from(number()?)?,
            "--seed" => seed = number()?,
            _ => bail!(USAGE),
        }
    }
    let lab = Lab::new("power-cuts-long")?;
    let mut out = std::io::stdout();
    let tally = power_cuts::run(&lab, cuts, seed, |line| drop(writeln!(out, "{line}")))?;
    writeln!(std::io::stdout(), "{tally}")?;
    Ok(())
}
