//! Evaluates the profile, which is shell code, in a real shell with a deadline, and reads the outcome back.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use b2d_sys::contract::{PATH, RUN_DIR};
use b2d_sys::effects::cmd::{Cmd, CmdError, Deadline, describe_status};
use b2d_sys::effects::files::{ensure_dir, write_atomic};
use thiserror::Error;

/// Longer than any sane profile, short enough for a boot.
const LIMIT_SECS: u64 = 10;
/// Enough for a loop to show itself.
const TRACE_SECS: u64 = 2;
/// Given to `sh -c` with the profile. The trace holds what the profile holds; only line numbers leave this program.
const TRACE: &str = r#"PS4='+$LINENO: '; set -x; . "$1""#;
/// Variables whose values are read back; see [`crate::profile`] for their meaning.
pub const VARIABLES: &[&str] = &[
    "CACERT",
    "CAKEY",
    "CAORG",
    "CERT",
    "CERTDIR",
    "CERT_INTERFACES",
    "CROND_LOGLEVEL",
    "DOCKER_DIR",
    "DOCKER_HOST",
    "DOCKER_LOGFILE",
    "DOCKER_OPTS",
    "DOCKER_REMOTE",
    "DOCKER_STORAGE",
    "DOCKER_TLS",
    "DOCKER_ULIMITS",
    "EXTRA_ARGS",
    "KEY",
    "NTP_SERVER",
    "ORG",
    "SERVERCERT",
    "SERVERKEY",
    "SERVERORG",
];
/// Variables the old script expanded without quotes, so that the shell split them into words.
const WORD_LISTS: &str = "CERT_INTERFACES DOCKER_HOST DOCKER_OPTS DOCKER_TLS EXTRA_ARGS";
/// What any shell sets for itself.
const NOISE: &[&str] = &["OLDPWD", "PWD", "SHLVL", "_"];

/// Given to `sh -c` with the profile, the variables and the word lists as arguments: constant text, nothing is pasted in.
/// What the profile prints must not mix with our records, nor its `set` and `IFS` change how they are made.
const SCRIPT: &str = r#"
exec 3>&1 1>&2
[ ! -r "$4" ] || . "$4"
. "$1"
set +aefu
set -f
unset IFS
for b2d_name in $2; do
  eval "[ -z \"\${$b2d_name+x}\" ] || printf 'v%s=%s\\0' $b2d_name \"\$$b2d_name\"" >&3
done
for b2d_name in $3; do
  eval "for b2d_word in \$$b2d_name; do printf 'w%s=%s\\0' $b2d_name \"\$b2d_word\"; done" >&3
done
printf 'e\0' >&3
exec env -0 >&3
"#;

/// What the variables are after the profile has run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// Those of [`VARIABLES`] that are set.
    pub variables: BTreeMap<String, String>,
    /// The words of variables that are lists.
    pub words: BTreeMap<String, Vec<String>>,
    /// Everything the profile exported.
    pub exported: BTreeMap<String, String>,
    /// What the profile printed, which nobody sees otherwise.
    pub printed: String,
}

/// Why the shell's answer cannot be used.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The profile contains `exit` or `exec`.
    #[error("the profile ended the shell before its end")]
    Ended,
    /// A record of unknown kind.
    #[error("unexpected record {record:?}")]
    Record {
        /// The record.
        record: String,
    },
}

/// Runs the profile at `path`, after the file `defaults` if there is one, and returns the variables they leave.
///
/// # Errors
/// When the shell reports an error (it names the line), the profile ends the shell, or runs into the deadline.
pub fn evaluate(defaults: &Path, path: &Path) -> Result<Evaluated> {
    let work = || -> Result<Evaluated> {
        let text = std::fs::read(path)?;
        let unix = Path::new(RUN_DIR).join("profile");
        let source = if text.contains(&b'\r') {
            // Written on Windows. A shell would take the carriage returns for parts of the values.
            ensure_dir(Path::new(RUN_DIR), 0o755, None)?;
            write_atomic(
                &unix,
                &String::from_utf8_lossy(&text).replace("\r\n", "\n").into_bytes(),
                0o600,
                None,
            )?;
            unix.as_path()
        } else {
            path
        };
        let shell = Cmd::new("/bin/sh")
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .args(["-c", SCRIPT, "profile"]);
        let shell = shell.arg(source).arg(VARIABLES.join(" ")).arg(WORD_LISTS).arg(defaults);
        match shell.run(Deadline::secs(LIMIT_SECS)) {
            Ok(output) => {
                let printed = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Ok(Evaluated { printed, ..decode(&output.stdout)? })
            }
            // Not the error itself: it would repeat our script.
            Err(CmdError::Failed { stderr, status, .. }) => bail!("{}: {stderr:?}", describe_status(status)),
            Err(CmdError::Timeout { stderr, .. }) => {
                let place =
                    line_of_no_end(source).map_or_else(String::new, |line| format!(" in line {line}"));
                bail!("no end after {LIMIT_SECS} s{place}, killed: {stderr:?}")
            }
            Err(error) => Err(error.into()),
        }
    };
    work().with_context(|| format!("evaluating {}", path.display()))
}

/// Returns the number of the line that a profile without end is at, by running it again with a trace.
fn line_of_no_end(source: &Path) -> Option<usize> {
    let shell = Cmd::new("/bin/sh").env_clear().env("PATH", PATH).env("HOME", "/root");
    let shell = shell.args(["-c", TRACE, "profile"]).arg(source);
    match shell.run(Deadline::secs(TRACE_SECS)) {
        Err(CmdError::Timeout { stderr, .. }) => last_traced_line(&stderr),
        _ => None,
    }
}

/// Returns the line number in the last complete `+NUMBER: command` of a trace.
fn last_traced_line(trace: &str) -> Option<usize> {
    let lines = trace.lines().rev();
    lines.filter_map(|line| line.trim_start_matches('+').split_once(": ")?.0.parse().ok()).next()
}

/// Returns what the records of [`SCRIPT`] say.
fn decode(answer: &[u8]) -> Result<Evaluated, AnswerError> {
    let text = String::from_utf8_lossy(answer);
    let mut records = text.split_terminator('\0');
    let mut evaluated = Evaluated::default();
    loop {
        let record = records.next().ok_or(AnswerError::Ended)?;
        let unexpected = || AnswerError::Record { record: record.to_owned() };
        if record == "e" {
            break;
        }
        let (name, value) = record.get(1..).and_then(|rest| rest.split_once('=')).ok_or_else(unexpected)?;
        match record.as_bytes()[0] {
            b'v' => drop(evaluated.variables.insert(name.to_owned(), value.to_owned())),
            b'w' => evaluated.words.entry(name.to_owned()).or_default().push(value.to_owned()),
            _ => return Err(unexpected()),
        }
    }
    let exported = records.filter_map(|record| record.split_once('='));
    let exported = exported.filter(|(name, _)| !NOISE.contains(name) && !matches!(*name, "HOME" | "PATH"));
    evaluated.exported = exported.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(evaluated)
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
