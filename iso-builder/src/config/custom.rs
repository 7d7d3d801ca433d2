//! What a custom image brings, checked as far as the text alone tells.

use std::path::PathBuf;

use super::raw::{RawConfig, RawFile};
use super::words;
use crate::document::{Located, Mistake, Place, Source};
use crate::tree::GuestPath;

/// Highest value of permission bits.
const MODE_MAX: u32 = 0o7777;

/// Every sensible mode has it; a decimal number that was meant to be octal, such as 644 or 755, lacks it.
const OWNER_READS: u32 = 0o400;

/// What is added to an image, whether it is built or exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Custom {
    /// Public keys that may log in as `docker`.
    pub authorized_keys: Vec<Located<String>>,
    /// Whether SSH takes a password. None: as it is.
    pub password_login: Option<bool>,
    /// Hash of the password of `docker`. None: as it is.
    pub password: Option<String>,
    /// Shell code that sets the daemon's variables.
    pub profile: Option<Located<PathBuf>>,
    /// Exported variables, such as proxies.
    pub environment: Vec<(String, String)>,
    /// dockerd's further arguments.
    pub extra_args: Vec<String>,
    /// Registries to be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// dockerd's configuration file.
    pub daemon_json: Option<Located<PathBuf>>,
    /// Certificate authorities, PEM.
    pub certificates: Vec<Located<PathBuf>>,
    /// Name or hardware address of a card, and the lines of its file.
    pub cards: Vec<(String, String)>,
    /// The machine's name, or a pattern for it.
    pub hostname: Option<String>,
    /// Hook before Docker.
    pub bootsync: Option<Located<PathBuf>>,
    /// Hook after Docker.
    pub bootlocal: Option<Located<PathBuf>>,
    /// Files and folders.
    pub files: Vec<FileEntry>,
    /// Words for the kernel's command line.
    pub append: Option<String>,
}

/// A file or folder to put into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where in the image.
    pub to: Located<GuestPath>,
    /// What.
    pub from: Origin,
    /// Permission bits of the file, or of each file in the folder. None: 0755 if it is executable, else 0644.
    pub mode: Option<u32>,
    /// `USER:GROUP`, names or numbers. None: root.
    pub owner: Option<Located<String>>,
}

/// Where the content of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file or folder of the host.
    Host(Located<PathBuf>),
    /// The configuration itself.
    Text(String),
}

impl Custom {
    /// Checks what `raw`, the content of `source`, says of it.
    pub(super) fn check(raw: RawConfig, source: &Source<'_>) -> Result<Self, Mistake> {
        let path = |value: Option<_>| value.map(|value| source.locate_path(value));
        let checked = |value, check: fn(&Located<String>) -> Result<(), Mistake>| {
            let located: Located<String> = source.locate(value);
            check(&located).map(|()| located)
        };
        let all = |values: Vec<_>, check: fn(&Located<String>) -> Result<(), Mistake>| {
            values.into_iter().map(|value| checked(value, check)).collect::<Result<Vec<_>, Mistake>>()
        };
        let plain = |values: Vec<Located<String>>| values.into_iter().map(|value| value.value).collect();
        let one = |value: Option<_>, check| value.map(|value| checked(value, check)).transpose();
        let environment = raw.docker.environment.into_iter().map(|(name, value)| {
            let value = checked(value, words::check_variable)?;
            words::check_variable_name(&name, &value.place)?;
            Ok((name, value.value))
        });
        let cards = raw.network.into_iter().map(|(name, card)| words::card(name, card, source));
        Ok(Self {
            authorized_keys: all(raw.login.authorized_keys, words::check_key)?,
            password_login: raw.login.password_login,
            password: one(raw.login.password, words::check_hash)?.map(|hash| hash.value),
            profile: path(raw.docker.profile),
            environment: environment.collect::<Result<_, Mistake>>()?,
            extra_args: plain(all(raw.docker.extra_args, words::check_argument)?),
            insecure_registries: plain(all(raw.docker.insecure_registries, words::check_registry)?),
            daemon_json: path(raw.docker.daemon_json),
            certificates: raw.certificates.files.into_iter().map(|file| source.locate_path(file)).collect(),
            cards: cards.collect::<Result<_, Mistake>>()?,
            hostname: one(raw.hostname.pattern, words::check_pattern)?.map(|pattern| pattern.value),
            bootsync: path(raw.hooks.bootsync),
            bootlocal: path(raw.hooks.bootlocal),
            files: raw.files.into_iter().map(|file| entry(file, source)).collect::<Result<_, Mistake>>()?,
            append: one(raw.kernel.append, words::check_append)?.map(|append| append.value),
        })
    }

    /// Says whether it needs a layer, rather than a change of the command line alone, or nothing.
    #[must_use]
    pub fn has_layer(&self) -> bool {
        Self { append: None, ..self.clone() } != Self::default()
    }
}

fn entry(file: RawFile, source: &Source<'_>) -> Result<FileEntry, Mistake> {
    let to = source.locate(file.to);
    if !to.value.is_absolute() || to.value.components().any(|part| part.as_os_str() == "..") {
        return Err(to.mistake(format!(
            "`{}` is no path in the image; allowed are absolute ones without `..`, such as /etc/motd",
            to.value.display()
        )));
    }
    let from = match (file.from, file.content) {
        (Some(from), None) => Origin::Host(source.locate_path(from)),
        (None, Some(content)) => Origin::Text(content),
        _ => {
            return Err(
                to.mistake("a [[files]] entry has either `from`, a file or folder, or `content`, a text")
            );
        }
    };
    let mode = file.mode.map(|mode| source.locate(mode));
    if let Some(mode) = &mode {
        check_mode(mode.value, &mode.place)?;
    }
    let to = to.with(GuestPath::new(&to.value));
    let owner = file.owner.map(|owner| source.locate(owner));
    Ok(FileEntry { to, from, mode: mode.map(|mode| mode.value), owner })
}

fn check_mode(mode: u32, place: &Place) -> Result<(), Mistake> {
    if mode > MODE_MAX || mode & OWNER_READS == 0 {
        return Err(place.mistake(format!(
            "mode is {mode}, which is {mode:#o}; allowed are octal numbers from 0o400 to 0o7777 that let the owner read, \
             such as 0o644"
        )));
    }
    Ok(())
}
