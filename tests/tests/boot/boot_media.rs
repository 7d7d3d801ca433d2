//! Every way to start the ISO ends in a container that prints its own output. Each way has another disk controller.

use anyhow::Result;
use iso_builder::qemu::Bus;
use tests::container::{self, import_image};
use tests::disk::{Image, Layout};
use tests::vm::VmPlan;
use tests::{Lab, Vm};

#[test]
fn bios_starts_the_cd() -> Result<()> {
    let lab = Lab::new("bios-cd")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    reaches_a_container(Vm::plan(&lab).disk(&disk, Bus::Ide), "/mnt/sda1")
}

#[test]
fn bios_starts_the_disk() -> Result<()> {
    let lab = Lab::new("bios-disk")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    reaches_a_container(Vm::plan(&lab).boot_from_disk(Bus::Virtio).disk(&disk, Bus::Ahci), "/mnt/sda1")
}

#[test]
fn uefi_starts_the_cd() -> Result<()> {
    let lab = Lab::new("uefi-cd")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    reaches_a_container(Vm::plan(&lab).uefi().disk(&disk, Bus::Nvme), "/mnt/nvme0n1p1")
}

#[test]
fn uefi_starts_the_usb_stick() -> Result<()> {
    let lab = Lab::new("uefi-disk")?;
    let disk = Image::data(&lab, "data", Layout::WholeDisk)?;
    // Stick and disk are both SCSI disks to the kernel; which is first is a race.
    reaches_a_container(Vm::plan(&lab).uefi().boot_from_disk(Bus::Usb).disk(&disk, Bus::Scsi), "/mnt/sd")
}

/// Boots, checks that Docker's data is below `mount`, runs a container, presses the power button.
fn reaches_a_container(plan: VmPlan, mount: &str) -> Result<()> {
    let mut vm = plan.start()?;
    let info = vm.docker()?.get("/info")?;
    let data_root = info["DockerRootDir"].as_str().unwrap_or_default();
    assert!(data_root.starts_with(mount) && data_root.ends_with("/var/lib/docker"), "{data_root}");
    let ssh = vm.ssh()?;
    import_image(&ssh)?;
    assert_eq!(container::run(&ssh, "echo printed by the container")?, "printed by the container\n");
    vm.press_power_button()
}
