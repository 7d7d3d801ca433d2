//! A configuration file as it is written: every key optional, and nothing looked at yet but names and types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) packages: RawPackages,
    pub(super) engine: RawEngine,
    pub(super) kernel: RawKernel,
    pub(super) tools: RawTools,
    pub(super) image: RawImage,
    pub(super) iso: RawIso,
    pub(super) build: RawBuild,
    pub(super) login: RawLogin,
    pub(super) docker: RawDocker,
    pub(super) certificates: RawCertificates,
    /// By the name or the hardware address of a card.
    pub(super) network: BTreeMap<String, RawCard>,
    pub(super) hostname: RawHostname,
    pub(super) hooks: RawHooks,
    pub(super) files: Vec<RawFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawPackages {
    pub(super) suite: Option<String>,
    pub(super) expired_index_days: Option<u32>,
    pub(super) extra: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawEngine {
    pub(super) suites: Option<Vec<String>>,
    pub(super) packages: Option<Vec<String>>,
    pub(super) archive: Option<RawEngineArchive>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawEngineArchive {
    pub(super) url: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) sha256: Spanned<String>,
    pub(super) version: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawKernel {
    pub(super) package: Option<String>,
    pub(super) append: Option<Spanned<String>>,
    pub(super) fragments: Vec<Spanned<PathBuf>>,
    pub(super) modules: Vec<Spanned<String>>,
    pub(super) patches: Option<Spanned<PathBuf>>,
    pub(super) source: Option<RawSource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) url: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) sha256: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawTools {
    pub(super) packages: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawImage {
    pub(super) groups: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawIso {
    pub(super) append: Option<String>,
    pub(super) compression_level: Option<u32>,
    pub(super) epoch: Option<u64>,
    pub(super) uefi: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawBuild {
    pub(super) post_process: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawLogin {
    pub(super) authorized_keys: Vec<Spanned<String>>,
    pub(super) password: Option<Spanned<String>>,
    pub(super) password_login: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawDocker {
    pub(super) profile: Option<Spanned<PathBuf>>,
    pub(super) environment: BTreeMap<String, Spanned<String>>,
    pub(super) extra_args: Vec<Spanned<String>>,
    pub(super) insecure_registries: Vec<Spanned<String>>,
    pub(super) daemon_json: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawCertificates {
    pub(super) files: Vec<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawCard {
    pub(super) address: Spanned<String>,
    #[serde(default)]
    pub(super) gateway: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) dns: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) search: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) ntp: Vec<Spanned<String>>,
    pub(super) mtu: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) routes: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawHostname {
    pub(super) pattern: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct RawHooks {
    pub(super) bootsync: Option<Spanned<PathBuf>>,
    pub(super) bootlocal: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) to: Spanned<PathBuf>,
    pub(super) from: Option<Spanned<PathBuf>>,
    pub(super) content: Option<String>,
    pub(super) mode: Option<Spanned<u32>>,
    pub(super) owner: Option<Spanned<String>>,
}
