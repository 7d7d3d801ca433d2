//! Keeps the generated parts of `docs/` fresh: a test fails when one is not, `UPDATE_GOLDEN=1` rewrites it.

use std::path::PathBuf;
use std::{env, fs};

/// Compares the part of a page between its marks with what the code says.
pub fn check(page: &str, part: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let old = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- generated: {part} -->\n"), format!("<!-- end: {part} -->\n"));
    let (before, rest) = old.split_once(&begin).expect("the page has the part's first mark");
    let (found, after) = rest.split_once(&end).expect("the page has the part's last mark");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{before}{begin}{text}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(found, text, "{}; UPDATE_GOLDEN=1 rewrites it", path.display());
}
