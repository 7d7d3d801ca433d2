//! What the profile exports, in the forms its readers need: PID 1, shells. Pure.

use std::collections::BTreeMap;

/// Some programs look for these in capitals, some in small letters.
const PROXIES: &[&str] = &["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

/// Returns the variables with every proxy in both spellings; one that is set in both stays as it is.
pub fn with_both_spellings(exported: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = exported.clone();
    for upper in PROXIES {
        let lower = upper.to_lowercase();
        for (from, to) in [(*upper, lower.as_str()), (lower.as_str(), *upper)] {
            if let (Some(value), None) = (exported.get(from), exported.get(to)) {
                all.insert(to.to_owned(), value.clone());
            }
        }
    }
    all
}

/// Returns `KEY=value` lines; a value of several lines has no place in them and is named in the notes.
pub fn lines(exported: &BTreeMap<String, String>, notes: &mut Vec<String>) -> String {
    let mut lines = String::new();
    for (name, value) in exported {
        if value.contains('\n') {
            notes
                .push(format!("exported {name} has several lines: only shells get it, not docker and hooks"));
        } else {
            lines.push_str(&format!("{name}={value}\n"));
        }
    }
    lines
}

/// Returns a script that exports the variables in any shell; what no shell can name is left out.
pub fn script(exported: &BTreeMap<String, String>) -> String {
    let mut script = "# Made from /var/lib/boot2docker/profile. Edit that.\n".to_owned();
    for (name, value) in exported.iter().filter(|(name, _)| is_name(name)) {
        script.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    }
    script
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn proxies_are_told_in_both_spellings() {
        let both = |pairs: &[(&str, &str)]| with_both_spellings(&map(pairs));
        assert_eq!(both(&[("HTTP_PROXY", "p")]), map(&[("HTTP_PROXY", "p"), ("http_proxy", "p")]));
        let small = both(&[("no_proxy", "n"), ("A", "b")]);
        assert_eq!(small, map(&[("A", "b"), ("NO_PROXY", "n"), ("no_proxy", "n")]));
        let different = [("HTTPS_PROXY", "one"), ("https_proxy", "two")];
        assert_eq!(both(&different), map(&different));
    }

    #[test]
    fn environment_is_one_variable_a_line() {
        let mut notes = Vec::new();
        assert_eq!(
            lines(&map(&[("B", "x y"), ("A", "1\n2"), ("P", "http://p")]), &mut notes),
            "B=x y\nP=http://p\n"
        );
        assert_eq!(notes, ["exported A has several lines: only shells get it, not docker and hooks"]);
    }

    #[test]
    fn a_shell_reads_back_what_was_exported() {
        let exported = map(&[("A", "it's \"$HOME\"\n`x`"), ("BASH_FUNC_f%%", "() { :; }"), ("Z", "")]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.sh");
        std::fs::write(&path, script(&exported)).unwrap();
        let read = crate::shell::evaluate(&dir.path().join("none"), &path).unwrap().exported;
        assert_eq!(read, map(&[("A", "it's \"$HOME\"\n`x`"), ("Z", "")]));
    }
}
