//! The results as a table for the terminal, as Markdown and as JSON. Pure.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::measure::{MEASURES, Measure, OURS, PEER, Samples, TARGETS, Target, Unit};
use super::stats::Summary;

/// Where and when a run took place, and on what.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Circumstances {
    /// Day of the run, UTC.
    pub date: String,
    /// Processor, and how many of them.
    pub host: String,
    /// What executes the guests' instructions.
    pub accelerator: String,
    /// Memory and processors of each machine.
    pub machine: String,
    /// How often each way to start was measured.
    pub pairs: usize,
    /// SHA-256 of the ISO.
    pub iso: String,
    /// What the peer is made of.
    pub peer: Vec<String>,
}

/// Returns the figure with a precision that fits it.
fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Mib if value < 10.0 && value > 0.0 => format!("{value:.1} MiB"),
        Unit::Mib => format!("{value:.0} MiB"),
    }
}

/// Returns `median (min-max)`, or a dash.
fn cell(summary: Option<&Summary>, unit: Unit) -> String {
    let Some(Summary { median, min, max, samples }) = summary else { return "-".to_owned() };
    if samples.len() == 1 || min.total_cmp(max).is_eq() {
        return figure(*median, unit);
    }
    let digits = usize::from(unit == Unit::Seconds) * 2;
    format!("{} ({min:.digits$}-{max:.digits$})", figure(*median, unit))
}

/// Returns the rows of the table, the head first: measure, a column for each system, ours by the peer's.
fn rows(samples: &Samples) -> Vec<Vec<String>> {
    let systems = samples.systems();
    let mut head = vec!["median (min-max)".to_owned()];
    head.extend(systems.iter().cloned());
    head.push(format!("{OURS} / {PEER}"));
    let mut rows = vec![head];
    for Measure { id, title, unit } in MEASURES {
        let found: Vec<_> = systems.iter().map(|system| samples.summary(id, system)).collect();
        if found.iter().all(Option::is_none) {
            continue;
        }
        let mut row = vec![title.to_owned()];
        row.extend(found.iter().map(|summary| cell(summary.as_ref(), unit)));
        let ratio = samples.figure(&Target { measure: id, by: Some((PEER, id)), at_most: 1.0 });
        row.push(ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
        rows.push(row);
    }
    rows
}

/// Returns the table with aligned columns.
#[must_use]
pub fn table(samples: &Samples) -> String {
    let rows = rows(samples);
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("writing to a String cannot fail");
    }
    text
}

/// Returns the table and the targets as Markdown.
#[must_use]
pub fn markdown(samples: &Samples, circumstances: &Circumstances) -> String {
    let Circumstances { date, host, accelerator, machine, pairs, .. } = circumstances;
    let mut text = format!("{date}, {host}, {accelerator}, machines of {machine}, {pairs} rounds.\n\n");
    for (index, row) in rows(samples).iter().enumerate() {
        writeln!(text, "| {} |", row.join(" | ")).expect("writing to a String cannot fail");
        if index == 0 {
            writeln!(text, "|{}", " --- |".repeat(row.len())).expect("writing to a String cannot fail");
        }
    }
    text.push('\n');
    text.push_str("| target | at most | measured | |\n| --- | --- | --- | --- |\n");
    for target in TARGETS {
        let measured = samples.figure(&target);
        let found = measured.map_or("not measured".to_owned(), |value| format!("{value:.2}"));
        writeln!(
            text,
            "| {} | {} | {found} | {} |",
            describe(&target),
            target.at_most,
            verdict(&target, measured)
        )
        .expect("writing to a String cannot fail");
    }
    text
}

/// Returns the targets, one a line, for the terminal.
#[must_use]
pub fn targets(samples: &Samples) -> String {
    let line = |target: Target| {
        let measured = samples.figure(&target);
        let found = measured.map_or("-".to_owned(), |value| format!("{value:.2}"));
        format!(
            "{:9}{found:>8} of at most {:<6} {}\n",
            verdict(&target, measured),
            target.at_most,
            describe(&target)
        )
    };
    TARGETS.map(line).concat()
}

fn verdict(target: &Target, measured: Option<f64>) -> &'static str {
    match measured {
        None => "-",
        Some(value) if value <= target.at_most => "reached",
        Some(_) => "missed",
    }
}

fn describe(target: &Target) -> String {
    let title = |id| MEASURES.iter().find(|measure| measure.id == id).map_or(id, |measure| measure.title);
    match target.by {
        None => format!("{}, MiB", title(target.measure)),
        Some((system, id)) if id == target.measure => format!("{}, by that of {system}", title(id)),
        Some((system, id)) => format!("{}, by {} of {system}", title(target.measure), title(id)),
    }
}

/// Returns everything, samples included.
#[must_use]
pub fn json(samples: &Samples, circumstances: &Circumstances) -> Value {
    let mut measures = Map::new();
    for Measure { id, title, unit } in MEASURES {
        let systems: Map<_, _> = samples
            .systems()
            .iter()
            .filter_map(|system| Some((system.clone(), json!(samples.summary(id, system)?))))
            .collect();
        if !systems.is_empty() {
            let unit = if unit == Unit::Seconds { "s" } else { "MiB" };
            measures.insert(id.to_owned(), json!({ "title": title, "unit": unit, "systems": systems }));
        }
    }
    let targets = TARGETS.map(|target| {
        let measured = samples.figure(&target);
        let (at_most, verdict) = (target.at_most, verdict(&target, measured));
        json!({ "target": describe(&target), "at-most": at_most, "measured": measured, "verdict": verdict })
    });
    json!({ "circumstances": circumstances, "measures": measures, "targets": targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let mut samples = Samples::default();
        for (system, values) in [(OURS, [2.0, 3.0, 2.5]), (PEER, [12.0, 10.0, 11.0])] {
            for value in values {
                samples.add("api", system, value);
            }
        }
        samples.add("size", OURS, 79.6);
        samples
    }

    #[test]
    fn the_table_has_a_line_for_each_measure_that_was_taken() {
        let expected = "\
median (min-max)     boot2docker         Debian                 boot2docker / Debian
kernel start to API  2.50 s (2.00-3.00)  11.00 s (10.00-12.00)  0.23
ISO, or installed size  80 MiB - -";
        let table = table(&samples());
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: Vec<Vec<_>> = expected.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[..2], expected[..2]);
        assert_eq!(lines[2], expected[2]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_target_is_reached_missed_or_not_measured() {
        let lines = targets(&samples());
        let verdicts: Vec<_> = lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(verdicts, ["reached", "-", "-", "-", "-", "-", "-", "reached"]);
    }
}
