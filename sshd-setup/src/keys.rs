//! Lists of authorized keys as people really have them: Windows line ends, byte order marks, doubles. Pure.

/// Returns `present` followed by the lines of `extra` it does not have yet, one key a line with a plain line end.
pub fn merge(present: &str, extra: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in plain_lines(present).chain(plain_lines(extra)) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

fn plain_lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_merged_line_by_line() {
        let rows = [
            ("nothing", "", "", ""),
            ("only one", "a\n", "", "a\n"),
            ("no line end", "a", "b", "a\nb\n"),
            ("double", "a\nb\n", "b\na\nc\n", "a\nb\nc\n"),
            ("windows", "\u{feff}a\r\nb\r\n", "\r\n  c \r\n", "a\nb\nc\n"),
            ("comments stay", "# mine\na\n", "# yours\nb\n", "# mine\na\n# yours\nb\n"),
        ];
        for (name, present, extra, expected) in rows {
            assert_eq!(merge(present, extra), expected, "{name}");
        }
    }
}
