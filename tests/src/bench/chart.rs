//! The results as a picture: for each measure the peer's bar is the whole width, ours is drawn to scale. Pure.

use std::fmt::Write as _;

use super::measure::{MEASURES, Measure, OURS, PEER, Samples, Target, Unit};
use super::report::Circumstances;

/// Width of the bar of the greater of the two. Unit: pixels, as everything below.
const FULL: f64 = 420.0;

/// Where bars begin.
const LEFT: f64 = 300.0;

/// Width of the picture.
const WIDTH: f64 = 860.0;

/// Height of one bar.
const BAR: f64 = 14.0;

/// Distance from one measure to the next.
const STEP: f64 = 46.0;

/// Height of title and legend.
const TOP: f64 = 76.0;

/// Height of the note below.
const BOTTOM: f64 = 40.0;

/// Our colour, dark and light enough for either kind of eye.
const OUR_COLOUR: &str = "#0b62a4";

/// The peer's colour.
const PEER_COLOUR: &str = "#b9b9b9";

/// Returns the chart of all measures that both systems have, as SVG.
#[must_use]
pub fn svg(samples: &Samples, circumstances: &Circumstances) -> String {
    let both = |measure: &Measure| {
        let median = |system| samples.summary(measure.id, system).map(|summary| summary.median);
        Some((*measure, median(OURS)?, median(PEER)?))
    };
    let mut rows: Vec<_> = MEASURES.iter().filter_map(both).filter(|(_, _, peer)| *peer > 0.0).collect();
    rows.extend(cold_start(samples));
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let height = f64::from(count).mul_add(STEP, TOP + BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"30\" font-size=\"18\" font-weight=\"bold\">{OURS} beside {PEER} with systemd and the \
         same engine: less is better</text>\n"
    );
    legend(&mut svg);
    let mut top = TOP;
    for (measure, ours, peer) in rows {
        row(&mut svg, top, measure, ours, peer);
        top += STEP;
    }
    let Circumstances { date, host, accelerator, machine, pairs, .. } = circumstances;
    let note = escape(&format!("{date}, {host}, {accelerator}, {machine}; medians of {pairs} rounds"));
    line(
        &mut svg,
        &format!("<text x=\"20\" y=\"{}\" fill=\"#555\" font-size=\"11\">{note}</text>", top + 14.0),
    );
    svg.push_str("</svg>\n");
    svg
}

/// What a user of each system sees: ours comes as a CD, the peer on its disk.
fn cold_start(samples: &Samples) -> Option<(Measure, f64, f64)> {
    const COLD: Measure =
        Measure { id: "cold", title: "power-on to API: our CD, its disk", unit: Unit::Seconds };
    let target = Target { measure: "power-on-cd", by: Some((PEER, "power-on-disk")), at_most: 1.0 };
    samples.figure(&target)?;
    let median = |id, system| samples.summary(id, system).map(|summary| summary.median);
    Some((COLD, median("power-on-cd", OURS)?, median("power-on-disk", PEER)?))
}

fn legend(svg: &mut String) {
    for (left, colour, name) in [(LEFT, OUR_COLOUR, OURS), (LEFT + 130.0, PEER_COLOUR, PEER)] {
        line(svg, &format!("<rect x=\"{left}\" y=\"46\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"));
        line(svg, &format!("<text x=\"{}\" y=\"57\">{name}</text>", left + 18.0));
    }
}

fn row(svg: &mut String, top: f64, measure: Measure, ours: f64, peer: f64) {
    let title = escape(&measure.title.replace('`', ""));
    line(
        svg,
        &format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{title}</text>", LEFT - 12.0, top + 19.0),
    );
    let scale = FULL / ours.max(peer);
    for (index, (value, colour)) in [(ours, OUR_COLOUR), (peer, PEER_COLOUR)].into_iter().enumerate() {
        let y = top + if index == 0 { 0.0 } else { BAR + 1.0 };
        let width = (value * scale).max(1.0);
        line(
            svg,
            &format!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            ),
        );
        let unit = if measure.unit == Unit::Seconds { "s" } else { "MiB" };
        let digits = if value < 10.0 { 2 } else { 1 };
        let label = format!("{value:.digits$} {unit}");
        line(
            svg,
            &format!(
                "<text x=\"{:.1}\" y=\"{}\" font-size=\"11\" fill=\"#333\">{label}</text>",
                LEFT + width + 6.0,
                y + BAR - 3.0
            ),
        );
    }
}

fn line(svg: &mut String, text: &str) {
    writeln!(svg, "{text}").expect("writing to a String cannot fail");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_to_scale_and_what_only_one_has_is_left_out() {
        let mut samples = Samples::default();
        for (measure, system, value) in [
            ("api", OURS, 5.0),
            ("api", PEER, 20.0),
            ("pinned", OURS, 60.0),
            ("pinned", PEER, 0.0),
            ("least", OURS, 1.0),
        ] {
            samples.add(measure, system, value);
        }
        let circumstances = Circumstances {
            date: "2026-01-01".into(),
            host: "A & B".into(),
            accelerator: "KVM".into(),
            machine: "2 CPUs".into(),
            pairs: 5,
            iso: String::new(),
            peer: vec![],
        };
        let svg = svg(&samples, &circumstances);
        assert!(svg.contains("width=\"105.0\"") && svg.contains("width=\"420.0\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 2, "background, legend, one measure");
        assert!(svg.contains("A &amp; B"), "{svg}");
    }
}
