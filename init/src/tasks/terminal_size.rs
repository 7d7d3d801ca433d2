//! Finds the size of a terminal at the other end of a line: before somebody logs in there, or when asked to. What is typed
//! during the wait is put back for whoever reads next.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use b2d_sys::effects::{process, tty};

/// Save the cursor, go as far as possible, tell where that is, come back. Source: ECMA-48 CUP and CPR; DEC VT100.
const QUESTION: &[u8] = b"\x1b7\x1b[r\x1b[999;999H\x1b[6n\x1b8";

/// Names it so that it can be opened anew, with modes of its own.
const STANDARD_INPUT: &str = "/proc/self/fd/0";

/// A person's terminal answers within a network's round trip.
const WAIT: Duration = Duration::from_millis(300);

/// Rows and columns of a terminal that does not tell, as programs take them for granted.
const USUAL: (u16, u16) = (24, 80);

/// Asks the terminal on standard input for its size, tells the kernel, and becomes `program`; never comes back but with an
/// error. A terminal that cannot be asked keeps nobody out.
///
/// # Errors
/// When the program cannot be run.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    if let Err(error) = settle(Path::new(STANDARD_INPUT)) {
        log::warn!("{error:#}");
    }
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    Err(process::replace_self(Path::new(program), &args)).with_context(|| format!("running {program}"))
}

/// Asks the terminal on standard input for its size, and tells the kernel.
///
/// # Errors
/// When standard input is no terminal, or one that takes nothing.
pub fn resize() -> Result<()> {
    settle(Path::new(STANDARD_INPUT))
}

fn settle(terminal: &Path) -> Result<()> {
    let heard = tty::ask(terminal, QUESTION, WAIT, |heard| parse(heard).is_some())?;
    match parse(&heard) {
        Some((size, _)) => tty::set_size(terminal, size)?,
        None if tty::size(terminal)?.is_none() => tty::set_size(terminal, USUAL)?,
        None => {}
    }
    let typed = parse(&heard).map_or(heard.clone(), |(_, typed)| typed);
    tty::type_in(terminal, &typed)
}

/// Returns rows and columns out of a cursor position report (`ESC [ rows ; columns R`), wherever it is in what was heard, and
/// what was heard beside it.
fn parse(heard: &[u8]) -> Option<((u16, u16), Vec<u8>)> {
    const BEGIN: &[u8] = b"\x1b[";
    let starts = (0..heard.len()).filter(|&start| heard[start..].starts_with(BEGIN));
    starts.into_iter().find_map(|start| {
        let report = &heard[start + BEGIN.len()..];
        let end = report.iter().position(|&byte| byte == b'R')?;
        let (rows, columns) = std::str::from_utf8(&report[..end]).ok()?.split_once(';')?;
        let size = (rows.parse().ok()?, columns.parse().ok()?);
        (size.0 > 0 && size.1 > 0).then(|| (size, [&heard[..start], &report[end + 1..]].concat()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_found_between_what_was_typed() {
        for (case, heard, expected) in [
            ("alone", "\x1b[30;100R", Some(((30, 100), ""))),
            ("between keys", "ls\x1b[A\x1b[24;80Rps\r", Some(((24, 80), "ls\x1b[Aps\r"))),
            ("after keys with an R", "R\x1b[24;80R", Some(((24, 80), "R"))),
            ("not whole yet", "\x1b[24;8", None),
            ("nothing", "", None),
            ("no numbers", "\x1b[x;yR", None),
            ("too large", "\x1b[70000;80R", None),
            ("zero", "\x1b[0;0R", None),
        ] {
            let expected = expected.map(|(size, typed)| (size, typed.as_bytes().to_vec()));
            assert_eq!(parse(heard.as_bytes()), expected, "{case}");
        }
    }
}
