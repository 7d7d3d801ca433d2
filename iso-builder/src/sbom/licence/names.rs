//! What licences are called: by Debian, and by SPDX.
//!
//! Only names that mean the same text are here: what is merely alike stays without an SPDX name.

/// Debian's short name, and the SPDX identifier that means the same.
const NAMES: [(&str, &str); 60] = [
    ("0bsd", "0BSD"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-3-clause-attribution", "BSD-3-Clause-Attribution"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("curl", "curl"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsful", "FSFUL"),
    ("fsfullr", "FSFULLR"),
    ("gfdl-1.2+", "GFDL-1.2-or-later"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gfdl-niv-1.3", "GFDL-1.3-no-invariants-only"),
    ("gfdl-niv-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("gpl-3.0+", "GPL-3.0-or-later"),
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
    ("lgpl-3.0+", "LGPL-3.0-or-later"),
    ("mit", "MIT"),
    ("mit-cmu", "MIT-CMU"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("oldap-2.8", "OLDAP-2.8"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("openssl", "OpenSSL"),
    ("postgresql", "PostgreSQL"),
    ("psf-2", "PSF-2.0"),
    ("rsa-md", "RSA-MD"),
    ("unicode", "Unicode-DFS-2016"),
    ("unicode-dfs-2016", "Unicode-DFS-2016"),
    ("unlicense", "Unlicense"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
];

/// What Debian writes behind `with`, behind which licence ("" for any), and the exception that SPDX has for it.
const EXCEPTIONS: [(&str, &str, &str); 7] = [
    ("autoconf exception", "GPL-2.0-or-later", "Autoconf-exception-2.0"),
    ("autoconf exception", "GPL-3.0-or-later", "Autoconf-exception-3.0"),
    ("bison exception", "", "Bison-exception-2.2"),
    ("font exception", "", "Font-exception-2.0"),
    ("libtool exception", "", "Libtool-exception"),
    ("linux-syscall-note exception", "", "Linux-syscall-note"),
    ("texinfo exception", "", "Texinfo-exception"),
];

/// Returns the SPDX identifier of what Debian calls `name`, with its exception if it has one.
pub(super) fn spdx(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let licence = |name: &str| NAMES.iter().find(|(debian, _)| *debian == name).map(|(_, spdx)| *spdx);
    let Some((name, exception)) = name.split_once(" with ") else { return licence(&name).map(str::to_owned) };
    let licence = licence(name.trim())?;
    let is_meant = |(debian, behind, _): &&(&str, &str, &str)| {
        *debian == exception.trim() && (behind.is_empty() || *behind == licence)
    };
    EXCEPTIONS.iter().find(is_meant).map(|(.., exception)| format!("{licence} WITH {exception}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_or_absent() {
        for (debian, expected) in [
            ("GPL-2+", Some("GPL-2.0-or-later")),
            ("Expat", Some("MIT")),
            ("GPL-3+ with Bison exception", Some("GPL-3.0-or-later WITH Bison-exception-2.2")),
            ("GPL-2+ with Autoconf exception", Some("GPL-2.0-or-later WITH Autoconf-exception-2.0")),
            ("GPL-3+ with Autoconf exception", Some("GPL-3.0-or-later WITH Autoconf-exception-3.0")),
            ("LGPL-2+ with Autoconf exception", None),
            ("GPL-2+ with OpenSSL exception", None),
            ("public-domain", None),
            ("BSD-3-clause-author", None),
        ] {
            assert_eq!(spdx(debian).as_deref(), expected, "{debian}");
        }
    }
}
