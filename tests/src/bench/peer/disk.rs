//! The peer's disk: a partition table, GRUB for BIOS before the only partition, an ext4 root with the probe in it.
//!
//! Source: GRUB's boot.S and diskboot.S: an unchanged boot sector loads its second stage from the sectors after it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use iso_builder::tools::ToolsTree;
use iso_builder::{run, step};

use crate::bench::ext4::{FileSystem, New};
use crate::bench::guest::{FOLDER, GuestFiles};

/// Size of the disk; the file is sparse.
const DISK_BYTES: u64 = 8 << 30;

/// Where the partition starts; every partitioning program aligns to this, and GRUB fits before it.
const PARTITION_BYTES: u64 = 1 << 20;

/// Unit of the partition table.
const SECTOR_BYTES: u64 = 512;

/// Where the table begins in the first sector; before it is GRUB's code.
const TABLE: usize = 446;

/// Partition type of Linux file systems.
const TYPE_LINUX: u8 = 0x83;

/// What GRUB needs to read a kernel from ext4 on a partition.
const GRUB_MODULES: [&str; 6] = ["biosdisk", "part_msdos", "ext2", "normal", "linux", "configfile"];

/// Folder of GRUB's own files.
const GRUB: &str = "/boot/grub";

/// Kernel command line: our own ISO's, the root, and Debian's `quiet`.
pub const APPEND: &str = "root=/dev/vda1 ro quiet loglevel=3 console=ttyS0,115200 console=tty0";

/// Starts the probe beside everything else. Source: systemd.service(5).
const UNIT: &str =
    "[Unit]\nDescription=Benchmark probe\n\n[Service]\nExecStart=/var/lib/boot2docker/bench/probe\n";

/// Name of that unit.
const UNIT_NAME: &str = "bench-probe.service";

/// Writes the disk image of the system below `root` to `image`.
///
/// # Errors
/// When a tool fails or the image cannot be written.
pub fn write(
    tools: &ToolsTree,
    root: &Path,
    files: &GuestFiles,
    (kernel, initrd): (&Path, &Path),
    image: &Path,
) -> Result<()> {
    File::create(image)
        .and_then(|file| file.set_len(DISK_BYTES))
        .with_context(|| format!("creating {}", image.display()))?;
    let system =
        FileSystem { image, start: PARTITION_BYTES, length: DISK_BYTES - PARTITION_BYTES, label: "peer" };
    system.make(tools, Some(root))?;
    let unit = format!("/etc/systemd/system/{UNIT_NAME}");
    let mut new = vec![
        New::Folder("/var/lib/boot2docker".into()),
        New::Folder(FOLDER.into()),
        New::Folder(GRUB.into()),
    ];
    new.extend(files.list());
    let menu = menu(&in_boot(kernel), &in_boot(initrd));
    new.extend([
        New::text(&unit, UNIT),
        New::Link(format!("/etc/systemd/system/multi-user.target.wants/{UNIT_NAME}"), unit.clone()),
        New::text(&format!("{GRUB}/grub.cfg"), &menu),
    ]);
    system.add(tools, &new)?;
    install_grub(tools, root, image)
}

fn in_boot(file: &Path) -> String {
    format!("/boot/{}", file.file_name().unwrap_or_default().to_string_lossy())
}

/// Starts at once; Debian's own menu would wait for five seconds.
fn menu(kernel: &str, initrd: &str) -> String {
    format!("linux {kernel} {APPEND}\ninitrd {initrd}\nboot\n")
}

/// Writes boot sector with partition table, and GRUB's core behind it.
fn install_grub(tools: &ToolsTree, root: &Path, image: &Path) -> Result<()> {
    let modules = root.join("usr/lib/grub/i386-pc");
    let core = image.with_extension("core");
    let mut mkimage = tools.program("grub-mkimage");
    mkimage.args(["-O", "i386-pc", "-p", &format!("(hd0,msdos1){GRUB}"), "-d"]).arg(&modules);
    mkimage.arg("-o").arg(&core).args(GRUB_MODULES);
    run::output(&mut mkimage).context("making the peer's boot loader")?;
    let second_stage = fs::read(&core).with_context(|| format!("reading {}", core.display()))?;
    step::remove(&core)?;
    ensure!(
        second_stage.len() as u64 + SECTOR_BYTES <= PARTITION_BYTES,
        "writing the peer's boot loader: its {} bytes do not fit before the partition",
        second_stage.len()
    );
    let stage = modules.join("boot.img");
    let mut sector = fs::read(&stage).with_context(|| format!("reading {}", stage.display()))?;
    sector[TABLE..].copy_from_slice(&table());
    let disk = File::options().write(true).open(image);
    let disk = disk.with_context(|| format!("opening {}", image.display()))?;
    disk.write_all_at(&sector, 0)
        .and_then(|()| disk.write_all_at(&second_stage, SECTOR_BYTES))
        .with_context(|| format!("writing the boot loader to {}", image.display()))
}

/// Returns a partition table with one active partition up to the end of the disk, and the sector's signature.
/// Source: "Master Boot Record"; addresses by cylinder, head and sector are long out of use and say so.
fn table() -> [u8; 66] {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR_BYTES).unwrap_or(u32::MAX).to_le_bytes();
    let mut table = [0; 66];
    table[0] = 0x80;
    table[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    table[4] = TYPE_LINUX;
    table[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    table[8..12].copy_from_slice(&sectors(PARTITION_BYTES));
    table[12..16].copy_from_slice(&sectors(DISK_BYTES - PARTITION_BYTES));
    table[64..].copy_from_slice(&[0x55, 0xaa]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_active_and_reaches_from_the_first_mebibyte_to_the_end() {
        let table = table();
        let number = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
        assert_eq!((table[0], table[4], number(8), number(12)), (0x80, 0x83, 2048, 16_775_168));
        assert_eq!(table[64..], [0x55, 0xaa]);
    }

    #[test]
    fn the_menu_starts_the_kernel_without_waiting() {
        let menu = menu("/boot/vmlinuz-6", "/boot/initrd.img-6");
        assert_eq!(menu.lines().next(), Some(format!("linux /boot/vmlinuz-6 {APPEND}").as_str()));
        assert!(menu.ends_with("boot\n") && !menu.contains("timeout"));
    }
}
