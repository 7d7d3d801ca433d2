//! What a configuration bakes into an image, as one more layer on top of those that it has. Making it takes no tools, no
//! network and no privilege, so an ISO that exists can get one as well as one that is being built.
//!
//! Defaults lie where the data disk comes before them; nothing is ever put on the data disk itself.

mod accounts;
mod bill;
mod engine;
mod facts;
mod image;
mod pack;
mod plan;
pub mod post_process;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};

pub use self::image::Image;
use crate::config::Custom;
use crate::sbom::spdx::Document;
use crate::tree::Tree;

/// Numbers of custom layers: above the image's own, each above those that an ISO has already.
const NUMBERS: std::ops::Range<u32> = 60..100;

/// A finished layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baked {
    /// File name inside the initramfs; it gives the layer its place in the stack.
    pub name: String,
    /// The squashfs.
    pub squashfs: Vec<u8>,
    /// The bill of materials of the image with this layer; none if the image has none.
    pub bill: Option<Document>,
}

/// Returns the files of the layer that brings what `custom` says on top of `image`.
///
/// # Errors
/// When a file is missing or makes no sense, or two want the same place; the text names the line.
pub fn tree(custom: &Custom, image: &Image) -> Result<Tree> {
    Ok(plan::plan(custom, &facts::read(custom)?, image)?)
}

/// Packs the layer `tree`, to lie on top of `image`; all its time stamps are `time`. The image's bill of materials is in
/// the layer again, with what the layer adds.
///
/// # Errors
/// When there is no room for one more layer, or the image's bill of materials cannot be read.
pub fn pack(tree: &Tree, image: &Image, time: u32) -> Result<Baked> {
    let name = NUMBERS
        .map(|number| format!("{number}-custom.squashfs"))
        .find(|name| image.layer_names().iter().all(|known| *known < name.as_str()))
        .with_context(|| format!("adding a layer: the image has {} already", NUMBERS.len()))?;
    let bill = bill::with_layer(image, &name, tree)?;
    let tree = bill.as_ref().map_or_else(|| Ok(tree.clone()), |bill| bill::with_bill(image, tree, bill))?;
    Ok(Baked { name, squashfs: pack::squashfs(&tree, time)?, bill })
}
