//! Power cuts at random moments cost nothing that was acknowledged. Ten here; `cargo run -p tests --bin power-cuts`
//! makes hundreds.

use std::sync::Arc;

use anyhow::Result;
use tests::Lab;
use tests::power_cuts::{self, ROUND_CUTS, SHORT};
use tests::slot::Slot;

/// Another seed is another set of moments. With this one the cut into Docker's work comes after its answer: two images must be
/// there.
const SEED: u64 = 7;

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() -> Result<()> {
    let lab = Lab::new("power-cuts")?;
    let slot = Arc::new(Slot::acquire(&lab.slots())?);
    let tally = power_cuts::round(&lab, &slot, SHORT, SEED, |line| println!("{line}"))?;
    assert_eq!((tally.cuts(), tally.right_after), (ROUND_CUTS, 1), "{tally}");
    assert_eq!(tally.images, 2, "{tally}");
    Ok(())
}
