//! `boot2docker-boot`: where the time of the boot went, as text, as JSON, as a picture.
//! A program of its own that only reads what PID 1 has written.

pub mod json;
pub mod plot;
pub mod table;
pub mod timeline;

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result};
use b2d_sys::contract;

/// How to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Table,
    /// For programs.
    Json,
    /// An SVG drawing.
    Plot,
}

/// Prints the boot of this machine.
///
/// # Errors
/// When PID 1 has written nothing, or something else.
pub fn run(format: Format) -> Result<()> {
    let path = contract::TIMELINE;
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let spans = timeline::parse(&text).with_context(|| format!("reading {path}"))?;
    let told = match format {
        Format::Table => table::print(&spans),
        Format::Json => json::print(&spans),
        Format::Plot => plot::draw(&spans),
    };
    io::stdout().write_all(told.as_bytes()).context("writing")
}
