//! Reading TOML files: a mistake is told as `FILE:LINE: what is wrong and what is allowed`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::Spanned;

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

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// Its line, from 1.
    pub line: usize,
}

impl Place {
    /// Returns the mistake that is made here.
    pub fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { path: self.path.to_path_buf(), line: self.line, message: message.into() }
    }
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> Located<T> {
    /// Returns another value that stands at the same place.
    pub fn with<U>(&self, value: U) -> Located<U> {
        Located { value, place: self.place.clone() }
    }

    /// Returns the mistake that is made here.
    pub fn mistake(&self, message: impl Into<String>) -> Mistake {
        self.place.mistake(message)
    }
}

/// A file that is being read, to tell the places of what is in it.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    path: Arc<Path>,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// Returns the file `path` with the content `text`.
    #[must_use]
    pub fn new(path: &Path, text: &'a str) -> Self {
        Self { path: path.into(), text }
    }

    /// Returns the place that begins at a byte of the text.
    #[must_use]
    pub fn place(&self, span: &Range<usize>) -> Place {
        Place { path: Arc::clone(&self.path), line: line_of(self.text, span.start) }
    }

    /// Returns a value with its place.
    pub fn locate<T>(&self, value: Spanned<T>) -> Located<T> {
        Located { place: self.place(&value.span()), value: value.into_inner() }
    }

    /// Returns the values of a list, each with its place.
    pub fn locate_all<T>(&self, values: Vec<Spanned<T>>) -> Vec<Located<T>> {
        values.into_iter().map(|value| self.locate(value)).collect()
    }

    /// Returns a path with its place; one that is not absolute begins in the folder of this file.
    #[must_use]
    pub fn locate_path(&self, value: Spanned<PathBuf>) -> Located<PathBuf> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let located = self.locate(value);
        located.with(folder.join(&located.value))
    }
}

/// Parses `text`, the content of the file `path`.
///
/// # Errors
/// [`Mistake`], when the text is no TOML, has an unknown key or a value of the wrong type.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Mistake> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = line_of(text, start);
        Mistake { path: path.into(), line, message: error.message().replace('\n', ", ") }
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}
