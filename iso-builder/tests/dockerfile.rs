//! The Dockerfile and its entry point, as far as they can be checked without a Docker engine.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Returns the instructions with their arguments, continued lines joined and comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(checkout().join("Dockerfile")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap();
        (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    joined.lines().filter(|line| !line.trim().is_empty()).map(split).collect()
}

#[test]
fn the_dockerfile_names_what_is_there() {
    let known = ["ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENTRYPOINT"];
    let instructions = instructions();
    for (word, rest) in &instructions {
        assert!(known.contains(&word.as_str()), "{word} {rest}");
    }
    let all = |wanted: &str| -> Vec<_> {
        instructions.iter().filter(|(word, _)| word == wanted).map(|(_, rest)| rest.as_str()).collect()
    };
    // The base can be chosen, and is chosen before it is used.
    assert_eq!(instructions[0].0, "ARG");
    assert!(instructions[0].1.starts_with("BASE="));
    assert_eq!(all("FROM"), ["${BASE}"]);
    let [folder] = all("WORKDIR")[..] else { panic!("one folder") };
    let [copied] = all("COPY")[..] else { panic!("one COPY") };
    for source in copied.split(' ').rev().skip(1) {
        assert!(checkout().join(source).exists(), "{source}");
    }
    let [entry] = all("ENTRYPOINT")[..] else { panic!("one ENTRYPOINT") };
    let entry: Vec<String> = serde_json::from_str(entry).unwrap();
    let script = checkout().join(Path::new(&entry[0]).strip_prefix(folder).unwrap());
    assert_eq!(fs::metadata(script).unwrap().permissions().mode() & 0o111, 0o111);
    let ignored = fs::read_to_string(checkout().join(".dockerignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "/target"), "gigabytes would be sent to the engine");
}

/// Held by tests that write a program and run it. A process started by another test meanwhile would inherit the file while it
/// is written, and the kernel runs no program that somebody may write to (ETXTBSY).
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A builder that says much and writes `iso`; `fails` after that if it is to.
fn builder(folder: &Path, fails: bool) -> PathBuf {
    let path = folder.join("builder");
    let end = if fails { "exit 3" } else { "exit 0" };
    let script = format!(
        "#!/bin/sh\necho chatter\necho \"$@\" >&2\n[ \"$1\" = build ] && printf iso > \"$3\"\n{end}\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn enter(builder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(checkout().join("iso-builder/container.sh"));
    command.args(arguments).env("ISO_BUILDER", builder).env("TMPDIR", builder.parent().unwrap());
    command.output().unwrap()
}

#[test]
fn standard_output_is_the_iso_and_nothing_else() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let output = enter(&builder(folder.path(), false), &[]);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"iso");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("chatter\nbuild --output "));
    let output = enter(&builder(folder.path(), true), &[]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(3), &b""[..]),
        "half an ISO would look like one"
    );
}

#[test]
fn arguments_are_those_of_the_builder() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let output = enter(&builder(folder.path(), false), &["inspect", "x.iso"]);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"chatter\n"[..], &b"inspect x.iso\n"[..]));
}

#[test]
fn a_terminal_gets_a_shell() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let shell = folder.path().join("shell");
    fs::write(&shell, "#!/bin/sh\necho this is the shell\n").unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = Command::new(checkout().join("iso-builder/container.sh"));
    command.env("ISO_BUILDER", builder(folder.path(), false)).env("SHELL", &shell).stdout(terminal.slave);
    let output = command.output().unwrap();
    drop(command); // And with it our copy of the terminal: reading below ends.
    assert!(output.status.success(), "{output:?}");
    let mut shown = Vec::new();
    // A terminal nobody writes to any more ends with an error on Linux.
    drop(File::from(terminal.master).read_to_end(&mut shown));
    assert_eq!(String::from_utf8_lossy(&shown), "this is the shell\r\n");
}
