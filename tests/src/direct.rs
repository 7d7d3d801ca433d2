//! Booting without a boot loader, as xhyve and PXE setups do: QEMU loads the ISO's kernel and initrd itself.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use iso_builder::qemu::Boot;

use crate::Lab;
use crate::iso9660::Iso;

/// Returns the kernel and the initrd of the ISO, as files in the test's folder, with the kernel command line `append`.
///
/// # Errors
/// When the ISO has none.
pub fn direct(lab: &Lab, append: &str) -> Result<Boot> {
    with_initrd(lab, "initrd.img", append)
}

/// The same with the part of the initrd alone that the ISO's boot loaders read.
///
/// # Errors
/// When the ISO has none.
pub fn stage0(lab: &Lab, append: &str) -> Result<Boot> {
    with_initrd(lab, "stage0.img", append)
}

fn with_initrd(lab: &Lab, initrd: &str, append: &str) -> Result<Boot> {
    Ok(Boot::Kernel {
        kernel: take(lab, "vmlinuz64")?,
        initrd: take(lab, initrd)?,
        append: append.to_owned(),
    })
}

fn take(lab: &Lab, name: &str) -> Result<PathBuf> {
    let iso = Iso::open(&lab.iso())?;
    let inside = format!("/boot/{name}");
    let entries = iso.entries()?;
    let entry = entries.iter().find(|entry| entry.path == inside);
    let path = lab.folder().join(name);
    let content = iso.content(entry.with_context(|| format!("finding {inside} on the ISO"))?.extent)?;
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
