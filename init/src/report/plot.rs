//! The boot as a drawing: a bar for each stage, step and service on an axis of time. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::timeline::{Kind, Span};

/// Width of the axis. Unit of all lengths here: pixels.
const AXIS: f64 = 1000.0;
/// Room left of the axis, right of it, and above it.
const MARGIN: f64 = 20.0;
const RIGHT: f64 = 240.0;
const TOP: f64 = 70.0;
/// Distance of bars, and their height.
const ROW: f64 = 20.0;
const BAR: f64 = 15.0;
/// Steps shorter than this are left out: their stage shows them.
const SHORTEST_STEP: Duration = Duration::from_millis(20);
/// Bars are at least this wide, so that each can be seen.
const THINNEST: f64 = 2.0;
/// Lines on the axis: the first of these distances that gives at most so many.
const GRID_MS: [u64; 8] = [50, 100, 250, 500, 1000, 2500, 5000, 10_000];
const GRID_LINES: u64 = 20;

/// Kind, colour, legend.
const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Kernel, "#9a9a9a", "kernel"),
    (Kind::Stage0, "#c28f2c", "stage 0"),
    (Kind::Stage, "#a9c7e8", "stage"),
    (Kind::Step, "#3b78b5", "step"),
    (Kind::Service, "#4f9d57", "service, until ready"),
];

/// Returns an SVG document.
pub fn draw(spans: &[Span]) -> String {
    let bars = bars(spans);
    let last = bars.iter().map(|span| span.ended).max().unwrap_or_default().max(Duration::from_millis(1));
    let scale = AXIS / last.as_secs_f64();
    let height = TOP + ROW * bars.len() as f64 + MARGIN;
    let width = MARGIN + AXIS + RIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    svg += &head(&bars, last);
    svg += &grid(last, scale, height);
    for (row, span) in bars.iter().enumerate() {
        svg += &bar(span, TOP + ROW * row as f64, scale);
    }
    svg + "</svg>\n"
}

/// Returns what gets a bar: by start, a stage before its own steps.
fn bars(spans: &[Span]) -> Vec<&Span> {
    let is_shown = |span: &&Span| match span.kind {
        Kind::Processor => false,
        // A stage of one step of the same name says it all.
        Kind::Step => span.took() >= SHORTEST_STEP && !is_named_like_its_stage(span),
        _ => true,
    };
    let stage_of = |span: &Span| {
        let stage = span.name.split('/').next().unwrap_or_default();
        let is_stage = |other: &&Span| other.kind == Kind::Stage && other.name == stage;
        let stage = if span.kind == Kind::Step { spans.iter().find(is_stage) } else { None };
        stage.map_or(span.began, |stage| stage.began)
    };
    let group = |span: &Span| match span.kind {
        Kind::Step => span.name.split('/').next().unwrap_or_default().to_owned(),
        _ => span.name.clone(),
    };
    let mut bars: Vec<&Span> = spans.iter().filter(is_shown).collect();
    bars.sort_by_key(|span| (stage_of(span), group(span), span.kind, span.began));
    bars
}

fn is_named_like_its_stage(span: &Span) -> bool {
    span.name.split_once('/').is_some_and(|(stage, step)| stage == step)
}

fn head(bars: &[&Span], last: Duration) -> String {
    let docker = bars.iter().find(|span| span.kind == Kind::Service && span.name == "docker");
    let title = docker.map_or_else(
        || format!("Boot of {:.1} s", last.as_secs_f64()),
        |docker| format!("Docker answers {:.1} s after kernel start", docker.ended.as_secs_f64()),
    );
    let mut text = format!("<text x=\"{MARGIN}\" y=\"20\" font-size=\"16\">{title}</text>\n");
    for (place, (_, colour, legend)) in KINDS.iter().enumerate() {
        let x = MARGIN + 150.0 * place as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"30\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"41\">{legend}</text>",
            x + 17.0
        );
    }
    text
}

fn grid(last: Duration, scale: f64, height: f64) -> String {
    let last_ms = u64::try_from(last.as_millis()).unwrap_or(u64::MAX);
    let fits = |distance: &u64| last_ms / distance <= GRID_LINES;
    let distance = GRID_MS.into_iter().find(fits).unwrap_or(last_ms / GRID_LINES);
    let mut text = String::new();
    for at in 0..=last_ms / distance {
        let seconds = Duration::from_millis(at * distance).as_secs_f64();
        let x = MARGIN + seconds * scale;
        // As above.
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#dddddd\"/>\
             <text x=\"{x:.1}\" y=\"{}\" fill=\"#777777\" text-anchor=\"middle\" font-size=\"10\">{seconds} s</text>",
            TOP - 5.0,
            height - MARGIN,
            TOP - 8.0
        );
    }
    text
}

fn bar(span: &Span, y: f64, scale: f64) -> String {
    let colour =
        KINDS.iter().find(|(kind, ..)| *kind == span.kind).map_or("#000000", |(_, colour, _)| colour);
    let x = MARGIN + span.began.as_secs_f64() * scale;
    let width = (span.took().as_secs_f64() * scale).max(THINNEST);
    let name = match span.kind {
        Kind::Step => span.name.split_once('/').map_or(span.name.as_str(), |(_, step)| step),
        _ if span.name.is_empty() => span.word(),
        _ => &span.name,
    };
    let took = span.took().as_millis();
    let label = if took == 0 { escaped(name) } else { format!("{} ({took} ms)", escaped(name)) };
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{label}</text>\n",
        x + width + 4.0,
        y + BAR - 3.0
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::timeline::{parse, tests::BOOT};
    use super::*;

    #[test]
    fn bars_follow_time_and_steps_their_stage() {
        let spans = parse(BOOT).unwrap();
        let names: Vec<String> =
            bars(&spans).iter().map(|span| format!("{}{}", span.word(), span.name)).collect();
        let expected = [
            "kernel",
            "stage0",
            "stagemounts",
            "stagedata-disk",
            "stepdata-disk/automount",
            "servicecontainerd",
            "servicegetty-tty1",
            "servicedocker",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn bars_lie_where_their_time_is() {
        let spans = parse("kernel 0 1000\nservice:a<b 1000 4000\n").unwrap();
        let svg = draw(&spans);
        let expected = "<rect x=\"270.0\" y=\"90.0\" width=\"750.0\" height=\"15\" fill=\"#4f9d57\"/>\
                        <text x=\"1024.0\" y=\"102.0\">a&lt;b (3000 ms)</text>\n";
        assert!(svg.contains(expected), "{svg}");
        assert!(draw(&[]).ends_with("</svg>\n"));
    }
}
