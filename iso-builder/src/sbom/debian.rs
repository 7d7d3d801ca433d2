//! What a Debian package says of itself: its source package, its home page and its copyright file.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::spdx::{self, NO_ASSERTION, Package};
use super::{licence, purl};
use crate::deb::{self, MemberKind};
use crate::lock::LockedPackage;

/// A binary package of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub name: String,
    pub package: Package,
    /// Name and version of the source package.
    pub source: (String, String),
    /// The copyright file, unless it is another package's.
    pub copyright: Option<Vec<u8>>,
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

/// Reads the .deb at `file`.
pub(super) fn read(locked: &LockedPackage, file: &Path) -> Result<Binary> {
    let control = deb::control(file)?;
    let copyright = copyright(locked, file)?;
    let names = copyright.as_deref().map(|bytes| licence::names(&String::from_utf8_lossy(bytes)));
    let names = names.unwrap_or_default();
    let package = Package {
        licence_declared: licence::expression(&names).unwrap_or_else(|| NO_ASSERTION.into()),
        licence_comments: (!names.is_empty()).then(|| format!("named by Debian: {}", names.join(", "))),
        homepage: field(&control, "Homepage").map(str::to_owned),
        ..package(locked)
    };
    let source = source(&control, &locked.name, &locked.version);
    Ok(Binary { name: locked.name.clone(), package, source, copyright })
}

/// Returns what the lock knows of a package.
pub(super) fn package(locked: &LockedPackage) -> Package {
    let LockedPackage { name, version, path, sha256, .. } = locked;
    Package {
        package_file_name: Some(path.clone()),
        checksums: spdx::sha256(sha256),
        external_refs: purl(format!("pkg:deb/debian/{}@{}", encoded(name), encoded(version))),
        ..Package::new(&spdx::id(&["deb", name]), name, version)
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

fn copyright(locked: &LockedPackage, file: &Path) -> Result<Option<Vec<u8>>> {
    let path = Path::new("/usr/share/doc").join(&locked.name).join("copyright");
    let members = deb::members(file, |member| member == path)?;
    let member = members.into_iter().find(|member| member.path == path && member.kind == MemberKind::File);
    let Some(bytes) = member.and_then(|member| member.content) else { return Ok(None) };
    let mut text = Vec::new();
    (&bytes[..]).read_to_end(&mut text).context("reading a copyright file")?;
    Ok(Some(text))
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
