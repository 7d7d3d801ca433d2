//! The boot as JSON. Pure.

use super::timeline::Span;

/// Returns an array of objects, one for each span, times in milliseconds since kernel start.
pub fn print(spans: &[Span]) -> String {
    let object = |span: &Span| {
        format!(
            "  {{\"kind\": \"{}\", \"name\": \"{}\", \"start_ms\": {}, \"end_ms\": {}}}",
            span.word(),
            escaped(&span.name),
            span.began.as_millis(),
            span.ended.as_millis()
        )
    };
    let objects: Vec<String> = spans.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

/// Source: RFC 8259, section 7.
fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => plain.extend(['\\', c]),
            c if c.is_control() => plain += &format!("\\u{:04x}", u32::from(c)),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::timeline::parse;
    use super::*;

    #[test]
    fn spans_become_objects() {
        let spans = parse("kernel 0 5\nstep:a/\"b\\ 7 9\n").unwrap();
        let expected = r#"[
  {"kind": "kernel", "name": "", "start_ms": 0, "end_ms": 5},
  {"kind": "step", "name": "a/\"b\\", "start_ms": 7, "end_ms": 9}
]
"#;
        assert_eq!(print(&spans), expected);
    }
}
