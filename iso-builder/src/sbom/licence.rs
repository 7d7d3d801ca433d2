//! Debian's machine-readable copyright files, as far as the licences' names go.
//! Source: the DEP-5 format, "License specification".

/// Debian's short name, and the SPDX identifier that means the same.
const NAMES: [(&str, &str); 40] = [
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2.0", "Artistic-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("expat", "MIT"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("isc", "ISC"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.0", "LGPL-2.0-only"),
    ("lgpl-2.0+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("mit", "MIT"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("openssl", "OpenSSL"),
    ("psf-2", "PSF-2.0"),
    ("unicode", "Unicode-DFS-2016"),
    ("unlicense", "Unlicense"),
    ("zlib", "Zlib"),
    ("curl", "curl"),
];

/// Returns the licences that a copyright file names, each once; none when it is in no known format.
pub(super) fn names(copyright: &str) -> Vec<String> {
    let is_machine_readable = copyright.lines().take(5).any(|line| line.starts_with("Format:"));
    let mut names = Vec::new();
    for line in copyright.lines().filter(|_| is_machine_readable) {
        let Some(name) = line.strip_prefix("License:").map(str::trim) else { continue };
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns the SPDX expression that says that all of `names` apply; `None` when one of them has no SPDX name.
pub(super) fn expression(names: &[String]) -> Option<String> {
    let mut parts = Vec::new();
    for name in names {
        let part = one(name)?;
        let has_choice = part.contains(" OR ");
        let all: Vec<_> = match (has_choice, names.len()) {
            (true, 1) => vec![part],
            (true, _) => vec![format!("({part})")],
            (false, _) => part.split(" AND ").map(str::to_owned).collect(),
        };
        for part in all {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// Translates one specification, such as `GPL-2+ or Artistic`.
fn one(specification: &str) -> Option<String> {
    let alternatives: Option<Vec<_>> = specification.split(" or ").map(all_of).collect();
    Some(alternatives?.join(" OR "))
}

fn all_of(specification: &str) -> Option<String> {
    let parts: Option<Vec<_>> = specification.split(" and ").map(|name| spdx(name.trim())).collect();
    Some(parts?.join(" AND "))
}

fn spdx(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    NAMES.iter().find(|(debian, _)| *debian == name).map(|(_, spdx)| *spdx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_fields_each_once() {
        let text = "Format: https://example.org/\n\nFiles: *\nLicense: GPL-2+\n Text\n\nFiles: x\nLicense: Expat\n\n\
                    License: GPL-2+\n This is\n License: not a field\n";
        assert_eq!(names(text), ["GPL-2+", "Expat"]);
        assert_eq!(names("This package is free.\nLicense: GPL\n"), [""; 0], "not machine-readable");
    }

    #[test]
    fn expressions_are_exact_or_absent() {
        for (debian, expected) in [
            (&["GPL-2+"][..], Some("GPL-2.0-or-later")),
            (&["GPL-2+", "Expat", "MIT"], Some("GPL-2.0-or-later AND MIT")),
            (&["GPL-1+ or Artistic"], Some("GPL-1.0-or-later OR Artistic-1.0-Perl")),
            (&["GPL-1+ or Artistic", "zlib"], Some("(GPL-1.0-or-later OR Artistic-1.0-Perl) AND Zlib")),
            (&["Apache-2.0 and MPL-2.0", "MPL-2.0"], Some("Apache-2.0 AND MPL-2.0")),
            (&["GPL-2+ with OpenSSL exception"], None),
            (&["GPL-2+", "public-domain"], None),
            (&[], None),
        ] {
            let names: Vec<_> = debian.iter().map(ToString::to_string).collect();
            assert_eq!(expression(&names).as_deref(), expected, "{debian:?}");
        }
    }
}
