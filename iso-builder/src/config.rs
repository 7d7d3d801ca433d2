//! What to build: the built-in defaults, overlaid by one TOML file.
//!
//! [`RawConfig`] is a file as written, every key optional; [`Config`] has a value for each that has a default.
//! [`Custom`] is the part of it that can be baked into an ISO that exists.

mod archive;
mod custom;
mod kernel;
mod raw;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::DeTable;

pub use archive::{Archive, ArchivePlace, EngineArchive};
pub use custom::{Custom, FileEntry, Origin};
pub use kernel::KernelChanges;

use self::raw::RawConfig;
use crate::document::{self, Located, Mistake, Source};

/// The defaults, in the same format as a user's file.
const DEFAULT: &str = include_str!("default.toml");

/// Environment variable that overrides `iso.epoch`.
const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Tables of what can be baked into an ISO that exists.
const BAKED: [&str; 7] = ["certificates", "docker", "files", "hooks", "hostname", "login", "network"];

/// The one key of another table that can.
const BAKED_KEY: (&str, &str) = ("kernel", "append");

/// zstd's range of levels.
const COMPRESSION_LEVELS: std::ops::RangeInclusive<u32> = 1..=22;

/// The complete, validated configuration of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Debian suite of the base.
    pub suite: String,
    /// For how long an expired package index is still used. Units: days.
    pub expired_index_days: u32,
    /// Suites to try for the engine, in order.
    pub engine_suites: Vec<String>,
    /// The engine's packages.
    pub engine_packages: Vec<String>,
    /// Programs that take the place of the engine's packages.
    pub engine_archive: Option<EngineArchive>,
    /// Package that holds the kernel's source.
    pub kernel_package: String,
    /// Changes to the kernel.
    pub kernel: KernelChanges,
    /// Packages of which all files go into the image.
    pub extra_packages: Vec<String>,
    /// Packages of the tools tree, without those that they depend on.
    pub tools_packages: Vec<String>,
    /// Groups of `rootfs/image.toml` that are part of the image.
    pub groups: Vec<String>,
    /// Kernel command line, before what [`Custom::append`] adds.
    pub append: String,
    /// Whether UEFI firmware can start the ISO.
    pub uefi: bool,
    /// Program that may change the files of `custom` before they are packed.
    pub post_process: Option<Located<PathBuf>>,
    /// What is baked in.
    pub custom: Custom,
    /// zstd level of the packages' layer.
    pub compression_level: u32,
    /// Time stamp of everything in the ISO. Units: seconds since 1970.
    pub epoch: u64,
}

/// Why a configuration is refused. Every variant names the place and the fix.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading the configuration {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The text is no TOML, has an unknown key or a value of the wrong type.
    #[error(transparent)]
    Invalid(#[from] Mistake),
    /// A value is outside its range.
    #[error("{}: {key} is {value}, allowed is {allowed}", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

/// Source: reproducible-builds.org, SOURCE_DATE_EPOCH: a decimal number of seconds; empty counts as unset.
fn parse_epoch(text: &str) -> Result<u64, ConfigError> {
    text.parse().map_err(|_| ConfigError::OutOfRange {
        path: "the environment".into(),
        key: EPOCH_VARIABLE,
        value: format!("`{text}`"),
        allowed: "a number of seconds since 1970".into(),
    })
}

impl Config {
    /// Returns the defaults, overlaid by `file` when there is one.
    ///
    /// # Errors
    /// When the file cannot be read, has unknown keys, wrong types or values out of range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config = match file {
            None => Self::overlay(Path::new("default.toml"), "")?,
            Some(path) => Self::overlay(path, &read(path)?)?,
        };
        if let Some(value) = std::env::var_os(EPOCH_VARIABLE).filter(|value| !value.is_empty()) {
            config.epoch = parse_epoch(&value.to_string_lossy())?;
        }
        Ok(config)
    }

    /// Returns the kernel command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        [Some(&self.append), self.custom.append.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn overlay(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut user: RawConfig = document::parse(path, text)?;
        let source = Source::new(path, text);
        let default: RawConfig = document::parse(Path::new("default.toml"), DEFAULT)?;
        let engine = user.engine.archive.take().map(|raw| EngineArchive::check(raw, &source));
        let set = "default.toml sets every key";
        let config = Self {
            suite: user.packages.suite.take().or(default.packages.suite).expect(set),
            expired_index_days: user
                .packages
                .expired_index_days
                .or(default.packages.expired_index_days)
                .expect(set),
            engine_suites: user.engine.suites.take().or(default.engine.suites).expect(set),
            engine_packages: user.engine.packages.take().or(default.engine.packages).expect(set),
            engine_archive: engine.transpose()?,
            kernel_package: user.kernel.package.take().or(default.kernel.package).expect(set),
            tools_packages: user.tools.packages.take().or(default.tools.packages).expect(set),
            groups: user.image.groups.take().or(default.image.groups).expect(set),
            append: user.iso.append.take().or(default.iso.append).expect(set),
            uefi: user.iso.uefi.or(default.iso.uefi).expect(set),
            extra_packages: user.packages.extra.take().or(default.packages.extra).expect(set),
            kernel: KernelChanges::check(&mut user.kernel, &source)?,
            post_process: user.build.post_process.take().map(|program| source.locate_path(program)),
            compression_level: user.iso.compression_level.or(default.iso.compression_level).expect(set),
            epoch: user.iso.epoch.or(default.iso.epoch).expect(set),
            custom: Custom::check(user, &source)?,
        };
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse = |key, value: &dyn fmt::Display, allowed: &str| {
            let (value, allowed) = (value.to_string(), allowed.to_owned());
            Err(ConfigError::OutOfRange { path: path.into(), key, value, allowed })
        };
        if !COMPRESSION_LEVELS.contains(&self.compression_level) {
            return refuse("iso.compression-level", &self.compression_level, "1 to 22");
        }
        if self.engine_suites.is_empty() {
            return refuse("engine.suites", &"empty", "at least one suite");
        }
        let suites = self.engine_suites.iter().chain([&self.suite]);
        for suite in suites {
            if suite.is_empty() || !suite.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return refuse("a suite", &format!("`{suite}`"), "a name such as trixie");
            }
        }
        if self.append.contains(['\n', '\r', '"']) {
            return refuse("iso.append", &format!("{:?}", self.append), "one line without double quotes");
        }
        Ok(())
    }
}

impl Custom {
    /// Returns what `file` bakes into an ISO that exists.
    ///
    /// # Errors
    /// As [`Config::load`], and when the file has keys that only a build can heed.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read(file)?;
        let raw: RawConfig = document::parse(file, &text)?;
        let source = Source::new(file, &text);
        // Parsed a second time for the places of keys; whatever cannot be parsed was found the first time.
        let document = DeTable::parse(&text).map(toml::Spanned::into_inner).unwrap_or_default();
        for (key, value) in &document {
            let table: &str = key.get_ref();
            let is_of_build = |name: &&toml::Spanned<Cow<'_, str>>| (table, &**name.get_ref()) != BAKED_KEY;
            let of_build = match value.get_ref().as_table() {
                _ if BAKED.contains(&table) => None,
                Some(keys) => keys.keys().find(is_of_build),
                None => Some(key),
            };
            if let Some(name) = of_build {
                let message = format!(
                    "{table}.{} takes a build; in an ISO that exists allowed are {}, kernel.append",
                    name.get_ref(),
                    BAKED.join(", ")
                );
                return Err(source.place(&name.span()).mistake(message).into());
            }
        }
        Ok(Self::check(raw, &source)?)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(text: &str) -> Result<Config, String> {
        Config::overlay(Path::new("my.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_complete_and_a_file_changes_only_what_it_names() {
        let default = overlay("").unwrap();
        let changed = overlay("[iso]\ncompression-level = 3\n").unwrap();
        assert_eq!(changed, Config { compression_level: 3, ..default });
    }

    #[test]
    fn mistakes_name_file_line_and_what_is_allowed() {
        let cases = [
            (
                "unknown key",
                "[iso]\n\ncompresion = 3\n",
                "my.toml:3: unknown field `compresion`, expected one of `append`, `compression-level`, `epoch`, \
                 `uefi`",
            ),
            (
                "unknown table",
                "[isos]\n",
                "my.toml:1: unknown field `isos`, expected one of `packages`, `engine`, `kernel`, `tools`, `image`, `iso`, \
                 `build`, `login`, `docker`, `certificates`, `network`, `hostname`, `hooks`, `files`",
            ),
            (
                "wrong type",
                "[iso]\nepoch = \"now\"\n",
                "my.toml:2: invalid type: string \"now\", expected u64",
            ),
            (
                "out of range",
                "[iso]\ncompression-level = 99\n",
                "my.toml: iso.compression-level is 99, allowed is 1 to 22",
            ),
            (
                "bad suite",
                "[packages]\nsuite = \"a/b\"\n",
                "my.toml: a suite is `a/b`, allowed is a name such as trixie",
            ),
        ];
        for (name, text, expected) in cases {
            assert_eq!(overlay(text), Err(expected.to_owned()), "{name}");
        }
    }

    #[test]
    fn an_epoch_that_is_no_number_is_refused() {
        assert_eq!(parse_epoch("1700000000"), Ok(1_700_000_000));
        let error = parse_epoch("yesterday").unwrap_err().to_string();
        let expected =
            "the environment: SOURCE_DATE_EPOCH is `yesterday`, allowed is a number of seconds since 1970";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/my.toml"))).unwrap_err().to_string();
        assert!(error.starts_with("reading the configuration /nowhere/my.toml: No such file"), "{error}");
    }
}
