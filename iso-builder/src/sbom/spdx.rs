//! The parts of SPDX 2.3 that our bill of materials uses, as its JSON schema names them.
//!
//! Reading is as strict as the schema: unknown keys and missing ones are errors.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::digest::KeyBuilder;

/// "We do not say." Source: SPDX 2.3, 7.7.
pub const NO_ASSERTION: &str = "NOASSERTION";

/// What a package may be for. The schema writes with an underscore what the specification's text has a hyphen in.
const PURPOSES: [&str; 3] = ["ARCHIVE", "FILE", "OPERATING_SYSTEM"];

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, chapter 6")]
pub struct Document {
    pub spdx_version: String,
    pub data_license: String,
    #[serde(rename = "SPDXID")]
    pub id: String,
    pub name: String,
    pub document_namespace: String,
    pub creation_info: Creation,
    pub packages: Vec<Package>,
    pub relationships: Vec<Relationship>,
    #[serde(rename = "hasExtractedLicensingInfos", default, skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<Extracted>,
}

/// Who made the document, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, 6.8 and 6.9")]
pub struct Creation {
    pub created: String,
    pub creators: Vec<String>,
}

/// A package: anything that has a name and a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, chapter 7")]
pub struct Package {
    #[serde(rename = "SPDXID")]
    pub id: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version_info: String,
    pub download_location: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_file_name: Option<String>,
    pub files_analyzed: bool,
    #[serde(rename = "licenseConcluded")]
    pub licence_concluded: String,
    #[serde(rename = "licenseDeclared")]
    pub licence_declared: String,
    #[serde(rename = "licenseComments", default, skip_serializing_if = "Option::is_none")]
    pub licence_comments: Option<String>,
    pub copyright_text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(rename = "primaryPackagePurpose", default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<Reference>,
}

/// A licence that SPDX has no identifier for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, chapter 10")]
pub struct Extracted {
    #[serde(rename = "licenseId")]
    pub id: String,
    pub name: String,
    #[serde(rename = "extractedText")]
    pub text: String,
}

/// A digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, 7.10")]
pub struct Checksum {
    pub algorithm: String,
    pub checksum_value: String,
}

/// A name of the package elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, 7.21")]
pub struct Reference {
    #[serde(rename = "referenceCategory")]
    pub category: String,
    #[serde(rename = "referenceType")]
    pub kind: String,
    #[serde(rename = "referenceLocator")]
    pub locator: String,
}

/// How one element belongs to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of SPDX 2.3, chapter 11")]
pub struct Relationship {
    pub spdx_element_id: String,
    pub relationship_type: String,
    pub related_spdx_element: String,
}

impl Relationship {
    /// Says that `from` `kind` `to`, for instance `CONTAINS`.
    #[must_use]
    pub fn new(from: &str, kind: &str, to: &str) -> Self {
        Self { spdx_element_id: from.into(), relationship_type: kind.into(), related_spdx_element: to.into() }
    }
}

impl Package {
    /// Returns a package of which no more than this is said.
    #[must_use]
    pub fn new(id: &str, name: &str, version: &str) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            version_info: version.into(),
            download_location: NO_ASSERTION.into(),
            package_file_name: None,
            files_analyzed: false,
            licence_concluded: NO_ASSERTION.into(),
            licence_declared: NO_ASSERTION.into(),
            licence_comments: None,
            copyright_text: NO_ASSERTION.into(),
            homepage: None,
            comment: None,
            purpose: None,
            checksums: Vec::new(),
            external_refs: Vec::new(),
        }
    }

    /// Returns the package's SHA-256, where it is known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        let checksum = self.checksums.iter().find(|checksum| checksum.algorithm == "SHA256")?;
        Some(&checksum.checksum_value)
    }
}

/// Returns a SHA-256 as the document holds it.
#[must_use]
pub fn sha256(digest: &str) -> Vec<Checksum> {
    vec![Checksum { algorithm: "SHA256".into(), checksum_value: digest.into() }]
}

/// Returns an identifier made of `parts`. Source: SPDX 2.3, 7.2: letters, digits, `.` and `-`.
#[must_use]
pub fn id(parts: &[&str]) -> String {
    let mut text = String::from("SPDXRef");
    for part in parts {
        text.push('-');
        for character in part.chars() {
            match character {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => text.push(character),
                '+' => text.push_str(".plus"),
                _ => text.push('.'),
            }
        }
    }
    text
}

impl Document {
    /// Makes a document about boot2docker `version`; `epoch` stands for the time. Units: seconds since 1970.
    ///
    /// # Errors
    /// When it would not be valid.
    pub fn new(
        version: &str,
        epoch: u64,
        packages: Vec<Package>,
        relationships: Vec<Relationship>,
        licences: Vec<Extracted>,
    ) -> Result<Self> {
        let mut document = Self {
            spdx_version: "SPDX-2.3".into(),
            data_license: "CC0-1.0".into(),
            id: "SPDXRef-DOCUMENT".into(),
            name: format!("boot2docker-{version}"),
            document_namespace: String::new(),
            creation_info: Creation {
                created: timestamp(epoch)?,
                creators: vec![format!("Tool: iso-builder-{}", env!("CARGO_PKG_VERSION"))],
            },
            packages,
            relationships,
            licences,
        };
        document.finish(&format!("urn:boot2docker:{version}"))?;
        Ok(document)
    }

    /// Adds what was put into the image since.
    ///
    /// # Errors
    /// When the document would not be valid.
    pub fn add(&mut self, packages: Vec<Package>, relationships: Vec<Relationship>) -> Result<()> {
        self.packages.extend(packages);
        self.relationships.extend(relationships);
        let base =
            self.document_namespace.rsplit_once(':').map_or("urn:boot2docker", |(base, _)| base).to_owned();
        self.finish(&base)
    }

    /// Brings everything into order and names the document after its content: different documents need different
    /// namespaces, and the same one has the same in every build.
    fn finish(&mut self, namespace: &str) -> Result<()> {
        self.packages.sort_by(|one, other| one.id.cmp(&other.id));
        self.relationships.sort();
        self.licences.sort();
        self.licences.dedup();
        let content = self.packages.iter().fold(KeyBuilder::new("spdx", 1), |key, package| {
            key.text(&package.id).text(&package.version_info).text(package.sha256().unwrap_or_default())
        });
        self.document_namespace = format!("{namespace}:{}", content.finish());
        self.check()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When it is no SPDX 2.3 of the kind we write.
    pub fn read(text: &[u8]) -> Result<Self> {
        let mut document: Self = serde_json::from_slice(text).context("reading the bill of materials")?;
        for purpose in document.packages.iter_mut().filter_map(|package| package.purpose.as_mut()) {
            // The first ISOs with a bill spelled it as the specification's text does.
            *purpose = purpose.replace('-', "_");
        }
        document.check()?;
        Ok(document)
    }

    /// Returns the document's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("the document has text keys only");
        text.push('\n');
        text
    }

    /// Checks what the types do not: words are among the schema's; identifiers are unique, well formed and defined where
    /// they are used.
    fn check(&self) -> Result<()> {
        let kinds = ["DESCRIBES", "CONTAINS", "GENERATED_FROM", "STATIC_LINK"];
        ensure!(self.spdx_version == "SPDX-2.3", "spdxVersion is {}", self.spdx_version);
        ensure!(!self.creation_info.creators.is_empty(), "creators is empty");
        let mut ids = BTreeSet::from([self.id.as_str()]);
        for Package { id, name, checksums, purpose, external_refs, .. } in &self.packages {
            if let Some(purpose) = purpose {
                ensure!(PURPOSES.contains(&purpose.as_str()), "`{purpose}` is no purpose of a package");
            }
            for Reference { category, .. } in external_refs {
                ensure!(category == "PACKAGE-MANAGER", "`{category}` is no category of ours");
            }
            let rest = id.strip_prefix("SPDXRef-").unwrap_or_default();
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            ensure!(!rest.is_empty() && rest.chars().all(is_allowed), "`{id}` of {name} is no identifier");
            ensure!(ids.insert(id), "`{id}` is there twice");
            for Checksum { algorithm, checksum_value } in checksums {
                let is_hex = checksum_value.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
                ensure!(algorithm == "SHA256" && checksum_value.len() == 64 && is_hex, "digest of {name}");
            }
        }
        for Relationship { spdx_element_id, relationship_type, related_spdx_element } in &self.relationships {
            ensure!(kinds.contains(&relationship_type.as_str()), "`{relationship_type}` is no relationship");
            for end in [spdx_element_id, related_spdx_element] {
                ensure!(ids.contains(end.as_str()), "`{end}` has a relationship but is not there");
            }
        }
        let known: BTreeSet<_> = self.licences.iter().map(|licence| licence.id.as_str()).collect();
        ensure!(known.len() == self.licences.len(), "a licence has two texts");
        for Package { name, licence_declared, .. } in &self.packages {
            let words = licence_declared.split([' ', '(', ')']);
            let unknown =
                words.filter(|word| word.starts_with("LicenseRef-")).find(|word| !known.contains(word));
            ensure!(unknown.is_none(), "{} of {name} has no text", unknown.unwrap_or_default());
        }
        let described = self.relationships.iter().any(|it| it.relationship_type == "DESCRIBES");
        if !described {
            bail!("the document describes nothing");
        }
        Ok(())
    }
}

/// Writes a time as SPDX wants it: `2026-11-20T00:00:00Z`.
fn timestamp(epoch: u64) -> Result<String> {
    let seconds = i64::try_from(epoch).context("the time stamp is too late")?;
    let time = OffsetDateTime::from_unix_timestamp(seconds).context("the time stamp is too late")?;
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    ))
}
