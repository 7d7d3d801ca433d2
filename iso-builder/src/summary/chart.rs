//! Sizes as a bar chart, in SVG. Pure text; every program that shows pictures can show it.

use std::fmt::Write as _;

/// Height of a row. Units here: user units of SVG, pixels on most screens.
const ROW: u32 = 22;

/// Room above the bars.
const TOP: u32 = 48;

/// Where the bars begin; names stand to the left, ending there.
const LEFT: u32 = 330;

/// Length of the longest bar.
const LONGEST: u32 = 480;

/// Room behind the longest bar for its figure.
const RIGHT: u32 = 150;

/// Returns a chart of `rows`: name and size in bytes, in the order in which they are shown.
pub(super) fn svg(title: &str, rows: &[(String, u64)]) -> String {
    let largest = rows.iter().map(|row| row.1).max().unwrap_or_default().max(1);
    let total: u64 = rows.iter().map(|row| row.1).sum();
    let (width, height) =
        (LEFT + LONGEST + RIGHT, TOP + ROW * u32::try_from(rows.len()).unwrap_or_default() + 14);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"17\">{}: {}</text>\n",
        escaped(title),
        mib(total)
    );
    for (index, (name, bytes)) in (0..).zip(rows) {
        let y = TOP + ROW * index;
        let length = f64::from(LONGEST) * *bytes as f64 / largest as f64;
        let (end, base) = (LEFT - 8, y + 15);
        // Under half a unit a bar cannot be seen.
        let length = length.max(0.5);
        let percent = 100.0 * *bytes as f64 / total.max(1) as f64;
        writeln!(
            text,
            "<text x=\"{end}\" y=\"{base}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"#2496ed\"/>\
             <text x=\"{:.1}\" y=\"{base}\" fill=\"#444\">{} ({percent:.1} %)</text>",
            escaped(name),
            y + 3,
            ROW - 6,
            f64::from(LEFT) + length + 6.0,
            mib(*bytes)
        )
        .expect("writing to a String cannot fail");
    }
    text.push_str("</svg>\n");
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
