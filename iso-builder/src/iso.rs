//! The hybrid ISO: isolinux for BIOS, GRUB for UEFI, as a CD and as a raw disk.
//!
//! Source: El Torito 1.0; UEFI 2.10 section 13.3.2 (removable media); isohybrid's MBR; contract.md section 8.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::Config;
use crate::digest::KeyBuilder;
use crate::kernel::Kernel;
use crate::progress::Progress;
use crate::project::Project;
use crate::tools::ToolsTree;
use crate::{boot_config, initrd, rewrite, run, step};

/// Raised when the code below changes the result.
const REVISION: u32 = 7;

/// GRUB modules of the UEFI loader: what finding the ISO's file system and starting Linux takes.
const GRUB_MODULES: [&str; 13] = [
    "part_gpt",
    "part_msdos",
    "iso9660",
    "fat",
    "search",
    "search_label",
    "normal",
    "configfile",
    "linux",
    "boot",
    "echo",
    "test",
    "ls",
];

/// Room that the file system's own tables take in the EFI system partition. Units: KiB.
const ESP_TABLES_KIB: u64 = 64;

/// Volume serial number of the EFI system partition: any will do, but it must not change.
const ESP_SERIAL: &str = "b2d00001";

/// Prefix of the volume label; the engine's version follows. Docker Machine parses it.
pub(crate) const LABEL_PREFIX: &str = "b2d-v";

/// What the ISO is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The checkout.
    pub project: &'a Project,
    /// Packers and boot loaders.
    pub tools: &'a ToolsTree,
    /// Kernel command line and time stamp.
    pub config: &'a Config,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The initramfs.
    pub initrd: &'a Path,
    /// The engine's version.
    pub version: &'a str,
    /// Where progress is shown.
    pub ui: Progress,
}

impl Parts<'_> {
    /// Makes the ISO and copies it to `out`, under another name until it is complete.
    ///
    /// # Errors
    /// When a part is missing, a tool fails, or `out` cannot be written.
    pub fn build(&self, out: &Path) -> Result<()> {
        let key = KeyBuilder::new("iso", REVISION)
            .text(&self.config.command_line())
            .text(if self.config.uefi { "uefi" } else { "no uefi" })
            .text(&self.config.epoch.to_string())
            .text(self.version)
            .text(&self.kernel.key())
            .text(&step::key_of(self.initrd))
            .text(&self.tools.key());
        let folder = step::latest(&self.project.target_folder("iso")?, &key.finish(), |part| {
            let bar = self.ui.spinner("writing the ISO");
            let files = part.join("files");
            self.stage(&files)?;
            if self.config.uefi {
                self.write_esp(part)?;
            }
            self.run_xorriso(part)?;
            self.shorten_stage0(&part.join("boot2docker.iso"))?;
            drop(bar);
            step::remove(&files)
        })?;
        publish(&folder.join("boot2docker.iso"), out)
    }

    /// Returns the volume label.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{LABEL_PREFIX}{}", self.version)
    }

    /// Lays out the files of the ISO. Names matter: drivers look for them (contract.md section 8).
    fn stage(&self, files: &Path) -> Result<()> {
        let boot = files.join("boot");
        let append = self.config.command_line();
        let folders: &[_] = if self.config.uefi { &["isolinux", "grub"] } else { &["isolinux"] };
        for folder in folders {
            fs::create_dir_all(boot.join(folder))
                .with_context(|| format!("creating {}", boot.join(folder).display()))?;
        }
        copy(&self.kernel.image(), &boot.join("vmlinuz64"))?;
        fs::hard_link(boot.join("vmlinuz64"), boot.join("vmlinuz"))
            .context("linking the kernel's second name")?;
        copy(self.initrd, &boot.join("initrd.img"))?;
        fs::hard_link(boot.join("initrd.img"), boot.join("stage0.img"))
            .context("linking the initramfs's second name")?;
        copy(&self.tools.path("/usr/lib/ISOLINUX/isolinux.bin"), &boot.join("isolinux/isolinux.bin"))?;
        copy(
            &self.tools.path("/usr/lib/syslinux/modules/bios/ldlinux.c32"),
            &boot.join("isolinux/ldlinux.c32"),
        )?;
        let isolinux = boot_config::isolinux(&append);
        step::write_atomically(&boot.join("isolinux/isolinux.cfg"), isolinux.as_bytes())?;
        if self.config.uefi {
            step::write_atomically(&boot.join("grub/grub.cfg"), boot_config::grub(&append).as_bytes())?;
        }
        step::write_atomically(&files.join("version"), format!("{}\n", self.version).as_bytes())
    }

    /// Makes the EFI system partition: a FAT file system with GRUB as the removable-media loader.
    fn write_esp(&self, part: &Path) -> Result<()> {
        let (early, loader, esp) =
            (part.join("early.cfg"), part.join("bootx64.efi"), part.join("files/boot/grub/efi.img"));
        step::write_atomically(&early, grub_early_cfg(&self.label()).as_bytes())?;
        let mut grub = self.tools.program("grub-mkimage");
        grub.args(["-O", "x86_64-efi", "-p", "/boot/grub", "-d"])
            .arg(self.tools.path("/usr/lib/grub/x86_64-efi"));
        grub.arg("-c").arg(&early).arg("-o").arg(&loader).args(GRUB_MODULES);
        run::output(&mut grub).context("making the UEFI boot loader")?;
        let loader_bytes =
            fs::metadata(&loader).with_context(|| format!("reading {}", loader.display()))?.len();
        let esp_kib = loader_bytes.div_ceil(1024) + ESP_TABLES_KIB;
        let mut mkfs = self.tools.program("mkfs.fat");
        mkfs.args(["--invariant", "-F", "12", "-i", ESP_SERIAL, "-n", "B2D-EFI", "-C"]).arg(&esp);
        run::output(mkfs.arg(esp_kib.to_string())).context("making the EFI system partition")?;
        for folder in ["::/EFI", "::/EFI/BOOT"] {
            run::output(self.mtools("mmd").arg("-i").arg(&esp).arg(folder))
                .context("filling the EFI system partition")?;
        }
        let mut mcopy = self.mtools("mcopy");
        mcopy.arg("-i").arg(&esp).arg(&loader).arg("::/EFI/BOOT/BOOTX64.EFI");
        run::output(&mut mcopy).context("copying the UEFI boot loader")?;
        for scratch in [early, loader] {
            step::remove(&scratch)?;
        }
        Ok(())
    }

    fn mtools(&self, name: &str) -> std::process::Command {
        let mut command = self.tools.program("mtools");
        command.args(["-c", name]).env("SOURCE_DATE_EPOCH", self.config.epoch.to_string());
        command
    }

    fn run_xorriso(&self, part: &Path) -> Result<()> {
        let label = self.label();
        let mut command = self.tools.program("xorriso");
        // Of the variable xorriso takes the dates of the volume and of its files, and the GUIDs of the partitions.
        command.env("SOURCE_DATE_EPOCH", self.config.epoch.to_string());
        command.args([
            "-as",
            "mkisofs",
            "-quiet",
            "-iso-level",
            "3",
            "-r",
            "-J",
            "-joliet-long",
            "-cache-inodes",
        ]);
        // xorriso sets the files' dates by the variable, but reads some of them from the disk again afterwards.
        command.arg("--set_all_file_dates").arg(format!("={}", self.config.epoch));
        command.args(["-V", &label, "-A", "Boot2Docker", "-publisher", "boot2docker-in-Rust"]);
        command.arg("-isohybrid-mbr").arg(self.tools.path("/usr/lib/ISOLINUX/isohdpfx.bin"));
        command.args(["-c", "boot/isolinux/boot.cat", "-b", "boot/isolinux/isolinux.bin"]);
        command.args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
        // Padding helps old drives to read the end of a track; a second partition table is there anyway.
        command.arg("-no-pad");
        if self.config.uefi {
            command.args(["-eltorito-alt-boot", "-e", "boot/grub/efi.img", "-no-emul-boot"]);
            command.arg("-isohybrid-gpt-basdat");
        }
        command.arg("-o").arg(part.join("boot2docker.iso")).arg(part.join("files"));
        run::output(&mut command).context("writing the ISO").map(drop)
    }

    /// Has `/boot/stage0.img`, which lies where the initramfs does, end where stage 0 needs no more.
    fn shorten_stage0(&self, iso: &Path) -> Result<()> {
        let reading = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let length =
            initrd::stage0_bytes(&reading(self.initrd)?)?.context("looking for the list of layers")?;
        let mut bytes = reading(iso)?;
        rewrite::set_length(&mut bytes, boot_config::STAGE0, length)?;
        step::write_atomically(iso, &bytes)
    }
}

/// Copies a file, readable for all whatever the umask is.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o644)))
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Writes the digest of the ISO beside it, as `sha256sum` does, so that `sha256sum -c` reads it.
///
/// # Errors
/// When the file cannot be written.
pub fn publish_sum(iso: &Path, sha256: &str) -> Result<()> {
    let name = iso.file_name().unwrap_or_default().to_string_lossy();
    let mut path = iso.as_os_str().to_owned();
    path.push(".sha256");
    step::write_atomically(Path::new(&path), format!("{sha256}  {name}\n").as_bytes())
}

/// Copies the finished ISO to where the user wants it; a reader sees the old one or the new one.
fn publish(iso: &Path, out: &Path) -> Result<()> {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let copied = fs::copy(iso, &part).and_then(|_| fs::rename(&part, out));
    if let Err(error) = copied {
        step::remove(&part)?;
        return Err(error).with_context(|| format!("writing {}", out.display()));
    }
    Ok(())
}

/// Compiled into the loader: finds the ISO by its label, so that another disk's GRUB files are never used.
fn grub_early_cfg(label: &str) -> String {
    format!("search --no-floppy --set=root --label {label}\nset prefix=($root)/boot/grub\nnormal\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_cannot_be_written_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("made.iso");
        fs::write(&iso, "iso").unwrap();
        let out = folder.path().join("no-such-folder/out.iso");
        let error = format!("{:#}", publish(&iso, &out).unwrap_err());
        assert!(error.starts_with(&format!("writing {}: No such file", out.display())), "{error}");
        publish(&iso, &folder.path().join("out.iso")).unwrap();
        assert!(!folder.path().join("out.iso.part").exists());
    }
}
