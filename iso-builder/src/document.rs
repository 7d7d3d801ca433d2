//! Reading TOML files: a mistake is told as `FILE:LINE: what is wrong and what is allowed`.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

/// A mistake in a TOML file.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{}:{line}: {message}", path.display())]
pub struct Mistake {
    /// The file.
    pub path: PathBuf,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// What is wrong and what is allowed, on one line.
    pub message: String,
}

/// Parses `text`, the content of the file `path`.
///
/// # Errors
/// [`Mistake`], when the text is no TOML, has an unknown key or a value of the wrong type.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Mistake> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text[..start].matches('\n').count() + 1;
        Mistake { path: path.into(), line, message: error.message().replace('\n', ", ") }
    })
}
