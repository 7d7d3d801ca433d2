//! The harness itself: what it reports when a machine does not do what was asked.

use std::time::Duration;

use anyhow::Result;
use iso_builder::qemu::{Boot, Bus};
use tests::disk::Image;
use tests::{Deadline, Lab, Vm};

#[test]
fn a_machine_that_says_nothing_is_reported_and_ended() -> Result<()> {
    let lab = Lab::new("silent-machine")?;
    let blank = Image::blank(&lab, "blank")?;
    let mut vm = Vm::plan(&lab).boot(Boot::Disk(blank.path().to_path_buf(), Bus::Virtio)).start()?;
    assert_ne!(vm.port(22)?, 0, "QEMU chose a port");
    assert!(vm.port(23).is_err(), "nothing leads to port 23");
    let error = vm.console().expect("ready", Deadline::host(Duration::from_secs(1))).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("awaiting \"ready\" on the console: nothing after 1."), "{text}");
    Ok(())
}

#[test]
fn a_machine_that_cannot_start_is_reported_with_the_words_of_qemu() -> Result<()> {
    let lab = Lab::new("no-machine")?;
    let nowhere = lab.folder().join("nowhere.img");
    let error = Vm::plan(&lab).boot(Boot::Disk(nowhere, Bus::Virtio)).start().unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("nowhere.img") && text.contains("No such file or directory"), "{text}");
    Ok(())
}
