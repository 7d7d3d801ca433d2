//! The image below a custom layer, as far as the layer depends on it.

use std::path::Path;

use anyhow::{Context, Result};

use crate::squashfs::{Found, Layer};
use crate::tree::GuestPath;

/// The layers of an image, the lowest first.
#[derive(Debug)]
pub struct Image {
    layers: Vec<Layer>,
}

impl Image {
    /// Returns the image made of `layers`, the lowest first.
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Self {
        Self { layers }
    }

    /// Returns the names of its layers, the lowest first.
    #[must_use]
    pub fn layer_names(&self) -> Vec<&str> {
        self.layers.iter().map(|layer| layer.name.as_str()).collect()
    }

    /// Returns the time stamp of the image. Unit: seconds since 1970.
    #[must_use]
    pub fn time(&self) -> u32 {
        self.layers.iter().map(Layer::time).max().unwrap_or_default()
    }

    /// Returns what is at a path, as the highest layer has it.
    #[must_use]
    pub fn find(&self, path: &GuestPath) -> Option<Found> {
        self.layers.iter().rev().find_map(|layer| layer.find(path.as_path()))
    }

    /// Returns the text of a file; none if there is no such file.
    ///
    /// # Errors
    /// When it cannot be unpacked.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        for layer in self.layers.iter().rev() {
            if layer.find(Path::new(path)).is_some() {
                let bytes = layer.read(path)?;
                return Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        Ok(None)
    }

    /// As [`Image::text`] for a file that every image of ours has.
    ///
    /// # Errors
    /// When it is not there.
    pub fn needed_text(&self, path: &str) -> Result<String> {
        self.text(path)?.with_context(|| format!("looking for {path}: the image has no such file"))
    }
}
