//! The boot loaders' configuration files: for BIOS isolinux's, for UEFI GRUB's.

use anyhow::{Context, Result};

use crate::iso9660::Iso;

/// Path of isolinux's in the ISO.
pub const ISOLINUX: &str = "/boot/isolinux/isolinux.cfg";

/// Path of GRUB's in the ISO; one without UEFI has none.
pub const GRUB: &str = "/boot/grub/grub.cfg";

/// What comes before the kernel command line in a line of each.
const LEAD_INS: [&str; 2] = ["append ", "linux /boot/vmlinuz64 "];

/// The initramfs as far as stage 0 needs it to find the rest on the medium.
pub const STAGE0: &str = "/boot/stage0.img";

/// The whole initramfs.
pub const INITRD: &str = "/boot/initrd.img";

/// Returns isolinux's for the kernel command line `append`.
///
/// `append` stays lower case after two spaces, and in the first such line: drivers parse it.
#[must_use]
pub fn isolinux(append: &str) -> String {
    let entry = |label: &str, initrd: &str, more: &str| {
        format!("label {label}\n  kernel /boot/vmlinuz64\n  initrd {initrd}\n  append {append}{more}\n")
    };
    let entries = [
        entry("boot2docker", STAGE0, ""),
        entry("all", INITRD, ""),
        entry("debug", STAGE0, " loglevel=7 b2d.debug"),
        entry("rescue", INITRD, " b2d.rescue"),
    ];
    format!("default boot2docker\nprompt 0\ntimeout 0\n\n{}", entries.join("\n"))
}

/// Returns GRUB's for the kernel command line `append`.
#[must_use]
pub fn grub(append: &str) -> String {
    let entry = |name: &str, initrd: &str, more: &str| {
        format!("menuentry \"{name}\" {{\n  linux /boot/vmlinuz64 {append}{more}\n  initrd {initrd}\n}}\n")
    };
    let entries = [
        entry("boot2docker", STAGE0, ""),
        entry("boot2docker, all read by the boot loader", INITRD, ""),
        entry("boot2docker, showing all messages", STAGE0, " loglevel=7 b2d.debug"),
        entry("boot2docker, rescue shell", INITRD, " b2d.rescue"),
    ];
    format!(
        "# Hold Esc while the machine starts to see this menu.\nset timeout=0\nset timeout_style=hidden\n\n{}",
        entries.join("\n")
    )
}

/// Returns paths and texts of the files of `iso` with `more` behind the kernel command line that all entries share.
///
/// # Errors
/// When there is no configuration in the ISO, or no command line in it.
pub fn with_append(iso: &Iso, more: &str) -> Result<Vec<(&'static str, String)>> {
    let entries = iso.entries()?;
    let mut changed = Vec::new();
    for path in [ISOLINUX, GRUB].into_iter().filter(|path| entries.iter().any(|entry| entry.path == *path)) {
        let text = String::from_utf8_lossy(&iso.read(path)?).into_owned();
        let text = extended(&text, more).with_context(|| format!("looking for a command line in {path}"))?;
        changed.push((path, text));
    }
    anyhow::ensure!(!changed.is_empty(), "the ISO has no boot loader's configuration");
    Ok(changed)
}

/// Returns the text with `more` behind the first command line, wherever that stands; none if there is no command line.
fn extended(text: &str, more: &str) -> Option<String> {
    let line_of = |line: &str| {
        LEAD_INS.iter().find_map(|lead_in| Some(line.trim_start().strip_prefix(lead_in)?.to_owned()))
    };
    let shared = text.lines().find_map(line_of)?;
    let lines = text.split_inclusive('\n').map(|line| match line_of(line) {
        Some(_) => line.replacen(&shared, &format!("{shared} {more}"), 1),
        None => line.to_owned(),
    });
    Some(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_find_the_kernel_command_line_in_isolinux_cfg() {
        let text = isolinux("console=tty0");
        let append = text.lines().find(|line| line.contains("append")).unwrap();
        assert_eq!(append, "  append console=tty0");
    }

    #[test]
    fn words_added_later_stand_where_a_build_puts_them() {
        for file in [isolinux, grub] {
            assert_eq!(extended(&file("a=1 b"), "c=2").unwrap(), file("a=1 b c=2"));
        }
        assert_eq!(extended("label x\n", "c"), None);
    }
}
