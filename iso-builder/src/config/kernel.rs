//! What a configuration changes in the kernel: options, patches, the source itself.

use std::path::PathBuf;

use super::raw::{RawKernel, RawSource};
use crate::document::{Located, Mistake, Source};

/// Digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// Changes to the kernel of `kernel-config/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelChanges {
    /// Files of options; they come before those of the project.
    pub fragments: Vec<Located<PathBuf>>,
    /// Options to be built as modules, with `CONFIG_`.
    pub modules: Vec<Located<String>>,
    /// Folder of patches with a file `series`, applied after the project's.
    pub patches: Option<Located<PathBuf>>,
    /// The source, in place of the package.
    pub source: Option<KernelSource>,
}

/// A kernel's source archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSource {
    /// Where it is.
    pub from: Located<SourcePlace>,
    /// Its digest, in small letters.
    pub sha256: String,
}

/// Where a source archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlace {
    /// On the network.
    Url(String),
    /// On the host.
    File(PathBuf),
}

impl KernelChanges {
    /// Checks what the file `source` says of the kernel.
    pub(super) fn check(raw: &mut RawKernel, source: &Source<'_>) -> Result<Self, Mistake> {
        let fragments = std::mem::take(&mut raw.fragments);
        let modules = std::mem::take(&mut raw.modules).into_iter().map(|name| {
            let name = source.locate(name);
            let symbol = name.value.strip_prefix("CONFIG_").unwrap_or(&name.value);
            if symbol.is_empty() || !symbol.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(name.mistake(format!("{:?} is no option; allowed is CONFIG_X or X", name.value)));
            }
            Ok(name.with(format!("CONFIG_{symbol}")))
        });
        Ok(Self {
            modules: modules.collect::<Result<_, Mistake>>()?,
            fragments: fragments.into_iter().map(|file| source.locate_path(file)).collect(),
            patches: raw.patches.take().map(|folder| source.locate_path(folder)),
            source: raw.source.take().map(|archive| check_source(archive, source)).transpose()?,
        })
    }
}

fn check_source(raw: RawSource, source: &Source<'_>) -> Result<KernelSource, Mistake> {
    let sha256 = source.locate(raw.sha256);
    let digest = sha256.value.to_ascii_lowercase();
    if digest.len() != DIGEST_DIGITS || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(sha256.mistake(format!(
            "sha256 is {:?}; allowed are {DIGEST_DIGITS} hexadecimal digits, as sha256sum prints them",
            sha256.value
        )));
    }
    let from = match (raw.url, raw.path) {
        (Some(url), None) => {
            let url = source.locate(url);
            if !["http://", "https://"].iter().any(|scheme| url.value.starts_with(scheme)) {
                let message =
                    format!("url is {:?}; allowed is one that begins with https:// or http://", url.value);
                return Err(url.mistake(message));
            }
            url.with(SourcePlace::Url(url.value.clone()))
        }
        (None, Some(path)) => {
            let path = source.locate_path(path);
            path.with(SourcePlace::File(path.value.clone()))
        }
        _ => return Err(sha256.mistake("kernel.source has either `url` or `path`")),
    };
    Ok(KernelSource { from, sha256: digest })
}
