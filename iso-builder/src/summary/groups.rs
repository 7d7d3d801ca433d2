//! What each group of the image costs, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Parts;
use crate::image::Group;

/// Returns a Markdown table of the groups in the ISO, the largest first. `usual` names those of the usual image.
///
/// A row of several names is what each of these needs and nobody else; it is there once, with one of them or with all.
pub(super) fn markdown(parts: &Parts, known: &[Group], usual: &[String]) -> String {
    let mut text = String::from("| group | MiB | usual | for |\n| --- | ---: | --- | --- |\n");
    for (name, bytes) in by_size(parts) {
        let members: Vec<&str> = name.split(", ").collect();
        let about: Vec<&str> = known
            .iter()
            .filter(|group| members == [group.name.as_str()])
            .map(|group| &*group.about)
            .collect();
        let about = if members.len() > 1 { "what these have in common".to_owned() } else { about.concat() };
        let is_usual = if members.iter().any(|name| usual.iter().any(|on| on == name)) { "yes" } else { "" };
        let names: Vec<String> = members.iter().map(|name| format!("`{name}`")).collect();
        writeln!(text, "| {} | {} | {is_usual} | {about} |", names.join(", "), mib(bytes))
            .expect("writing to a String cannot fail");
    }
    text
}

/// Returns the same for a terminal, or nothing if the ISO has no group.
pub(super) fn lines(parts: &Parts) -> String {
    let rows = by_size(parts);
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str("\nMiB in ISO  group, with the libraries that nobody else needs\n");
    }
    for (name, bytes) in rows {
        writeln!(text, "{:>10}  {name}", mib(bytes)).expect("writing to a String cannot fail");
    }
    text
}

fn by_size(parts: &Parts) -> Vec<(&str, u64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for part in parts.values() {
        if let Some(group) = &part.group {
            *sums.entry(group).or_default() += part.packed_bytes;
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), *name));
    rows
}

fn mib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::Recipe;
    use crate::summary::add;

    #[test]
    fn groups_are_told_with_their_cost_and_purpose() {
        let mut parts = Parts::new();
        for (name, group, bytes) in [
            ("curl", Some("curl"), 256 << 10),
            ("what curl needs", Some("curl"), 1 << 20),
            ("what curl, git needs", Some("curl, git"), 512 << 10),
            ("git", Some("git"), 3 << 20),
            ("kernel", None, 7 << 20),
        ] {
            add(&mut parts, name, group, bytes, bytes);
        }
        let known = [("curl", "scripts"), ("git", "sources"), ("tape", "drives")]
            .map(|(name, about)| Group { name: name.to_owned(), about: about.to_owned() });
        let expected = "| group | MiB | usual | for |\n| --- | ---: | --- | --- |\n\
                        | `git` | 3.00 |  | sources |\n\
                        | `curl` | 1.25 | yes | scripts |\n\
                        | `curl`, `git` | 0.50 | yes | what these have in common |\n";
        assert_eq!(markdown(&parts, &known, &["curl".to_owned()]), expected);
        assert!(lines(&parts).ends_with("\n      3.00  git\n      1.25  curl\n      0.50  curl, git\n"));
        assert_eq!(lines(&Parts::new()), "");
    }

    /// The figures are those of the day on which they were printed; the groups are those of today.
    #[test]
    fn the_readme_has_a_row_for_each_group() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let recipe = Recipe::read(&root.join("rootfs/image.toml")).unwrap();
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        for Group { name, about } in recipe.groups() {
            let has_row = |line: &str| {
                line.starts_with(&format!("| `{name}` | ")) && line.ends_with(&format!("| {about} |"))
            };
            assert!(readme.lines().any(has_row), "README.md has no row of `summary --groups` for {name}");
        }
    }
}
