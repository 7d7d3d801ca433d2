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

/// Returns a file of keys as text, also one that Notepad or PowerShell wrote as UTF-16.
pub fn decode(bytes: &[u8]) -> String {
    let units = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
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
            (
                "junk stays, sshd passes it over",
                "\u{fffd}\0\u{7}junk\na\n",
                "not a key\n",
                "\u{fffd}\0\u{7}junk\na\nnot a key\n",
            ),
            ("blanks only", " \r\n\t\n", "\n", ""),
            ("comments stay", "# mine\na\n", "# yours\nb\n", "# mine\na\n# yours\nb\n"),
        ];
        for (name, present, extra, expected) in rows {
            assert_eq!(merge(present, extra), expected, "{name}");
        }
    }

    #[test]
    fn files_from_windows_are_text_too() {
        let rows: [(&str, &[u8], &str); 5] = [
            ("plain", b"ssh-rsa A\n", "ssh-rsa A\n"),
            ("little-endian", b"\xff\xfea\0\r\0\n\0", "a\r\n"),
            ("big-endian", b"\xfe\xff\0a\0\n", "a\n"),
            ("cut in half", b"\xff\xfea\0b", "a"),
            ("empty", b"", ""),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(decode(bytes), expected, "{name}");
        }
    }
}
