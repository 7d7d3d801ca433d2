//! The boot as lines for people. Pure.

use std::time::Duration;

use super::timeline::{Kind, Span};

/// Services whose readiness people ask for, by the name they know.
const AWAITED: [(&str, &str); 3] = [("sshd", "sshd"), ("containerd", "containerd"), ("docker", "dockerd")];

/// Returns kernel, stage 0 and stages by their start, then when the services were ready.
pub fn print(spans: &[Span]) -> String {
    let mut parts: Vec<&Span> =
        spans.iter().filter(|span| matches!(span.kind, Kind::Kernel | Kind::Stage0 | Kind::Stage)).collect();
    parts.sort_by_key(|span| (span.began, span.ended));
    let mut text = " start s   took s\n".to_owned();
    for span in parts {
        let name = if span.name.is_empty() { span.word() } else { &span.name };
        text += &format!("{:>8.3} {:>8.3}  {name}\n", span.began.as_secs_f64(), span.took().as_secs_f64());
    }
    for (service, name) in AWAITED {
        if let Some(ready) = ready(spans, service) {
            text += &format!("{name} ready {:.3} s after kernel start\n", ready.as_secs_f64());
        }
    }
    text + &share(spans).unwrap_or_default()
}

/// Returns when a service was ready.
pub fn ready(spans: &[Span], service: &str) -> Option<Duration> {
    let is_it = |span: &&Span| span.kind == Kind::Service && span.name == service;
    spans.iter().find(is_it).map(|span| span.ended)
}

/// Tells how much of the time until Docker answered stage 0 and PID 1 themselves have used.
fn share(spans: &[Span]) -> Option<String> {
    let own = spans.iter().find(|span| span.kind == Kind::Processor)?.ended.as_secs_f64();
    let until = ready(spans, "docker")?.as_secs_f64();
    let percent = own / until * 100.0;
    Some(format!(
        "stage 0 and PID 1 used {own:.3} s of processor time, {percent:.1} % of the time until dockerd\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::timeline::{parse, tests::BOOT};
    use super::*;

    #[test]
    fn a_boot_in_lines() {
        let expected = " start s   took s
   0.000    1.600  kernel
   1.600    0.200  stage0
   1.800    0.010  mounts
   1.810    0.595  data-disk
containerd ready 3.600 s after kernel start
dockerd ready 7.900 s after kernel start
stage 0 and PID 1 used 0.210 s of processor time, 2.7 % of the time until dockerd
";
        assert_eq!(print(&parse(BOOT).unwrap()), expected);
        assert_eq!(print(&[]), " start s   took s\n");
    }
}
