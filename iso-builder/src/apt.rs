//! The host's `apt-get` with private state: it resolves and downloads for suites of our own choice.
//!
//! Its configuration, lists, status and cache all lie in one folder of ours, so that nothing of the
//! host's package database or cache is read or changed.
//! Source: apt.conf(5), `APT_CONFIG`; apt-get(8), `--print-uris`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use thiserror::Error;

use crate::lock::{Archive, LockedPackage, PackageSet};
use crate::mirror::Mirror;
use crate::{run, step};

/// Downloads one file given by its URL, checking nothing: the lock's digest is checked afterwards.
pub(crate) const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Suites that have no security suite of their own.
const WITHOUT_SECURITY: [&str; 4] = ["forky", "testing", "sid", "unstable"];

/// Why a download failed, as far as the builder reacts to it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DownloadError {
    /// The mirror answers but no longer has this version.
    #[error("{url} is no longer on the mirror")]
    Gone {
        /// The package.
        name: String,
        /// Where it was.
        url: String,
    },
    /// The mirror cannot be reached, or anything else.
    #[error("downloading {url}: {reason}")]
    Failed {
        /// What was asked for.
        url: String,
        /// apt's own words.
        reason: String,
    },
}

/// apt with private state for one suite.
#[derive(Debug)]
pub struct Apt<'a> {
    folder: PathBuf,
    suite: &'a str,
    mirror: &'a Mirror,
}

impl<'a> Apt<'a> {
    /// Prepares the private state of `suite` below `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(folder: &Path, suite: &'a str, mirror: &'a Mirror) -> Result<Self> {
        for name in ["lists/partial", "archives/partial", "empty"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        }
        step::write_atomically(&folder.join("status"), b"")?;
        step::write_atomically(&folder.join("sources.list"), sources(suite, mirror).as_bytes())?;
        step::write_atomically(&folder.join("apt.conf"), apt_conf(folder, mirror).as_bytes())?;
        step::write_atomically(&folder.join("preferences"), b"")?;
        Ok(Self { folder: folder.to_path_buf(), suite, mirror })
    }

    /// Fetches the suite's signed index. Returns how many days ago it expired, if it did.
    ///
    /// An index is signed for some days only. One that expired not longer than `grace_days` ago is used all
    /// the same: a mirror that lags is no attack, and the lock still decides what goes into the image.
    ///
    /// # Errors
    /// When the mirror cannot be reached or its signature cannot be checked; the text says what to do.
    pub fn update(&self, grace_days: u32) -> Result<Option<u32>> {
        let update = |more: &[&str]| run::output(self.command("apt-get").args(["-q", "update"]).args(more));
        let Err(error) = update(&[]) else { return Ok(None) };
        let words = format!("{error:#}");
        let expired = days_expired(&words);
        if let Some(days) = expired
            && days <= grace_days
        {
            update(&["-o", "Acquire::Check-Valid-Until=false"])
                .with_context(|| format!("reading the expired index of suite {}", self.suite))?;
            return Ok(expired);
        }
        let (main, suite) = (&self.mirror.main, self.suite);
        if words.contains("NO_PUBKEY") || words.contains("Missing key") {
            let keyring = self
                .mirror
                .keyring
                .as_ref()
                .map_or("the host's trusted.gpg.d".into(), |path| path.display().to_string());
            bail!(
                "checking the signature of suite {suite}: {keyring} lacks its key; \
                 install a newer debian-archive-keyring package or give one with --keyring FILE"
            );
        }
        bail!("reading suite {suite} from the mirror {main}: {}", apt_reason(&words));
    }

    /// Keeps these packages at their version for as long as the mirror's index has it.
    ///
    /// # Errors
    /// When the wish cannot be written down.
    pub fn prefer(&self, packages: &[&LockedPackage]) -> Result<()> {
        step::write_atomically(&self.folder.join("preferences"), preferences(packages).as_bytes())
    }

    /// Returns `names` and all packages they depend on, as apt would install them on an empty system.
    ///
    /// # Errors
    /// When a package does not exist or the set cannot be installed together.
    pub fn resolve(&self, set: PackageSet, names: &[String]) -> Result<Vec<LockedPackage>> {
        let mut command = self.command("apt-get");
        command.args(["-qq", "-y", "--print-uris", "-o", "Acquire::ForceHash=SHA256", "install"]).args(names);
        let printed = run::text(&mut command)
            .with_context(|| format!("resolving the {} packages in suite {}", set.name(), self.suite))?;
        let lines = printed.lines().filter(|line| line.starts_with('\''));
        let packages: Vec<_> = lines.map(|line| self.locked(set, line)).collect::<Result<_>>()?;
        if packages.is_empty() {
            bail!("resolving the {} packages in suite {}: apt-get named none", set.name(), self.suite);
        }
        Ok(packages)
    }

    /// Returns upstream's archive of the newest source package `name`; its version is upstream's.
    ///
    /// # Errors
    /// When the suite has no such source, or it is not one archive of upstream's and Debian's changes.
    pub fn source(&self, name: &str) -> Result<LockedPackage> {
        let mut command = self.command("apt-get");
        command.args(["-qq", "--print-uris", "--download-only", "-o", "Acquire::ForceHash=SHA256", "source"]);
        let printed = run::text(command.arg(name))
            .with_context(|| format!("finding the source of {name} in suite {}", self.suite))?;
        let files: Vec<_> = printed.lines().map(|line| self.file(line)).collect::<Result<_>>()?;
        files
            .into_iter()
            .find_map(|file| file.into_source(name))
            .with_context(|| format!("finding upstream's archive of {name} in suite {}", self.suite))
    }

    fn locked(&self, set: PackageSet, line: &str) -> Result<LockedPackage> {
        self.file(line)?
            .into_package(set)
            .with_context(|| format!("understanding the file's name in apt-get's line `{line}`"))
    }

    fn file(&self, line: &str) -> Result<ArchiveFile> {
        parse_uri_line(line, &self.mirror.main, &self.mirror.security)
            .with_context(|| format!("understanding apt-get's line `{line}`"))
    }

    /// Downloads a package to `file`, which is left incomplete when this fails.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn download(&self, package: &LockedPackage, file: &Path) -> Result<(), DownloadError> {
        let url = url(self.mirror, package);
        let mut command = self.command(APT_HELPER);
        command.arg("download-file").arg(&url).arg(file);
        run::output(&mut command).map(drop).map_err(|error| {
            let words = format!("{error:#}");
            if ["404", "File not found", "does not exist"].iter().any(|sign| words.contains(sign)) {
                DownloadError::Gone { name: package.name.clone(), url }
            } else {
                DownloadError::Failed { url, reason: apt_reason(&words) }
            }
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .env_remove("DEBIAN_FRONTEND");
        command
    }
}

/// Returns where a locked package is on a mirror.
fn url(mirror: &Mirror, package: &LockedPackage) -> String {
    let base = match package.archive {
        Archive::Main => &mirror.main,
        Archive::Security => &mirror.security,
    };
    // Of the characters in pool paths only these are special in a URL.
    format!("{base}/{}", package.path.replace('%', "%25").replace('+', "%2b").replace('~', "%7e"))
}

fn sources(suite: &str, mirror: &Mirror) -> String {
    let signed =
        mirror.keyring.as_ref().map_or(String::new(), |path| format!(" signed-by={}", path.display()));
    let Mirror { main, security, .. } = mirror;
    let mut places = vec![format!("[arch=amd64{signed}] {main} {suite} main")];
    if !WITHOUT_SECURITY.contains(&suite) {
        places.push(format!("[arch=amd64{signed}] {main} {suite}-updates main"));
        places.push(format!("[arch=amd64{signed}] {security} {suite}-security main"));
    }
    places.iter().map(|place| format!("deb {place}\ndeb-src {place}\n")).collect()
}

/// Source: apt_preferences(5): above 1000 a version is taken even when a newer one is there.
fn preferences(packages: &[&LockedPackage]) -> String {
    let pin = |package: &&LockedPackage| {
        format!("Package: {}\nPin: version {}\nPin-Priority: 1001\n", package.name, package.version)
    };
    packages.iter().map(pin).collect::<Vec<_>>().join("\n")
}

fn apt_conf(folder: &Path, mirror: &Mirror) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let settings = [
        ("APT::Architecture", "amd64".into()),
        ("APT::Architectures", "amd64".into()),
        ("APT::Install-Recommends", "false".into()),
        ("APT::Sandbox::User", "root".into()), // the cache is the user's; _apt could not write it
        // Else an index that cannot be fetched is a mere warning.
        ("APT::Update::Error-Mode", "any".into()),
        ("Acquire::Languages", "none".into()),
        ("Acquire::Retries", "3".into()),
        ("Acquire::http::Timeout", "30".into()),
        ("Dir::Etc::main", "/dev/null".into()),
        ("Dir::Etc::parts", at("empty")),
        ("Dir::Etc::preferences", at("preferences")),
        ("Dir::Etc::preferencesparts", at("empty")),
        ("Dir::Etc::sourcelist", at("sources.list")),
        ("Dir::Etc::sourceparts", at("empty")),
        ("Dir::State", at("")),
        ("Dir::State::lists", at("lists")),
        ("Dir::State::status", at("status")),
        ("Dir::Cache", at("")),
        ("Dir::Cache::archives", at("archives")),
    ];
    let mut text: String = settings.iter().map(|(key, value)| format!("{key} \"{value}\";\n")).collect();
    text.extend(mirror.transport.iter().map(|line| format!("{line}\n")));
    text
}

/// A file of the mirror, as `apt-get --print-uris` names it.
#[derive(Debug, PartialEq, Eq)]
struct ArchiveFile {
    name: String,
    archive: Archive,
    path: String,
    size: u64,
    sha256: String,
}

impl ArchiveFile {
    /// Understands the name as NAME_VERSION_ARCH.deb.
    fn into_package(self, set: PackageSet) -> Option<LockedPackage> {
        let mut parts = self.name.strip_suffix(".deb")?.splitn(3, '_');
        let (name, version, _) = (parts.next()?, parts.next()?, parts.next()?);
        Some(LockedPackage {
            set,
            name: name.to_owned(),
            version: percent_decode(version)?,
            archive: self.archive,
            path: self.path,
            size: self.size,
            sha256: self.sha256,
            groups: Vec::new(),
        })
    }

    /// Understands the name as NAME_VERSION.orig.tar.*, and not as that of the signature beside it.
    fn into_source(self, name: &str) -> Option<LockedPackage> {
        let (version, kind) = self.name.strip_prefix(name)?.strip_prefix('_')?.split_once(".orig.tar.")?;
        let version = percent_decode(version)?;
        (!kind.contains('.')).then(|| LockedPackage {
            set: PackageSet::Source,
            name: name.to_owned(),
            version,
            archive: self.archive,
            path: self.path.clone(),
            size: self.size,
            sha256: self.sha256.clone(),
            groups: Vec::new(),
        })
    }
}

/// Parses `'URL' FILE SIZE SHA256:DIGEST`.
fn parse_uri_line(line: &str, main: &str, security: &str) -> Option<ArchiveFile> {
    let (url, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut fields = rest.split(' ');
    let (name, size, hash) = (fields.next()?, fields.next()?, fields.next()?);
    // One base may begin with the other: the longer match decides.
    let below = |base: &str| url.strip_prefix(base)?.strip_prefix('/').map(percent_decode);
    let (archive, path) = match (below(main), below(security)) {
        (_, Some(path)) => (Archive::Security, path?),
        (Some(path), None) => (Archive::Main, path?),
        (None, None) => return None,
    };
    let sha256 = hash.strip_prefix("SHA256:")?.to_owned();
    Some(ArchiveFile { name: name.to_owned(), archive, path, size: size.parse().ok()?, sha256 })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        decoded.push(u8::from_str_radix(part.get(..2)?, 16).ok()? as char);
        decoded.push_str(&part[2..]);
    }
    Some(decoded)
}

/// Returns the first of apt's `E:`, `Err:` or `W:` lines, the one that names the cause.
fn apt_reason(words: &str) -> String {
    let cause = |prefix: &str| words.lines().map(str::trim).find(|line| line.starts_with(prefix));
    ["E: Failed", "W: Failed", "E:", "Err:"]
        .iter()
        .find_map(|prefix| cause(prefix))
        .unwrap_or(words)
        .to_owned()
}

/// Finds `(invalid since 14d 16h 54min 56s)` in apt's words and returns the days.
fn days_expired(words: &str) -> Option<u32> {
    let (_, since) = words.split_once("(invalid since ")?;
    let first = since.split([' ', ')']).next()?;
    Some(first.strip_suffix('d').map_or(0, |days| days.parse().unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "5e841d0723a657fd8bc2e9e1a085d24f47fcb3e4a0f94762e6c38b429f22fbb1";

    fn mirror() -> Mirror {
        Mirror {
            main: "http://m.test/debian".into(),
            security: "http://m.test/debian-security".into(),
            keyring: None,
            transport: vec![],
        }
    }

    #[test]
    fn uri_lines_become_locked_packages_and_back() {
        let cases = [
            (
                "http://m.test/debian/pool/main/q/qemu_10%2bds_amd64.deb",
                Archive::Main,
                "pool/main/q/qemu_10+ds_amd64.deb",
            ),
            ("http://m.test/debian-security/pool/l_1_all.deb", Archive::Security, "pool/l_1_all.deb"),
        ];
        for (address, archive, path) in cases {
            let line = format!("'{address}' qemu_1%3a10+ds-0_amd64.deb 42 SHA256:{SHA}");
            let file = parse_uri_line(&line, &mirror().main, &mirror().security).unwrap();
            let package = file.into_package(PackageSet::Tools).unwrap();
            assert_eq!((package.name.as_str(), package.version.as_str()), ("qemu", "1:10+ds-0"));
            assert_eq!((package.archive, package.path.as_str(), package.size), (archive, path, 42));
            assert_eq!(url(&mirror(), &package), address);
        }
    }

    #[test]
    fn lines_of_another_shape_are_refused() {
        let bad = [
            "'http://elsewhere.test/x_1_all.deb' x_1_all.deb 42 SHA256:00",
            "'http://m.test/debian/x_1_all.deb' x_1_all.deb 42 MD5Sum:00",
            "'http://m.test/debian/x_1_all.deb' x_1_all.deb many SHA256:00",
        ];
        for line in bad {
            assert_eq!(parse_uri_line(line, &mirror().main, &mirror().security), None, "{line}");
        }
        let line = "'http://m.test/debian/x.deb' x.deb 42 SHA256:00";
        let file = parse_uri_line(line, &mirror().main, &mirror().security).unwrap();
        assert_eq!(file.into_package(PackageSet::Tools), None);
    }

    #[test]
    fn of_the_files_of_a_source_only_upstreams_archive_counts() {
        for (file, expected) in [
            ("iptables_1.8.11-2.dsc", None),
            ("iptables_1.8.11.orig.tar.xz", Some("1.8.11")),
            ("iptables_1.8.11.orig.tar.xz.asc", None),
            ("iptables_1.8.11-2.debian.tar.xz", None),
        ] {
            let line = format!("'http://m.test/debian/pool/{file}' {file} 42 SHA256:{SHA}");
            let found = parse_uri_line(&line, &mirror().main, &mirror().security).unwrap();
            let source = found.into_source("iptables");
            assert_eq!(source.as_ref().map(|source| source.version.as_str()), expected, "{file}");
        }
    }

    #[test]
    fn the_age_of_an_expired_index_is_read() {
        let cases = [
            ("E: x is expired (invalid since 14d 16h 54min 56s). Updates", Some(14)),
            ("E: x is expired (invalid since 54min 56s).", Some(0)),
            ("E: no network", None),
        ];
        for (words, expected) in cases {
            assert_eq!(days_expired(words), expected, "{words}");
        }
    }

    #[test]
    fn development_suites_have_no_security_suite() {
        assert_eq!(sources("forky", &mirror()).lines().count(), 2);
        assert_eq!(sources("trixie", &mirror()).lines().count(), 6);
    }

    #[test]
    fn preferred_versions_are_pinned_above_newer_ones() {
        let line = format!("'http://m.test/debian/pool/s.deb' sudo_1%3a9_amd64.deb 42 SHA256:{SHA}");
        let file = parse_uri_line(&line, &mirror().main, &mirror().security).unwrap();
        let package = file.into_package(PackageSet::Image).unwrap();
        let stanza = "Package: sudo\nPin: version 1:9\nPin-Priority: 1001\n";
        assert_eq!(preferences(&[&package]), stanza);
        assert_eq!(preferences(&[&package, &package]), format!("{stanza}\n{stanza}"));
    }
}
