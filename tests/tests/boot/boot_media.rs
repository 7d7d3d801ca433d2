//! Every way to start the ISO ends in a container that prints its own output. Each way has another disk controller.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use iso_builder::qemu::{Boot, Bus};
use iso_builder::rewrite;
use iso_builder::sbom::spdx::Document;
use iso_builder::write::{self, WriteOptions};
use serde_json::json;
use tests::container::{self, import_image};
use tests::direct::stage0;
use tests::disk::{Image, Layout};
use tests::iso9660::Iso;
use tests::vm::VmPlan;
use tests::{Deadline, Lab, Vm};

/// Little memory: what a machine has to have at least. Unit: MiB.
const LITTLE_MEMORY_MIB: u32 = 256;
/// Size of a disk with ISO and data.
const DISK_BYTES: u64 = 2 << 30;

#[test]
fn bios_starts_the_cd() -> Result<()> {
    let lab = Lab::new("bios-cd")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    reaches_a_container(Vm::plan(&lab).disk(&disk, Bus::Ide), "/mnt/sda1")
}

/// Once the boot is over, all is in memory.
#[test]
fn the_cd_can_be_taken_out() -> Result<()> {
    let lab = Lab::new("eject")?;
    let mut vm = Vm::plan(&lab).start()?;
    vm.await_docker()?;
    // QEMU refuses when the guest has locked the tray.
    vm.qmp().execute("eject", json!({ "device": "boot" }))?;
    let ssh = vm.ssh()?;
    ssh.run("sudo sh -c 'echo 3 > /proc/sys/vm/drop_caches'; ! sudo dd if=/dev/sr0 count=1 of=/dev/null")?;
    import_image(&ssh)?;
    assert_eq!(container::run(&ssh, "echo printed by the container")?, "printed by the container\n");
    vm.press_power_button()
}

/// For media that only the firmware can read: nothing is looked for then.
#[test]
fn the_boot_loader_reads_all_if_it_is_asked_to() -> Result<()> {
    let lab = Lab::new("all")?;
    let path = "/boot/isolinux/isolinux.cfg";
    let menu = String::from_utf8(Iso::open(&lab.iso())?.read(path)?)?;
    let menu = menu.replace("default boot2docker", "default all");
    let changed = rewrite::exchange(&fs::read(lab.iso())?, &BTreeMap::from([(path, menu.into_bytes())]))?;
    let iso = lab.folder().join("all.iso");
    fs::write(&iso, changed)?;
    let mut vm = Vm::plan(&lab).boot(Boot::Cd(iso)).start()?;
    let ssh = vm.ssh()?;
    ssh.run("grep initrd=/boot/initrd.img /proc/cmdline && ! grep 'booted from' /boot.log")?;
    vm.press_power_button()
}

/// Nothing but kernel and stage 0, as from a stick whose controller takes long. Programs are not copied to memory then, as
/// that is asked for.
#[test]
fn the_medium_may_come_late() -> Result<()> {
    let lab = Lab::new("late-medium")?;
    let append = "loglevel=3 console=tty0 console=ttyS0 b2d.root=medium";
    let mut vm = Vm::plan(&lab).boot(stage0(&lab, append)?).start()?;
    let told = vm.console().expect_line("waiting for the CD, stick or disk", Deadline::boot())?;
    assert!(told.ends_with("the kernel sees no disk at all"), "{told}");
    vm.console().expect_line("type all", Deadline::reply())?;
    let iso = lab.iso();
    vm.qmp().plug_disk("late", &iso, true)?;
    let ssh = vm.ssh()?;
    ssh.run("grep 'booted from /dev/vda' /boot.log")?;
    ssh.run("grep 'programs are read from /dev/vda, which has to stay in' /etc/motd")?;
    assert_eq!(ssh.run("cat /sys/block/loop*/loop/backing_file | sort -u")?, "/dev/vda\n");
    vm.await_docker()?;
    vm.press_power_button()
}

/// The disk is one that `iso-builder write --data` made: what was booted is where the data is.
#[test]
fn bios_starts_the_disk_that_holds_the_data_too() -> Result<()> {
    let lab = Lab::new("bios-disk")?;
    let disk = written_disk(&lab)?;
    reaches_a_container(Vm::plan(&lab).with_several_cpus().boot(Boot::Disk(disk, Bus::Virtio)), "/mnt/vda3")
}

#[test]
fn uefi_starts_the_cd() -> Result<()> {
    let lab = Lab::new("uefi-cd")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    reaches_a_container(Vm::plan(&lab).with_several_cpus().uefi().disk(&disk, Bus::Nvme), "/mnt/nvme0n1p1")
}

#[test]
fn uefi_starts_the_usb_stick_that_holds_the_data_too() -> Result<()> {
    let lab = Lab::new("uefi-disk")?;
    let disk = written_disk(&lab)?;
    reaches_a_container(Vm::plan(&lab).uefi().boot(Boot::Disk(disk, Bus::Usb)), "/mnt/sda3")
}

/// The disk is in use by both then, for data and for programs.
#[test]
fn with_little_memory_programs_are_read_from_the_disk_that_was_started() -> Result<()> {
    let lab = Lab::new("little-memory")?;
    let disk = written_disk(&lab)?;
    let mut vm = Vm::plan(&lab).memory_mib(LITTLE_MEMORY_MIB).boot(Boot::Disk(disk, Bus::Virtio)).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    let told = "programs are read from /dev/vda, which has to stay in";
    for place in ["/etc/motd", "/boot.log"] {
        ssh.run(&format!("grep '{told}' {place}")).with_context(|| format!("looking into {place}"))?;
    }
    import_image(&ssh)?;
    assert_eq!(container::run(&ssh, "echo printed by the container")?, "printed by the container\n");
    assert_eq!(ssh.run("df /var/lib/docker | tail -n 1 | grep -o '^[^ ]*'")?, "/dev/vda3\n");
    vm.press_power_button()
}

/// Returns the image of a disk with ISO and data partition, written a second time as for a newer ISO.
fn written_disk(lab: &Lab) -> Result<PathBuf> {
    let path = lab.folder().join("written.img");
    File::create(&path)?.set_len(DISK_BYTES)?;
    let options = WriteOptions { data: true, force: false, yes: true };
    for _ in 0..2 {
        write::run(&lab.iso(), &path, &options, || Ok(lab.tools().clone()))?;
    }
    Ok(path)
}

/// Boots, checks that Docker's data is below `mount`, runs a container, presses the power button.
fn reaches_a_container(plan: VmPlan, mount: &str) -> Result<()> {
    let mut vm = plan.start()?;
    let info = vm.docker()?.get("/info")?;
    let data_root = info["DockerRootDir"].as_str().unwrap_or_default();
    assert!(data_root.starts_with(mount) && data_root.ends_with("/var/lib/docker"), "{data_root}");
    let ssh = vm.ssh()?;
    // The bill of materials, the lock and the licences are in the image, and are of this image.
    let bill = ssh.run("cat /usr/share/boot2docker/boot2docker.spdx.json")?;
    assert_eq!(
        Document::read(bill.as_bytes())?.name,
        format!("boot2docker-{}", ssh.run("cat /etc/version")?.trim())
    );
    ssh.run("cd /usr/share/boot2docker && test -s boot2docker.lock && test -s licences.tar.zst")?;
    import_image(&ssh)?;
    assert_eq!(container::run(&ssh, "echo printed by the container")?, "printed by the container\n");
    vm.press_power_button()
}
