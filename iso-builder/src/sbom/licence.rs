//! Debian's copyright files, as far as licences go. Source: the DEP-5 format, "License specification".
//!
//! Nothing is guessed: what has no SPDX identifier is given by its own text, as SPDX does with `LicenseRef-`.

mod names;

use super::spdx::Extracted;
use crate::digest::KeyBuilder;

/// Begin of an identifier for a licence that SPDX has none for.
const REFERENCE: &str = "LicenseRef-";

/// Digits of a text's hash in its identifier.
const HASH_DIGITS: usize = 8;

/// Longest name in an identifier; some files have a sentence there.
const NAME_LENGTH: usize = 40;

/// Where Debian has the texts of common licences.
const COMMON: &str = "/usr/share/common-licenses/";

/// What a copyright file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Licences {
    /// All that applies, as an SPDX expression; none when there is nothing to go by.
    pub expression: Option<String>,
    /// What Debian calls it, for a person to read.
    pub comment: Option<String>,
    /// The texts of what SPDX has no identifier for.
    pub texts: Vec<Extracted>,
}

/// Reads a copyright file of `package`.
pub(super) fn read(copyright: &str, package: &str) -> Licences {
    let is_machine_readable = copyright.lines().take(5).any(|line| line.starts_with("Format:"));
    let fields = if is_machine_readable { fields(copyright) } else { Vec::new() };
    if fields.is_empty() { whole(copyright, package) } else { named(&fields, package) }
}

/// Returns what is said by a file that only people can read: that the licence is its text.
fn whole(copyright: &str, package: &str) -> Licences {
    if copyright.trim().is_empty() {
        return Licences::default();
    }
    let text = extracted(&format!("copyright-of-{package}"), copyright);
    let mut common: Vec<_> = copyright.split(COMMON).skip(1).map(first_word).collect();
    common.retain(|name| !name.is_empty());
    common.sort_unstable();
    common.dedup();
    let comment = (!common.is_empty()).then(|| format!("common licences referred to: {}", common.join(", ")));
    Licences { expression: Some(text.id.clone()), comment, texts: vec![text] }
}

/// Returns the file name that `text` begins with.
fn first_word(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    text.split(|c| !is_part(c)).next().unwrap_or_default().trim_end_matches('.')
}

/// Returns what the License fields of a machine-readable file say together.
fn named(fields: &[(String, String)], package: &str) -> Licences {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in fields {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut texts = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    for name in &names {
        let choice = specification(name, &mut |name| {
            names::spdx(name).unwrap_or_else(|| {
                let text = text_of(fields, name, package);
                let text = extracted(name, &text);
                let id = text.id.clone();
                if !texts.contains(&text) {
                    texts.push(text);
                }
                id
            })
        });
        let all = match &choice[..] {
            [all] => all.clone(),
            _ if names.len() == 1 => vec![joined(&choice)],
            _ => vec![format!("({})", joined(&choice))],
        };
        parts.extend(all);
    }
    let mut seen: Vec<String> = Vec::new();
    for part in parts {
        if !seen.contains(&part) {
            seen.push(part);
        }
    }
    Licences {
        expression: Some(seen.join(" AND ")),
        comment: Some(format!("named by Debian: {}", names.join(", "))),
        texts,
    }
}

/// `AND` binds closer than `OR`, in SPDX as in Debian.
fn joined(choice: &[Vec<String>]) -> String {
    choice.iter().map(|all| all.join(" AND ")).collect::<Vec<_>>().join(" OR ")
}

/// Translates one specification, such as `GPL-2+ or Artistic and zlib`, to alternatives that each need all their parts.
/// With a comma the words bind otherwise: such a specification is one name.
fn specification(text: &str, translate: &mut impl FnMut(&str) -> String) -> Vec<Vec<String>> {
    if text.contains(',') {
        return vec![vec![translate(text)]];
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let split = |words: &[&str], at: &str| -> Vec<String> {
        words.split(|word| word.eq_ignore_ascii_case(at)).map(|part| part.join(" ")).collect()
    };
    let alternatives = split(&words, "or");
    let all = |part: &String| split(&part.split(' ').collect::<Vec<_>>(), "and");
    alternatives.iter().map(|part| all(part).iter().map(|name| translate(name)).collect()).collect()
}

/// Returns the text that goes with a name: of its own field, or else of one that has it among others.
fn text_of(fields: &[(String, String)], name: &str, package: &str) -> String {
    let with_text = || fields.iter().filter(|(_, text)| !text.is_empty());
    let exact = with_text().find(|(other, _)| other == name);
    let among = || with_text().find(|(other, _)| other.contains(name));
    exact.or_else(among).map_or_else(
        || {
            format!(
                "{package}: the copyright file gives no text for `{name}`; it is in the archive of licences."
            )
        },
        |(_, text)| text.clone(),
    )
}

/// Returns the License fields of a file: what their first line says, and the text below it.
fn fields(copyright: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in copyright.lines() {
        if let Some(name) = line.strip_prefix("License:") {
            fields.push((name.split_whitespace().collect::<Vec<_>>().join(" "), String::new()));
            is_inside = true;
        } else if is_inside && line.starts_with([' ', '\t']) {
            let (_, text) = fields.last_mut().expect("one was just added");
            // A lone dot stands for an empty line.
            text.push_str(if line.trim() == "." { "" } else { line.trim() });
            text.push('\n');
        } else {
            is_inside = false;
        }
    }
    fields.retain(|(name, _)| !name.is_empty());
    fields
}

/// Returns a text under an identifier that no other text has.
fn extracted(name: &str, text: &str) -> Extracted {
    let hash = KeyBuilder::new("licence", 1).text(text).finish();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let mut id: String = name.replace('+', "-plus").chars().take(NAME_LENGTH).collect();
    id = id.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    Extracted {
        id: format!("{REFERENCE}{id}-{}", &hash[..HASH_DIGITS]),
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine_readable(names: &[&str]) -> String {
        let field = |name: &&str| format!("Files: x\nLicense: {name}\n Text of {name}.\n\n");
        format!("Format: https://example.org/\n\n{}", names.iter().map(field).collect::<String>())
    }

    #[test]
    fn what_has_an_spdx_identifier_is_called_by_it() {
        for (debian, expected) in [
            (&["GPL-2+"][..], "GPL-2.0-or-later"),
            (&["GPL-2+", "Expat", "MIT", "GPL-2+"], "GPL-2.0-or-later AND MIT"),
            (&["GPL-1+ or Artistic"], "GPL-1.0-or-later OR Artistic-1.0-Perl"),
            (&["GPL-1+ or Artistic", "zlib"], "(GPL-1.0-or-later OR Artistic-1.0-Perl) AND Zlib"),
            (&["Apache-2.0 and MPL-2.0", "MPL-2.0"], "Apache-2.0 AND MPL-2.0"),
            (
                &["GPL-2 with Linux-syscall-note exception OR BSD-3-Clause"],
                "GPL-2.0-only WITH Linux-syscall-note OR BSD-3-Clause",
            ),
        ] {
            let licences = read(&machine_readable(debian), "x");
            assert_eq!(licences.expression.as_deref(), Some(expected), "{debian:?}");
            assert_eq!(licences.texts, [], "{debian:?}");
        }
    }

    #[test]
    fn what_has_none_is_given_by_its_text() {
        let licences = read(&machine_readable(&["GPL-2+", "Odd, or else", "GPL or Fair+"]), "x");
        let [odd, gpl, fair] = &licences.texts[..] else { panic!("{licences:?}") };
        assert_eq!((odd.name.as_str(), odd.text.as_str()), ("Odd, or else", "Text of Odd, or else.\n"));
        assert_eq!((gpl.name.as_str(), fair.text.as_str()), ("GPL", "Text of GPL or Fair+.\n"));
        assert!(fair.id.starts_with("LicenseRef-Fair-plus-"), "{fair:?}");
        let expected = format!("GPL-2.0-or-later AND {} AND ({} OR {})", odd.id, gpl.id, fair.id);
        assert_eq!(licences.expression, Some(expected));
        let other = read(&machine_readable(&["Odd, or else"]).replace("Text", "Other text"), "x");
        assert_ne!(other.texts[0].id, odd.id, "another text is another licence");
    }

    #[test]
    fn a_file_for_people_is_its_own_licence() {
        let text = "Free.\nLicense: GPL\nSee `/usr/share/common-licenses/GPL-2', /usr/share/common-licenses/LGPL-2.1.\n";
        let licences = read(text, "tool");
        assert_eq!(licences.comment.as_deref(), Some("common licences referred to: GPL-2, LGPL-2.1"));
        assert_eq!(licences.texts[0].text, text);
        assert!(licences.texts[0].id.starts_with("LicenseRef-copyright-of-tool-"));
        assert_eq!(licences.expression.as_ref(), Some(&licences.texts[0].id));
        assert_eq!(read(" \n", "tool"), Licences::default());
    }

    #[test]
    fn texts_end_with_their_field() {
        let text =
            "Format: x\n\nFiles: *\nLicense: Odd\n One\n .\n License: not a field\nComment: no\n more\n";
        assert_eq!(fields(text), [("Odd".to_owned(), "One\n\nLicense: not a field\n".to_owned())]);
    }
}
