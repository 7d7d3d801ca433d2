//! The command side of PID 1's control socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use b2d_sys::contract;
use b2d_sys::effects::{process, reboot};

use crate::commands::Command;
use crate::power::signal_for_end;
use crate::protocol::{Reply, Request};
use crate::report;

/// Carries a command out; returns the exit status.
///
/// # Errors
/// When PID 1 cannot be asked.
pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Ask(request) => ask(request),
        Command::EndNow(end) => {
            reboot::sync();
            reboot::now(*end)?;
            Ok(0)
        }
        Command::Report(format) => {
            report::run(*format)?;
            Ok(0)
        }
        Command::Help(text) => {
            println!("{text}");
            Ok(0)
        }
        Command::Usage(text) => {
            eprintln!("{text}");
            Ok(1)
        }
    }
}

fn ask(request: &Request) -> Result<u8> {
    let socket = match UnixStream::connect(contract::CONTROL_SOCKET) {
        Ok(socket) => socket,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            println!("must be root");
            return Ok(1);
        }
        // Nobody listens in a rescue shell; signals are heard there.
        Err(error) => return signal_instead(request, error),
    };
    let reply = converse(socket, request).with_context(|| format!("asking PID 1 to {request}"))?;
    for line in &reply.out {
        println!("{line}");
    }
    for line in &reply.err {
        eprintln!("{line}");
    }
    Ok(reply.code)
}

fn converse(mut socket: UnixStream, request: &Request) -> io::Result<Reply> {
    writeln!(socket, "{request}")?;
    socket.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(Reply::parse(&text))
}

fn signal_instead(request: &Request, error: io::Error) -> Result<u8> {
    match request {
        Request::End(end, delay) if delay.is_zero() => {
            process::signal_init(signal_for_end(*end))?;
            Ok(0)
        }
        _ => Err(error).with_context(|| format!("connecting to {}", contract::CONTROL_SOCKET)),
    }
}
