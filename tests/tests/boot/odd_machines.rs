//! Machines that lack something, or have something broken: they still reach a console and sshd, and say what is odd.

use std::time::Duration;

use anyhow::{Result, ensure};
use iso_builder::qemu::Bus;
use tests::container::{self, import_image};
use tests::direct::direct;
use tests::disk::{Image, Layout};
use tests::{Deadline, Lab, Vm};

/// What xhyve and PXE setups pass: two consoles and nothing of ours.
const APPEND: &str = "loglevel=3 console=tty0 console=ttyS0";

#[test]
fn without_disk_and_boot_loader_everything_runs_from_ram() -> Result<()> {
    let lab = Lab::new("no-disk")?;
    let mut vm = Vm::plan(&lab).boot(direct(&lab, APPEND)?).start()?;
    let driver = vm.docker()?.get("/info")?;
    assert_eq!(driver["Driver"], "overlayfs", "the driver must not fall back to copies");
    let ssh = vm.ssh()?;
    let state = ssh.run("boot2docker-state")?;
    assert_eq!(
        state.lines().nth(2),
        Some("No data disk: everything is in RAM and gone at power-off"),
        "{state}"
    );
    import_image(&ssh)?;
    assert_eq!(container::run(&ssh, "echo from RAM")?, "from RAM\n");
    vm.press_power_button()
}

#[test]
fn a_ruined_data_disk_is_named_and_left_as_it_is_to_the_byte() -> Result<()> {
    let lab = Lab::new("ruined-disk")?;
    let disk = Image::data(&lab, "data", Layout::WholeDisk)?;
    disk.ruin(&lab)?;
    let before = disk.hash()?;
    let copy = disk.copy_data(&lab.folder().join("copy.img"))?;
    ensure!(copy.preen_and_check(&lab).is_err(), "the test must ruin the disk");
    ensure!(copy.hash()? != before, "e2fsck must have replayed the journal and written repairs");
    // No medium is there to read programs from, either.
    let append = format!("{APPEND} b2d.root=medium");
    let mut vm = Vm::plan(&lab).boot(direct(&lab, &append)?).disk(&disk, Bus::Virtio).start()?;
    let ssh = vm.ssh()?;
    vm.console().await_in_this_boot("on no disk that is here by now", Deadline::host(Duration::ZERO))?;
    assert_eq!(ssh.run("id -un")?, "docker\n");
    let log = ssh.run("cat /boot.log")?;
    for line in ["run e2fsck /dev/vda", "/dev/vda is as it was before the check"] {
        assert!(log.contains(line), "{line:?} is missing:\n{log}");
    }
    assert!(!ssh.run("cat /proc/mounts")?.contains("/dev/vda"), "a ruined file system must not be mounted");
    vm.docker()?.ping()?;
    vm.press_power_button()?;
    assert_eq!(disk.hash()?, before, "what e2fsck wrote before it gave up was not taken back");
    Ok(())
}
