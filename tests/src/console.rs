//! The serial console: everything it says is kept in a file, and a test awaits lines in the order they come.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::Deadline;

/// Lines of the log shown when an awaited text does not come.
const TAIL_LINES: usize = 40;

/// How many readings, each of 4 KiB at most, are taken in at once.
const DRAINED: usize = 4096;

/// What a kernel says when nothing more will come. Source: kernel/panic.c.
const KERNEL_PANIC: &str = "Kernel panic - not syncing";

/// A guest's serial console.
#[derive(Debug)]
pub struct Console {
    input: UnixStream,
    output: Receiver<Vec<u8>>,
    transcript: Transcript,
    log: PathBuf,
    commands: u32,
}

/// What was awaited on a console and did not come.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("awaiting {awaited:?} on the console: {why} after {elapsed:.1?} (limit {limit:.0?}); last lines:\n{tail}\nfull log: {log}", log = log.display())]
pub struct ConsoleError {
    /// The text that was awaited.
    pub awaited: String,
    /// What happened instead.
    pub why: Why,
    /// Time waited.
    pub elapsed: Duration,
    /// Time allowed.
    pub limit: Duration,
    /// Last lines of the console.
    pub tail: String,
    /// Where the whole output is.
    pub log: PathBuf,
}

/// Why an awaited text cannot come or did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The deadline passed.
    #[error("nothing")]
    TimedOut,
    /// The machine is gone.
    #[error("the machine ended")]
    Closed,
    /// The guest's kernel gave up.
    #[error("kernel panic")]
    Panic,
}

impl Console {
    /// Starts to read `stream`; the whole output goes to the file `log` as well.
    ///
    /// # Errors
    /// When the log cannot be created.
    pub fn new(stream: UnixStream, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        let reader = stream.try_clone()?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || copy(reader, file, &sender));
        Ok(Self {
            input: stream,
            output,
            transcript: Transcript::default(),
            log: log.to_path_buf(),
            commands: 0,
        })
    }

    /// Waits for `text`, and returns the output between what was awaited before and it.
    ///
    /// # Errors
    /// When it does not come by the deadline, or the machine ends or panics first.
    pub fn expect(&mut self, text: &str, deadline: Deadline) -> Result<String, Box<ConsoleError>> {
        self.look_for(text, deadline, |transcript| transcript.take_through(text))
    }

    /// Waits until `text` has been said since the machine was last started, before or after what was awaited else.
    ///
    /// # Errors
    /// As [`Console::expect`].
    pub fn await_in_this_boot(&mut self, text: &str, deadline: Deadline) -> Result<(), Box<ConsoleError>> {
        self.look_for(text, deadline, |transcript| transcript.this_boot().contains(text).then_some(()))
    }

    /// Lets [`Console::await_in_this_boot`] see only what comes from now on; to be called before a reboot.
    pub fn forget_this_boot(&mut self) {
        self.drain();
        self.transcript.boot = self.transcript.text.len();
        self.transcript.read = self.transcript.boot;
    }

    /// Waits for `text` and the end of its line, and returns what follows it on that line.
    ///
    /// # Errors
    /// As [`Console::expect`].
    pub fn expect_line(&mut self, text: &str, deadline: Deadline) -> Result<String, Box<ConsoleError>> {
        self.expect(text, deadline)?;
        self.expect("\n", deadline)
    }

    /// Types `command` at a shell prompt and returns what it wrote and its exit status.
    ///
    /// # Errors
    /// When the shell does not answer by the deadline.
    pub fn run(&mut self, command: &str, deadline: Deadline) -> anyhow::Result<(String, i32)> {
        self.commands += 1;
        let number = self.commands;
        // The shell echoes what is typed; the quotes keep the echo from looking like the answer.
        self.type_line(&format!("echo b2d''-begin-{number}; {command}; echo b2d''-end-{number}=$?"))?;
        self.expect_line(&format!("b2d-begin-{number}"), deadline)?;
        let output = self.expect(&format!("b2d-end-{number}="), deadline)?;
        let status = self.expect("\n", deadline)?;
        let status =
            status.parse().with_context(|| format!("reading the exit status {status:?} of {command}"))?;
        Ok((output, status))
    }

    /// Types `line` and the Enter key.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn type_line(&mut self, line: &str) -> io::Result<()> {
        self.input.write_all(line.as_bytes())?;
        self.input.write_all(b"\r")
    }

    /// Returns the file that holds the whole output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the last lines said, for an error text.
    #[must_use]
    pub fn tail(&mut self) -> String {
        self.drain();
        self.transcript.tail()
    }

    /// Takes in what comes until `find` finds something. At the deadline it looks once more, at all that has come; a console
    /// that never falls silent has nothing more to say then either.
    fn look_for<T>(
        &mut self,
        text: &str,
        deadline: Deadline,
        mut find: impl FnMut(&mut Transcript) -> Option<T>,
    ) -> Result<T, Box<ConsoleError>> {
        while deadline.remaining().is_some() {
            if let Some(found) = find(&mut self.transcript) {
                return Ok(found);
            }
            self.receive(text, deadline)?;
        }
        self.drain();
        find(&mut self.transcript).ok_or_else(|| self.failure(text, Why::TimedOut, deadline))
    }

    /// Takes in what comes next, while `text` is awaited.
    fn receive(&mut self, text: &str, deadline: Deadline) -> Result<(), Box<ConsoleError>> {
        if self.transcript.this_boot().contains(KERNEL_PANIC) {
            return Err(self.failure(text, Why::Panic, deadline));
        }
        match self.output.recv_timeout(deadline.remaining().unwrap_or_default()) {
            Ok(bytes) => self.transcript.push(&bytes),
            // Whoever awaits something looks at the clock.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(self.failure(text, Why::Closed, deadline)),
        }
        Ok(())
    }

    fn drain(&mut self) {
        // What a console that is never silent says meanwhile is left for later.
        for bytes in self.output.try_iter().take(DRAINED) {
            self.transcript.push(&bytes);
        }
    }

    fn failure(&mut self, awaited: &str, why: Why, deadline: Deadline) -> Box<ConsoleError> {
        Box::new(ConsoleError {
            awaited: awaited.to_owned(),
            why,
            elapsed: deadline.elapsed(),
            limit: deadline.limit(),
            tail: self.tail(),
            log: self.log.clone(),
        })
    }
}

/// Copies the console to the log and to the test until the machine or the test is gone.
fn copy(mut from: UnixStream, mut log: File, to: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if log.write_all(&buffer[..count]).is_err() || to.send(buffer[..count].to_vec()).is_err() {
            return;
        }
    }
}

/// Console output as text, and how far it was read.
#[derive(Debug, Default)]
struct Transcript {
    text: String,
    /// Bytes of an unfinished character.
    pending: Vec<u8>,
    read: usize,
    /// Where the output of the current boot starts.
    boot: usize,
}

impl Transcript {
    /// Appends console output; carriage returns are left out, what is not UTF-8 is replaced.
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes.iter().filter(|&&byte| byte != b'\r'));
        let complete = match std::str::from_utf8(&self.pending) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.pending.len(),
        };
        let rest = self.pending.split_off(complete);
        self.text.push_str(&String::from_utf8_lossy(&self.pending));
        self.pending = rest;
    }

    fn this_boot(&self) -> &str {
        &self.text[self.boot..]
    }

    /// Returns the unread output before `text` and marks it and `text` read; None while `text` is not there.
    fn take_through(&mut self, text: &str) -> Option<String> {
        let before = self.text[self.read..].split_once(text)?.0.to_owned();
        self.read += before.len() + text.len();
        Some(before)
    }

    fn tail(&self) -> String {
        let lines: Vec<_> = self.text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        shown.iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a console and the guest's end of it.
    fn console() -> (Console, UnixStream, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (host, guest) = UnixStream::pair().unwrap();
        let console = Console::new(host, &folder.path().join("console.log")).unwrap();
        (console, guest, folder)
    }

    fn soon() -> Deadline {
        Deadline::host(Duration::from_secs(10))
    }

    #[test]
    fn lines_are_awaited_in_order_and_never_twice() {
        let (mut console, mut guest, _folder) = console();
        guest.write_all(b"one\r\ntwo: 2 s\r\nthree").unwrap();
        assert_eq!(console.expect_line("two:", soon()), Ok(" 2 s".to_owned()));
        assert_eq!(console.expect("three", soon()), Ok(String::new()));
        drop(guest);
        assert_eq!(console.expect("one", soon()).unwrap_err().why, Why::Closed);
    }

    #[test]
    fn lines_of_an_earlier_boot_do_not_count() {
        let (mut console, mut guest, _folder) = console();
        guest.write_all(b"ready\nshell\n").unwrap();
        console.expect("shell", soon()).unwrap();
        assert_eq!(console.await_in_this_boot("ready", soon()), Ok(()), "it may have come before");
        console.forget_this_boot();
        drop(guest);
        assert_eq!(console.await_in_this_boot("ready", soon()).unwrap_err().why, Why::Closed);
    }

    #[test]
    fn a_failure_tells_what_was_awaited_how_long_and_shows_the_last_lines() {
        let (mut console, mut guest, folder) = console();
        for line in 1..=50 {
            writeln!(guest, "line {line}").unwrap();
        }
        console.expect("line 50", soon()).unwrap();
        let error = console.expect("ready", Deadline::host(Duration::from_millis(100))).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("awaiting \"ready\" on the console: nothing after "), "{text}");
        assert!(text.contains("(limit 100ms); last lines:\n  | line 11\n"), "{text}");
        let log = folder.path().join("console.log");
        assert!(text.ends_with(&format!("  | line 50\nfull log: {}", log.display())), "{text}");
        assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 50);
    }

    #[test]
    fn a_console_that_is_never_silent_is_not_listened_to_for_ever() {
        let (mut console, mut guest, _folder) = console();
        let chatter = thread::spawn(move || while guest.write_all(&[b'x'; 4096]).is_ok() {});
        let error = console.expect("ready", Deadline::host(Duration::from_millis(300))).unwrap_err();
        assert_eq!(error.why, Why::TimedOut);
        console.input.shutdown(std::net::Shutdown::Both).unwrap();
        chatter.join().unwrap();
    }

    #[test]
    fn a_kernel_panic_ends_the_wait_at_once() {
        let (mut console, mut guest, _folder) = console();
        guest.write_all(b"[ 1.0] Kernel panic - not syncing: no init\n").unwrap();
        assert_eq!(console.expect("ready", soon()).unwrap_err().why, Why::Panic);
    }

    #[test]
    fn a_command_is_told_from_its_echo() {
        let (mut console, mut guest, _folder) = console();
        let typed = b"$ echo b2d''-begin-1; uname; echo b2d''-end-1=$?\r\n";
        guest.write_all(typed).unwrap();
        guest.write_all(b"b2d-begin-1\r\nLinux\r\nb2d-end-1=0\r\n$ ").unwrap();
        assert_eq!(console.run("uname", soon()).unwrap(), ("Linux\n".to_owned(), 0));
    }

    #[test]
    fn characters_cut_in_two_by_the_line_are_put_together() {
        let mut transcript = Transcript::default();
        transcript.push(b"caf\xc3");
        transcript.push(b"\xa9 \xff!");
        assert_eq!(transcript.text, "caf\u{e9} \u{fffd}!");
    }
}
