//! What a configuration changes in the kernel: options, patches, the source itself.

use std::path::PathBuf;

use super::archive::Archive;
use super::raw::RawKernel;
use crate::document::{Located, Mistake, Source};

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
    pub source: Option<Archive>,
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
        let archive = raw
            .source
            .take()
            .map(|raw| Archive::check("kernel.source", (raw.url, raw.path), raw.sha256, source));
        Ok(Self {
            modules: modules.collect::<Result<_, Mistake>>()?,
            fragments: fragments.into_iter().map(|file| source.locate_path(file)).collect(),
            patches: raw.patches.take().map(|folder| source.locate_path(folder)),
            source: archive.transpose()?,
        })
    }
}
