//! Power cuts at random moments cost nothing that was acknowledged. Ten here; `cargo run -p tests --bin power-cuts`
//! makes hundreds.

use anyhow::Result;
use tests::{Lab, power_cuts};

/// Another seed is another set of moments; this one begins with cuts into the first format.
const SEED: u64 = 7;

#[test]
#[ignore = "takes minutes without hardware virtualisation: one boot for each cut"]
fn nothing_acknowledged_is_lost_when_the_power_goes() -> Result<()> {
    let lab = Lab::new("power-cuts")?;
    let tally = power_cuts::run(&lab, 10, SEED, |line| println!("{line}"))?;
    assert_eq!(tally.survived.values().sum::<usize>(), 10, "{tally}");
    Ok(())
}
