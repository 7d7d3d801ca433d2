//! Running other programs: the error holds the command line, its exit and its last words.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Lines of a program's output that go into an error.
const LAST_WORDS: usize = 12;

/// Returns the command line as a person would type it.
#[must_use]
pub fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        write!(text, " {}", argument.to_string_lossy()).expect("writing to a String cannot fail");
    }
    text
}

/// Runs a program without input and returns its output.
///
/// # Errors
/// When it cannot be started or ends with another exit code than 0.
pub fn output(command: &mut Command) -> Result<Output> {
    log::debug!("running {}", line(command));
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    check(
        command,
        output.status,
        &[&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part)),
    )?;
    Ok(output)
}

/// As [`output`], returning what was printed on standard output.
///
/// # Errors
/// As [`output`].
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// Runs a program whose output goes to the file `log`, calling `each_line` with every line of it.
///
/// # Errors
/// As [`output`]; the text ends with the path of the log.
pub fn logged(command: &mut Command, log: &Path, mut each_line: impl FnMut(&str)) -> Result<()> {
    log::debug!("running {}", line(command));
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening the log {}", log.display()))?;
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    let errors = writer.try_clone().context("making a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    // The command keeps its own copies of the pipe's write end; reading ends only when those are closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tail = Vec::new();
    for text in BufReader::new(reader).lines() {
        let Ok(text) = text else { continue }; // A line that is no UTF-8 is of no use to a person either.
        writeln!(file, "{text}").with_context(|| format!("writing the log {}", log.display()))?;
        each_line(&text);
        if tail.len() == LAST_WORDS {
            tail.remove(0);
        }
        tail.push(text);
    }
    let status = child.wait().with_context(|| format!("waiting for {}", line(command)))?;
    check(command, status, &[tail.join("\n").into()])
        .with_context(|| format!("the whole output is in {}", log.display()))
}

fn check(command: &Command, status: ExitStatus, outputs: &[std::borrow::Cow<'_, str>]) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let all: Vec<_> = outputs.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty()).collect();
    let last = all[all.len().saturating_sub(LAST_WORDS)..].join("\n  ");
    bail!("running {}: {status}:\n  {last}", line(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_command_exit_and_last_words() {
        let error =
            text(Command::new("sh").args(["-c", "echo gone wrong >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "running sh -c echo gone wrong >&2; exit 3: exit status: 3:\n  gone wrong");
    }

    #[test]
    fn a_log_holds_every_line() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2"]);
        logged(&mut command, &log, |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\n");
    }
}
