//! Archives that a configuration names: by what is at an address, or by a file, and always by digest.

use std::path::PathBuf;

use toml::Spanned;

use super::raw::RawEngineArchive;
use crate::document::{Located, Mistake, Source};

/// Digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// Longest version. The label of an ISO has 32 bytes, `b2d-v` included.
const VERSION_BYTES: usize = 27;

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub from: Located<ArchivePlace>,
    /// Its digest, in small letters.
    pub sha256: String,
}

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchivePlace {
    /// On the network.
    Url(String),
    /// On the host.
    File(PathBuf),
}

/// An engine that is no package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineArchive {
    /// Its programs.
    pub archive: Archive,
    /// Its version, for the image's identity.
    pub version: String,
}

impl Archive {
    /// Checks what the table `key` of the file `source` says.
    pub(super) fn check(
        key: &str,
        (url, path): (Option<Spanned<String>>, Option<Spanned<PathBuf>>),
        sha256: Spanned<String>,
        source: &Source<'_>,
    ) -> Result<Self, Mistake> {
        let sha256 = source.locate(sha256);
        let digest = sha256.value.to_ascii_lowercase();
        if digest.len() != DIGEST_DIGITS || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(sha256.mistake(format!(
                "sha256 is {:?}; allowed are {DIGEST_DIGITS} hexadecimal digits, as sha256sum prints them",
                sha256.value
            )));
        }
        let from = match (url, path) {
            (Some(url), None) => {
                let url = source.locate(url);
                if !["http://", "https://"].iter().any(|scheme| url.value.starts_with(scheme)) {
                    let message = format!(
                        "url is {:?}; allowed is one that begins with https:// or http://",
                        url.value
                    );
                    return Err(url.mistake(message));
                }
                url.with(ArchivePlace::Url(url.value.clone()))
            }
            (None, Some(path)) => {
                let path = source.locate_path(path);
                path.with(ArchivePlace::File(path.value.clone()))
            }
            _ => return Err(sha256.mistake(format!("{key} has either `url` or `path`"))),
        };
        Ok(Self { from, sha256: digest })
    }
}

impl EngineArchive {
    /// Checks what the file `source` says.
    pub(super) fn check(raw: RawEngineArchive, source: &Source<'_>) -> Result<Self, Mistake> {
        let version = source.locate(raw.version);
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if !version.value.starts_with(|c: char| c.is_ascii_digit())
            || version.value.len() > VERSION_BYTES
            || !version.value.chars().all(is_fit)
        {
            return Err(version.mistake(format!(
                "version is {:?}; allowed is one such as 28.5.2, at most {VERSION_BYTES} letters, digits, '.' and '-'",
                version.value
            )));
        }
        let archive = Archive::check("engine.archive", (raw.url, raw.path), raw.sha256, source)?;
        Ok(Self { archive, version: version.value })
    }
}
