//! `iso-builder customize`: bakes keys, settings, certificates and files into an ISO that exists, without compiler, network,
//! tools or root. The ISO stays bootable in every way it was, and keeps its label.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::boot_config::{INITRD, STAGE0};
use crate::config::Custom;
use crate::custom::{self, Image};
use crate::squashfs;
use crate::{boot_config, digest, initrd, inspect, iso, rewrite, sbom, step};

/// Writes to `out` the ISO `input` with what the file `config` bakes in; returns what there is to tell, one fact a line.
///
/// # Errors
/// When `input` is no ISO of ours, the configuration is at fault, or `out` cannot be written; `out` is then what it was.
pub fn run(input: &Path, config: &Path, out: &Path) -> Result<String> {
    let custom = Custom::load(config)?;
    ensure!(custom != Custom::default(), "reading {}: it bakes nothing in", config.display());
    let opened = inspect::open(input)?;
    let label = opened.label()?;
    let mut contents = BTreeMap::new();
    let (mut told, mut bill, mut stage0_bytes) = (String::new(), None, None);
    if custom.has_layer() {
        let image = Image::new(squashfs::layers_of(input)?);
        let tree = custom::tree(&custom, &image)?;
        let baked = custom::pack(&tree, &image, image.time())?;
        let files = tree.iter().count();
        told += &format!("layer {}: {files} files and folders, {} bytes\n", baked.name, baked.squashfs.len());
        let initrd = initrd::with_layer(&opened.read(INITRD)?, &baked.name, &baked.squashfs, image.time())?;
        stage0_bytes = initrd::stage0_bytes(&initrd)?;
        contents.insert(INITRD, initrd);
        bill = baked.bill;
    }
    if let Some(append) = &custom.append {
        for (path, text) in boot_config::with_append(&opened, append)? {
            contents.insert(path, text.into_bytes());
        }
        told += &format!("kernel command line: {append}\n");
    }
    let bytes = fs::read(input).with_context(|| format!("reading {}", input.display()))?;
    let rewriting = || format!("rewriting {}", input.display());
    let mut bytes = rewrite::exchange(&bytes, &contents).with_context(rewriting)?;
    if let Some(length) = stage0_bytes {
        rewrite::set_length(&mut bytes, STAGE0, length).with_context(rewriting)?;
    }
    step::write_atomically(out, &bytes)?;
    let sum = digest::of_reader(&mut &bytes[..]).context("hashing the ISO")?;
    iso::publish_sum(out, &sum)?;
    if let Some(bill) = bill {
        sbom::publish_document(&bill, out)?;
    }
    Ok(told
        + &format!(
            "{}: {:.1} MiB, label {label}, sha256 {sum}\n",
            out.display(),
            bytes.len() as f64 / f64::from(1 << 20)
        ))
}
