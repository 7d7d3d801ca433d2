//! Disks that are full, broken, write-protected, gone or grown: the machine works, says what is odd, and harms nothing.

use anyhow::{Result, ensure};
use iso_builder::qemu::Bus;
use tests::container::{self, import_image};
use tests::direct::direct;
use tests::disk::{Image, Layout};
use tests::{Deadline, Lab, Vm};

/// Consoles of a machine started without boot loader.
const APPEND: &str = "loglevel=3 console=tty0 console=ttyS0";
const GIB: u64 = 1 << 30;
/// Takes all space of the data disk, root's reserve included; the error at its end is meant.
const FILL: &str =
    "sudo dd if=/dev/zero of=/mnt/vda1/filling bs=1M 2>/dev/null; sudo sync; df -P /mnt/vda1 | tail -n 1";

#[test]
fn enlarged_disk_is_grown_and_a_full_one_leaves_a_way_in() -> Result<()> {
    let lab = Lab::new("grown-disk")?;
    let disk = Image::with_bytes(&lab, "data", GIB / 2, &[])?;
    let start = || anyhow::Ok(Vm::plan(&lab).boot(direct(&lab, APPEND)?).disk(&disk, Bus::Virtio).start()?);
    let mut vm = start()?;
    let ssh = vm.ssh()?;
    ssh.run("echo kept | sudo tee /var/lib/boot2docker/mine; touch /tmp/old")?;
    // What a link in the place of tmp leads to must survive the emptying of tmp.
    ssh.run("sudo mv /mnt/vda1/tmp /mnt/vda1/away && sudo ln -s away /mnt/vda1/tmp")?;
    vm.press_power_button()?;
    disk.resize(GIB)?;
    let mut vm = start()?;
    let ssh = vm.ssh()?;
    let size = ssh
        .run("df -m -P /mnt/vda1 | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; cat /var/lib/boot2docker/mine")?;
    let (mib, kept) = size.split_once('\n').unwrap_or_default();
    assert!(mib.parse::<u64>()? > 850, "{mib} MiB of 1024, of which 64 are for swap");
    assert_eq!(kept, "kept\n");
    let tmp = ssh.run(
        "ls /mnt/vda1/away; ls -ld /mnt/vda1/tmp/ | cut -c 1-10; [ ! -L /mnt/vda1/tmp ] && readlink /tmp",
    )?;
    assert_eq!(tmp, "old\ndrwxrwxrwt\n/mnt/vda1/tmp\n");
    let filled = ssh.run(FILL)?;
    ensure!(filled.contains("100%"), "the disk is not full: {filled}");
    vm.reboot()?;
    let ssh = vm.ssh()?;
    assert!(
        ssh.run("readlink /var/lib/docker")?.starts_with("/mnt/vda1/"),
        "a full disk is still the data disk"
    );
    let motd = ssh.run("cat /etc/motd")?;
    assert!(motd.contains("100 % full"), "{motd}");
    // Docker cannot start without a free block; what counts is that somebody can log in and make room.
    ssh.run("sudo rm /mnt/vda1/filling")?;
    vm.press_power_button()?;
    Image::formatted(disk.path())?.check(&lab)
}

#[test]
fn without_a_usable_disk_everything_is_told_and_nothing_touched() -> Result<()> {
    let lab = Lab::new("refused-disks")?;
    let blank = Image::blank(&lab, "blank")?;
    let protected = Image::data(&lab, "protected", Layout::WholeDisk)?;
    let headless = Image::data(&lab, "headless", Layout::WholeDisk)?;
    // A superblock that is no longer one: what is left is a disk that is not blank.
    headless.overwrite(1024, &[0xff; 1024])?;
    let cut =
        Image::with_bytes(&lab, "cut", GIB, &[(0, &tests::userdata::archive(b"key")?), (1024, b"torn")])?;
    let images = [&blank, &protected, &headless, &cut];
    let before: Vec<String> = images.iter().map(|image| image.hash()).collect::<Result<_>>()?;
    let plan = Vm::plan(&lab).boot(direct(&lab, APPEND)?).bare_metal();
    let plan = plan.disk(&blank, Bus::Virtio).read_only_disk(&protected, Bus::Virtio);
    let mut vm = plan.disk(&headless, Bus::Virtio).disk(&cut, Bus::Virtio).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    let told = [
        "/dev/vda (no known signature, 2048 MiB, serial b2d-0): left alone: blank, but this is no virtual machine",
        "left alone: read-only",
        "/dev/vdc (no known signature, 2048 MiB, serial b2d-2): left alone: not blank, but nothing known is on it",
        "left alone: asks to be formatted, but its archive is damaged",
        "running from RAM, everything is lost at power-off",
    ];
    let log = ssh.run("cat /boot.log")?;
    for line in told {
        assert!(log.contains(line), "{line:?} is missing:\n{log}");
        vm.console().await_in_this_boot(line, Deadline::reply())?;
    }
    assert!(ssh.run("cat /etc/motd")?.contains("running from RAM"));
    vm.press_power_button()?;
    for (image, hash) in images.iter().zip(&before) {
        assert_eq!(image.hash()?, *hash, "{} was changed", image.path().display());
    }
    Ok(())
}

#[test]
fn disk_pulled_out_of_a_running_machine_leaves_a_way_in() -> Result<()> {
    let lab = Lab::new("pulled-disk")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    let mut vm = Vm::plan(&lab).boot(direct(&lab, APPEND)?).disk(&disk, Bus::Usb).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    import_image(&ssh)?;
    assert_eq!(container::run(&ssh, "echo from the stick")?, "from the stick\n");
    // Once this is there and nobody is connected, sshd is started anew, which needs the disk.
    ssh.run("until sudo test -s /var/lib/boot2docker/ssh/ssh_host_rsa_key; do sleep 0.1; done")?;
    vm.unplug_disk(0)?;
    assert_eq!(ssh.run("until [ ! -e /dev/sda ]; do sleep 0.1; done; id -un")?, "docker\n");
    vm.qmp().press_power_button()?;
    vm.console().await_in_this_boot("shut down in", Deadline::power_off())?;
    vm.cut_power();
    let mut vm = Vm::plan(&lab).boot(direct(&lab, APPEND)?).start()?;
    vm.await_docker()?;
    assert_eq!(vm.ssh()?.run("readlink /var/lib/docker")?, "/mnt/ram/var/lib/docker\n");
    vm.press_power_button()
}
