//! Every kind of disk that becomes the data disk: asking for it, blank, of other file systems, of other years.

use std::fs;

use anyhow::Result;
use b2d_sys::contract::{DATA_LABEL, USERDATA};
use iso_builder::qemu::Bus;
use tests::direct::direct;
use tests::disk::{Image, Layout};
use tests::ssh::{Ssh, make_rsa_key};
use tests::{Lab, Vm, foreign, userdata};

/// Consoles of a machine started without boot loader.
const APPEND: &str = "loglevel=3 console=tty0 console=ttyS0";
const GIB: u64 = 1 << 30;
/// More than the 4096 bytes that boot2docker kept: keys of today do not fit.
const LONG_COMMENT: usize = 3000;
/// How many MiB the file system at a place has.
const SIZE_MIB: &str = "df -m -P /var/lib/docker/ | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2";

/// Returns where Docker keeps its data, once it answers.
fn docker_root(vm: &mut Vm) -> Result<String> {
    let info = vm.docker()?.get("/info")?;
    Ok(info["DockerRootDir"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn blank_disk_is_formatted_beside_foreign_ones_which_stay_as_they_are() -> Result<()> {
    let lab = Lab::new("blank-disk")?;
    let blank = Image::blank(&lab, "blank")?;
    let others = foreign::disks(&lab)?;
    let files = Image::ext4(&lab, "files", "", &[("photographs/2013.jpg", b"not yours")])?;
    let system = Image::ext4(&lab, "system", "", &[("etc/fstab", b""), ("var/lib/docker/x", b"")])?;
    let mut plan = Vm::plan(&lab).boot(direct(&lab, APPEND)?);
    let mut untouched: Vec<&Image> = others.iter().map(|(_, image)| image).collect();
    untouched.extend([&files, &system]);
    let hashes: Vec<String> = untouched.iter().map(|image| image.hash()).collect::<Result<_>>()?;
    for image in &untouched {
        plan = plan.disk(image, Bus::Scsi);
    }
    let mut vm = plan.disk(&blank, Bus::Virtio).start()?;
    assert_eq!(docker_root(&mut vm)?, "/mnt/vda1/var/lib/docker");
    let ssh = vm.ssh()?;
    let swaps = ssh.run("cat /proc/swaps")?;
    assert!(swaps.contains("/dev/vda2") && swaps.contains("/dev/zram0"), "{swaps}");
    refusals_are_told(&ssh, others.len() + 2)?;
    vm.press_power_button()?;
    for (image, hash) in untouched.iter().zip(&hashes) {
        assert_eq!(image.hash()?, *hash, "{} was changed", image.path().display());
    }
    let data = Image::formatted(blank.path())?;
    assert_eq!(data.label()?, DATA_LABEL);
    data.check(&lab)
}

fn refusals_are_told(ssh: &Ssh, count: usize) -> Result<()> {
    let log = ssh.run("cat /boot.log")?;
    let formatted = log.lines().find(|line| line.contains("automount: formatting /dev/vda"));
    assert!(formatted.is_some_and(|line| line.contains("blank") && line.contains("serial")), "{log}");
    let refused =
        log.lines().filter(|line| line.contains("automount: /dev/sd") && line.contains("left alone"));
    assert_eq!(refused.count(), count, "{log}");
    let dry = ssh.run("sudo automount --dry-run")?;
    for reason in ["holds NTFS", "holds LUKS", "holds LVM", "holds ZFS", "an operating system lives there"] {
        assert!(dry.contains(reason), "{reason}:\n{dry}");
    }
    Ok(())
}

#[test]
fn disk_with_the_magic_keeps_a_long_key_and_the_boot_stick_is_left_alone() -> Result<()> {
    let lab = Lab::new("magic-disk")?;
    let key = make_rsa_key(lab.tools(), lab.folder())?;
    let mut public = fs::read(key.with_extension("pub"))?;
    public.truncate(public.trim_ascii_end().len());
    public.extend_from_slice(format!(" {}\n", "x".repeat(LONG_COMMENT)).as_bytes());
    let archive = userdata::archive(&public)?;
    let disk = Image::with_bytes(&lab, "data", 4 * GIB, &[(0, &archive)])?;
    let blank = Image::blank(&lab, "blank")?;
    let before = blank.hash()?;
    let mut vm =
        Vm::plan(&lab).boot_from_disk(Bus::Usb).disk(&disk, Bus::Nvme).disk(&blank, Bus::Virtio).start()?;
    let ssh = vm.ssh_with_key(&key)?;
    assert_eq!(ssh.run_bytes(&format!("cat {USERDATA}"))?, archive);
    vm.await_docker()?;
    let link = ssh.run("readlink /var/lib/docker; cat .ssh/authorized_keys2 | wc -c; ls -A")?;
    let expected = format!("/mnt/nvme0n1p1/var/lib/docker\n{}\n", public.len());
    assert!(link.starts_with(&expected) && !link.contains("format-me"), "{link}");
    vm.press_power_button()?;
    assert_eq!(blank.hash()?, before, "one data disk is enough");
    Image::formatted(disk.path())?.check(&lab)
}

#[test]
fn labelled_btrfs_over_a_whole_grown_disk_is_used_and_the_second_disk_is_not() -> Result<()> {
    let lab = Lab::new("btrfs-disk")?;
    let btrfs = Image::from_fixture(&lab, "btrfs", "btrfs.img.zst", 2 * GIB)?;
    let second = Image::data(&lab, "second", Layout::Partition)?;
    let before = second.hash()?;
    let plan = Vm::plan(&lab).boot(direct(&lab, APPEND)?);
    let mut vm = plan.disk(&btrfs, Bus::Scsi).disk(&second, Bus::Virtio).start()?;
    assert_eq!(docker_root(&mut vm)?, "/mnt/sda/var/lib/docker");
    let ssh = vm.ssh()?;
    assert!(ssh.run("cat /proc/mounts")?.contains("/dev/sda /mnt/sda btrfs rw"));
    let size: u64 = ssh.run(SIZE_MIB)?.trim().parse()?;
    assert_eq!(size, 2048, "256 MiB were on the disk");
    assert_eq!(ssh.run("docker info -f '{{.Driver}}'")?, "btrfs\n");
    vm.press_power_button()?;
    assert_eq!(second.hash()?, before);
    Ok(())
}

#[test]
fn xfs_named_on_the_command_line_is_used() -> Result<()> {
    let lab = Lab::new("xfs-disk")?;
    let xfs = Image::from_fixture(&lab, "xfs", "xfs.img.zst", GIB)?;
    let append = format!("{APPEND} b2d.data=UUID=0B2D0B2D-0b2d-4b2d-8b2d-0b2d0b2d0b2e");
    let mut vm = Vm::plan(&lab).boot(direct(&lab, &append)?).disk(&xfs, Bus::Ahci).start()?;
    assert_eq!(docker_root(&mut vm)?, "/mnt/sda/var/lib/docker");
    assert!(vm.ssh()?.run("cat /proc/mounts")?.contains("/dev/sda /mnt/sda xfs rw"));
    vm.press_power_button()
}

#[test]
fn disk_of_before_version_1_is_adopted_with_its_layout() -> Result<()> {
    let lab = Lab::new("old-disk")?;
    let files: [(&str, &[u8]); 2] = [("vm/profile", b"export OLD=yes\n"), ("containers/x", b"")];
    let disk = Image::ext4(&lab, "data", "boot2docker", &files)?;
    let mut vm = Vm::plan(&lab).boot(direct(&lab, APPEND)?).disk(&disk, Bus::Ide).start()?;
    assert_eq!(docker_root(&mut vm)?, "/mnt/sda");
    let ssh = vm.ssh()?;
    let old =
        ssh.run("sudo cat /var/lib/boot2docker/profile; readlink /var/lib/boot2docker; touch /tmp/mine")?;
    assert_eq!(old, "export OLD=yes\n/mnt/sda/vm\n");
    vm.press_power_button()?;
    disk.check(&lab)
}
