//! What the work on the data disk adds to a boot: `cargo run -p tests --bin disk-times -- [BOOTS]`.
//!
//! As PID 1 measures it, from the start of `automount` to its end, on machines that the kernel is given to directly.

use std::sync::Arc;

use anyhow::{Context, Result};
use iso_builder::qemu::{Boot, Bus};
use tests::direct::direct;
use tests::disk::{Image, Layout};
use tests::slot::Slot;
use tests::{Deadline, Lab, Vm};

/// Boots of each kind unless the command line says otherwise.
const BOOTS: usize = 5;
/// The log goes to the console.
const APPEND: &str = "console=ttyS0 loglevel=7";
/// What PID 1 says at the end of the step, before the time it took.
const STEP_DONE: &str = "automount: ok ";

fn main() -> Result<()> {
    let boots = match std::env::args().nth(1) {
        Some(text) => text.parse().context("usage: disk-times [BOOTS]")?,
        None => BOOTS,
    };
    let lab = Lab::new("disk-times")?;
    let slot = Arc::new(Slot::acquire(&lab.slots())?);
    let boot = direct(&lab, APPEND)?;
    let blank = || Image::blank(&lab, "blank").map(Some);
    let labelled = || Image::data(&lab, "labelled", Layout::Partition).map(Some);
    let times = |disk: &dyn Fn() -> Result<Option<Image>>| -> Result<Vec<u64>> {
        let mut times: Vec<u64> =
            (0..boots).map(|_| millis(&lab, &slot, &boot, disk()?)).collect::<Result<_>>()?;
        times.sort_unstable();
        Ok(times)
    };
    println!("no disk: {:?} ms", times(&|| Ok(None))?);
    println!("labelled: {:?} ms", times(&labelled)?);
    println!("formatted first: {:?} ms", times(&blank)?);
    Ok(())
}

/// Boots until the step is done, and returns how many milliseconds it took. Then the power goes: each boot has a disk of its
/// own.
fn millis(lab: &Lab, slot: &Arc<Slot>, boot: &Boot, disk: Option<Image>) -> Result<u64> {
    let mut plan = Vm::plan(lab).in_slot(slot).boot(boot.clone());
    if let Some(disk) = &disk {
        plan = plan.disk(disk, Bus::Virtio);
    }
    let mut vm = plan.start()?;
    vm.console().expect(STEP_DONE, Deadline::boot())?;
    let took = vm.console().expect(" ms", Deadline::boot())?;
    vm.cut_power();
    took.trim().parse().with_context(|| format!("reading {took:?} as milliseconds"))
}
