//! What a Debian package says of itself: its source package, its home page and its copyright file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::spdx::{self, Extracted, NO_ASSERTION, Package};
use super::{licence, purl};
use crate::deb::{self, Member, MemberKind};
use crate::lock::{LockedPackage, PackageSet};
use crate::tree::GuestPath;

/// Where packages have their copyright files.
const DOCUMENTATION: &str = "/usr/share/doc";

/// A copyright file may be another package's, and that one's a third's; nobody goes further.
const MOST_LINKS: usize = 3;

/// Packages and where they are.
type Packages<'a> = &'a [(&'a LockedPackage, PathBuf)];

/// A binary package of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub name: String,
    pub package: Package,
    /// Name and version of the source package.
    pub source: (String, String),
    /// The copyright file.
    pub copyright: Option<Vec<u8>>,
    /// Licences that SPDX does not know.
    pub licences: Vec<Extracted>,
}

impl Binary {
    pub(super) fn source_package(&self) -> Package {
        let (name, version) = &self.source;
        Package {
            external_refs: purl(format!("pkg:deb/debian/{name}@{}?arch=source", encoded(version))),
            homepage: self.package.homepage.clone(),
            licence_comments: self.package.licence_comments.clone(),
            licence_declared: self.package.licence_declared.clone(),
            ..Package::new(&spdx::id(&["source", name, version]), name, version)
        }
    }
}

/// Reads the .deb at `file`. Its copyright file may be that of another one of `all`.
pub(super) fn read(locked: &LockedPackage, file: &Path, all: Packages<'_>) -> Result<Binary> {
    let control = deb::control(file)?;
    let source = source(&control, &locked.name, &locked.version);
    let copyright = copyright(&locked.name, file, all)?;
    let text = copyright.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    // Packages of one source have the same file.
    let licences = licence::read(&text, &source.0);
    let package = Package {
        licence_declared: licences.expression.unwrap_or_else(|| NO_ASSERTION.into()),
        licence_comments: licences.comment,
        homepage: field(&control, "Homepage").map(str::to_owned),
        ..package(locked)
    };
    Ok(Binary { name: locked.name.clone(), package, source, copyright, licences: licences.texts })
}

/// Returns what the lock knows of a package.
pub(super) fn package(locked: &LockedPackage) -> Package {
    let LockedPackage { name, version, path, sha256, .. } = locked;
    let kind = if locked.set == PackageSet::Source { ("source", "?arch=source") } else { ("deb", "") };
    Package {
        package_file_name: Some(path.clone()),
        checksums: spdx::sha256(sha256),
        external_refs: purl(format!("pkg:deb/debian/{}@{}{}", encoded(name), encoded(version), kind.1)),
        ..Package::new(&spdx::id(&[kind.0, name]), name, version)
    }
}

/// Returns the source's name and version. Source: deb-control(5): `Source: name (version)`, both optional.
fn source(control: &str, name: &str, version: &str) -> (String, String) {
    // A binary rebuilt without change of its source has `+b1` behind the source's version.
    let version = match version.rsplit_once("+b") {
        Some((source, build)) if build.bytes().all(|byte| byte.is_ascii_digit()) => source,
        _ => version,
    };
    let Some(text) = field(control, "Source") else { return (name.to_owned(), version.to_owned()) };
    match text.split_once(" (") {
        Some((name, rest)) => (name.to_owned(), rest.trim_end_matches(')').to_owned()),
        None => (text.to_owned(), version.to_owned()),
    }
}

fn field<'a>(control: &'a str, name: &str) -> Option<&'a str> {
    control.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Returns the copyright file of the package `name`, from whichever package has it.
fn copyright(name: &str, file: &Path, all: Packages<'_>) -> Result<Option<Vec<u8>>> {
    let (mut name, mut file) = (name.to_owned(), file);
    for _ in 0..MOST_LINKS {
        let folder = Path::new(DOCUMENTATION).join(&name);
        let path = folder.join("copyright");
        let members = deb::members(file, |member| member == path)?;
        let at = |path: &Path| members.iter().find(|member| member.path == path);
        if let Some(bytes) = at(&path).and_then(|member| member.content.as_ref()) {
            return Ok(Some(bytes.to_vec()));
        }
        let Some(owner) = at(&path).or_else(|| at(&folder)).and_then(linked) else { return Ok(None) };
        let Some((_, other)) = all.iter().find(|(package, _)| package.name == owner) else { return Ok(None) };
        (name, file) = (owner, other);
    }
    Ok(None)
}

/// Returns the package whose documentation a link leads to.
fn linked(member: &Member) -> Option<String> {
    let MemberKind::Symlink(target) = &member.kind else { return None };
    let path = GuestPath::new(&member.path).follow(target);
    let name = path.as_path().strip_prefix(DOCUMENTATION).ok()?.components().next()?;
    Some(name.as_os_str().to_string_lossy().into_owned())
}

/// Writes what a purl must not hold as `%XX`.
fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_has_its_own_name_and_version_where_they_differ() {
        for (control, version, expected) in [
            ("Package: tini\n", "0.19.0-3+b8", ("tini", "0.19.0-3")),
            ("Source: glibc\n", "2.41-12+deb13u4", ("glibc", "2.41-12+deb13u4")),
            ("Source: gcc-14 (14.2.0-19)\n", "4:14.2.0-1", ("gcc-14", "14.2.0-19")),
        ] {
            let expected = (expected.0.to_owned(), expected.1.to_owned());
            assert_eq!(source(control, "tini", version), expected, "{control}");
        }
    }
}
