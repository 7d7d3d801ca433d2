//! Terminals that people log in at.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, Winsize, isatty, tcgetattr,
    tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::deadline::Deadline;
use super::poll::{self, Interest};

/// Somebody else's text on a slow line is through by then.
const TURN_SECS: u64 = 1;

/// Opens a terminal without waiting for a carrier and without making it ours.
///
/// # Errors
/// When there is no device behind the name, or it is no terminal.
pub fn open_terminal(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = open(path, flags, Mode::empty()).with_context(|| format!("opening {}", path.display()))?;
    ensure!(isatty(&fd), "opening {}: not a terminal", path.display());
    Ok(fd)
}

/// Opens a terminal for a login: blocking, line mode with echo, no carrier needed, at the speed it has.
///
/// # Errors
/// As [`open_terminal`], or when the terminal refuses its modes.
pub fn open_for_login(path: &Path) -> Result<OwnedFd> {
    let fd = open_terminal(path)?;
    let settle = || -> rustix::io::Result<()> {
        let mut modes = tcgetattr(&fd)?;
        modes.input_modes = InputModes::ICRNL | InputModes::IXON | InputModes::BRKINT | InputModes::IUTF8;
        modes.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
        modes.control_modes.remove(ControlModes::CSIZE | ControlModes::PARENB | ControlModes::CRTSCTS);
        modes.control_modes |= ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL;
        modes.local_modes = LocalModes::ISIG
            | LocalModes::ICANON
            | LocalModes::ECHO
            | LocalModes::ECHOE
            | LocalModes::ECHOK
            | LocalModes::ECHOCTL
            | LocalModes::ECHOKE
            | LocalModes::IEXTEN;
        tcsetattr(&fd, OptionalActions::Now, &modes)?;
        fcntl_setfl(&fd, fcntl_getfl(&fd)? - OFlags::NONBLOCK)
    };
    settle().with_context(|| format!("setting the modes of {}", path.display()))?;
    Ok(fd)
}

/// Sends `question` to a terminal and returns what comes back until `is_answer` says it is all, or `wait` has passed.
/// Nothing is echoed meanwhile, and the modes are as before afterwards.
///
/// # Errors
/// As [`open_terminal`], or when the terminal takes nothing.
pub fn ask(
    path: &Path,
    question: &[u8],
    wait: Duration,
    is_answer: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>> {
    let mut terminal = File::from(open_terminal(path)?);
    let before = tcgetattr(&terminal).with_context(|| format!("reading the modes of {}", path.display()))?;
    let mut raw = before.clone();
    raw.make_raw();
    let answer = tcsetattr(&terminal, OptionalActions::Now, &raw)
        .map_err(io::Error::from)
        .and_then(|()| say(&mut terminal, question))
        .and_then(|()| hear(&mut terminal, wait, is_answer));
    tcsetattr(&terminal, OptionalActions::Now, &before)
        .with_context(|| format!("setting the modes of {}", path.display()))?;
    answer.with_context(|| format!("asking {}", path.display()))
}

fn hear(terminal: &mut File, wait: Duration, is_answer: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    while let Some(left) = wait.checked_sub(begun.elapsed()).filter(|_| !is_answer(&heard)) {
        if poll::wait(&[(terminal.as_fd(), Interest::Read)], Some(left))? == [true] {
            match terminal.read(&mut buffer)? {
                0 => break,
                count => heard.extend_from_slice(&buffer[..count]),
            }
        }
    }
    Ok(heard)
}

/// Puts bytes into a terminal's input as if they were typed now.
///
/// Source: ioctl_tty(2), TIOCSTI; since Linux 6.2 it is for those with CAP_SYS_ADMIN alone.
///
/// # Errors
/// As [`open_terminal`], or when the kernel refuses; some of the bytes may be there then.
pub fn type_in(path: &Path, bytes: &[u8]) -> Result<()> {
    let terminal = open_terminal(path)?;
    bytes
        .iter()
        .try_for_each(|byte| insert(&terminal, byte))
        .with_context(|| format!("putting input into {}", path.display()))
}

#[expect(unsafe_code, reason = "rustix has no TIOCSTI")]
fn insert(terminal: &OwnedFd, byte: &u8) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads one byte, which outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, std::ptr::from_ref(byte)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns a terminal's rows and columns, None if it does not know them.
///
/// # Errors
/// As [`open_terminal`], or when the kernel refuses.
pub fn size(path: &Path) -> Result<Option<(u16, u16)>> {
    let terminal = open_terminal(path)?;
    let size = tcgetwinsize(&terminal).with_context(|| format!("reading the size of {}", path.display()))?;
    Ok((size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col)))
}

/// Tells the kernel a terminal's rows and columns.
///
/// # Errors
/// As [`open_terminal`], or when the kernel refuses.
pub fn set_size(path: &Path, (rows, columns): (u16, u16)) -> Result<()> {
    let terminal = open_terminal(path)?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).with_context(|| format!("setting the size of {}", path.display()))
}

/// Writes a text that begins and ends a line of its own to a terminal, after what somebody else is writing there. A terminal
/// that takes nothing for a second loses it rather than holding us up for ever.
///
/// # Errors
/// As [`open_terminal`], or when the write fails.
pub fn print(path: &Path, text: &str) -> Result<()> {
    let mut terminal = File::from(open_terminal(path)?);
    say(&mut terminal, format!("\r{text}\r\n").as_bytes())
        .with_context(|| format!("writing to {}", path.display()))
}

/// Writes what a terminal of [`open_terminal`] takes now, and returns how many bytes that are.
///
/// Source: Linux drivers/tty/tty_io.c: who does not wait for another writer is turned away, and both its end and new room
/// in the terminal's buffer are reported to poll.
///
/// # Errors
/// When the line was hung up.
pub fn write_now(terminal: &mut File, text: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < text.len() {
        match terminal.write(&text[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

fn say(terminal: &mut File, mut text: &[u8]) -> io::Result<()> {
    let deadline = Deadline::secs(TURN_SECS);
    loop {
        text = &text[write_now(terminal, text)?..];
        if text.is_empty() {
            return Ok(());
        }
        if deadline.has_passed() {
            return Err(ErrorKind::TimedOut.into());
        }
        poll::wait(&[(terminal.as_fd(), Interest::Write)], Some(deadline.remaining()))?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::thread;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Returns the far end of a new terminal line, and the name of the terminal.
    fn line() -> (File, PathBuf) {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let name = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
        (File::from(far), PathBuf::from(name))
    }

    #[test]
    fn an_answer_is_heard_whole_and_is_not_echoed() {
        let (mut far, path) = line();
        let keep = open_terminal(&path).unwrap();
        let other = thread::spawn(move || {
            let mut question = [0; 2];
            far.read_exact(&mut question).unwrap();
            far.write_all(b"ans").unwrap();
            far.write_all(b"wer.").unwrap();
            far
        });
        let heard = ask(&path, b"??", Duration::from_secs(30), |heard| heard.ends_with(b".")).unwrap();
        assert_eq!(heard, b"answer.");
        let mut far = other.join().unwrap();
        let mut said = [0; 8];
        File::from(keep).write_all(b"next").unwrap();
        assert_eq!(far.read(&mut said).unwrap(), 4, "nothing else was said");
    }

    #[test]
    fn silence_ends_the_wait_and_a_size_is_kept() {
        let (_far, path) = line();
        let _keep = open_terminal(&path).unwrap();
        assert_eq!(ask(&path, b"?", Duration::from_millis(10), |_| false).unwrap(), b"");
        assert_eq!(size(&path).unwrap(), None);
        set_size(&path, (30, 100)).unwrap();
        assert_eq!(size(&path).unwrap(), Some((30, 100)));
    }

    /// Returns both ends of a line that is full: the second takes nothing.
    fn full_line() -> (UnixStream, File) {
        let (far, near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut near = File::from(OwnedFd::from(near));
        while near.write(&[b'x'; 4096]).is_ok() {}
        (far, near)
    }

    #[test]
    fn a_text_waits_until_the_terminal_takes_it() {
        let (mut far, mut near) = full_line();
        let printing = thread::spawn(move || say(&mut near, b"line"));
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).unwrap();
        assert!(heard.ends_with(b"xline"));
        printing.join().unwrap().unwrap();
    }

    #[test]
    fn a_text_nobody_takes_is_given_up() {
        let (_far, mut near) = full_line();
        assert_eq!(say(&mut near, b"line").unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
