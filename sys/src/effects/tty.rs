//! Terminals that people log in at.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, isatty, tcgetattr, tcsetattr,
};

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

/// Writes a line to a terminal; a terminal that takes nothing now loses it rather than holding us up.
///
/// # Errors
/// As [`open_terminal`], or when the write fails.
pub fn print_line(path: &Path, line: &str) -> Result<()> {
    let mut terminal = File::from(open_terminal(path)?);
    terminal
        .write_all(format!("\r{line}\r\n").as_bytes())
        .with_context(|| format!("writing to {}", path.display()))
}
