//! Power cuts at random moments cost nothing that was acknowledged. Ten here; `cargo run -p tests --bin power-cuts`
//! makes hundreds.

use std::sync::Arc;

use anyhow::Result;
use tests::slot::Slot;
use tests::{Lab, power_cuts};

/// Another seed is another set of moments.
const SEED: u64 = 7;

#[test]
#[ignore = "eleven boots one after the other, five minutes without hardware virtualisation"]
fn nothing_acknowledged_is_lost_when_the_power_goes() -> Result<()> {
    let lab = Lab::new("power-cuts")?;
    let slot = Arc::new(Slot::acquire(&lab.slots())?);
    let tally = power_cuts::round(&lab, &slot, SEED, |line| println!("{line}"))?;
    assert_eq!(tally.cuts(), power_cuts::ROUND_CUTS, "{tally}");
    Ok(())
}
