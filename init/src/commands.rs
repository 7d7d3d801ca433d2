//! `service`, `poweroff`, `reboot`, `halt`, `shutdown`: what a command line asks for. Pure.

use std::time::Duration;

use b2d_sys::power::End;

use crate::protocol::{Request, VERBS};
use crate::report::Format;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ask PID 1.
    Ask(Request),
    /// End the machine without PID 1.
    EndNow(End),
    /// Tell of the boot.
    Report(Format),
    /// Print this on standard output and succeed.
    Help(&'static str),
    /// Print this on standard error and fail.
    Usage(&'static str),
}

const SERVICE_USAGE: &str = "Usage: service NAME {start|stop|restart|reload|status}\n       service --list";
const SHUTDOWN_USAGE: &str = "Usage: shutdown {-h|-r} {now|+MINUTES}\n  -h  power off\n  -r  reboot";
const REPORT_USAGE: &str = "Usage: boot2docker-boot [time|json|plot]\n  time  where the time of the boot went\n  \
                            json  the same for programs\n  plot  a drawing, SVG";
const END_USAGE: &str = "Usage: {poweroff|reboot|halt} [-f]\n  -f  at once, without stopping anything";

/// Folders of links to us, each named like a service, for those who know services by these paths.
const SCRIPT_FOLDERS: [&str; 2] = ["init.d", "rc.d"];

/// Returns what `program` (the path or name it was called by) with these arguments asks for; None for other programs.
pub fn parse(program: &str, args: &[&str]) -> Option<Command> {
    let (folder, program) = program.rsplit_once('/').unwrap_or(("", program));
    if SCRIPT_FOLDERS.contains(&folder.rsplit('/').next().unwrap_or_default()) {
        return Some(service(&[&[program], args].concat()));
    }
    match program {
        "service" => Some(service(args)),
        "shutdown" => Some(shutdown(args)),
        "poweroff" => Some(end(End::PowerOff, args)),
        "reboot" => Some(end(End::Reboot, args)),
        "halt" => Some(end(End::Halt, args)),
        "boot2docker-boot" => Some(report(args)),
        _ => None,
    }
}

fn report(args: &[&str]) -> Command {
    match args {
        [] | ["time"] => Command::Report(Format::Table),
        ["json"] => Command::Report(Format::Json),
        ["plot"] => Command::Report(Format::Plot),
        ["--help" | "-h"] => Command::Help(REPORT_USAGE),
        _ => Command::Usage(REPORT_USAGE),
    }
}

fn service(args: &[&str]) -> Command {
    match args {
        ["--list"] => Command::Ask(Request::List),
        ["--help" | "-h"] => Command::Help(SERVICE_USAGE),
        [name, word] if !name.starts_with('-') => match VERBS.into_iter().find(|(known, _)| known == word) {
            Some((_, verb)) => Command::Ask(Request::Service(verb, canonical(name).to_owned())),
            None => Command::Usage(SERVICE_USAGE),
        },
        _ => Command::Usage(SERVICE_USAGE),
    }
}

/// Returns the name a service has here for the names it has elsewhere.
fn canonical(name: &str) -> &str {
    match name {
        "dockerd" => "docker",
        "ssh" | "openssh" => "sshd",
        "chrony" | "ntpd" => "chronyd",
        "cron" => "crond",
        other => other,
    }
}

/// Source: 17.12's `/sbin/shutdown`: both arguments are mandatory, else usage and status 1.
fn shutdown(args: &[&str]) -> Command {
    let (end, when) = match args {
        ["--help"] => return Command::Help(SHUTDOWN_USAGE),
        ["-h" | "-P", when] => (End::PowerOff, when),
        ["-r", when] => (End::Reboot, when),
        _ => return Command::Usage(SHUTDOWN_USAGE),
    };
    let minutes = match *when {
        "now" => Some(0),
        when => when.strip_prefix('+').and_then(|minutes| minutes.parse::<u32>().ok()),
    };
    match minutes {
        Some(minutes) => Command::Ask(Request::End(end, Duration::from_secs(u64::from(minutes) * 60))),
        None => Command::Usage(SHUTDOWN_USAGE),
    }
}

fn end(end: End, args: &[&str]) -> Command {
    match args {
        [] => Command::Ask(Request::End(end, Duration::ZERO)),
        ["-f"] => Command::EndNow(end),
        ["--help" | "-h"] => Command::Help(END_USAGE),
        _ => Command::Usage(END_USAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Verb;

    #[test]
    fn command_lines_mean_what_they_meant() {
        let after = |end, seconds| Command::Ask(Request::End(end, Duration::from_secs(seconds)));
        let service = |verb, name: &str| Command::Ask(Request::Service(verb, name.to_owned()));
        let rows: &[(&str, Option<Command>)] = &[
            ("poweroff", Some(after(End::PowerOff, 0))),
            ("reboot", Some(after(End::Reboot, 0))),
            ("halt", Some(after(End::Halt, 0))),
            ("reboot -f", Some(Command::EndNow(End::Reboot))),
            ("poweroff now", Some(Command::Usage(END_USAGE))),
            ("shutdown -h now", Some(after(End::PowerOff, 0))),
            ("shutdown -r +0", Some(after(End::Reboot, 0))),
            ("shutdown -r +2", Some(after(End::Reboot, 120))),
            ("shutdown -r", Some(Command::Usage(SHUTDOWN_USAGE))),
            ("shutdown now", Some(Command::Usage(SHUTDOWN_USAGE))),
            ("shutdown -h 12:00", Some(Command::Usage(SHUTDOWN_USAGE))),
            ("shutdown -h +-1", Some(Command::Usage(SHUTDOWN_USAGE))),
            ("service --list", Some(Command::Ask(Request::List))),
            ("service dockerd restart", Some(service(Verb::Restart, "docker"))),
            ("service sshd status", Some(service(Verb::Status, "sshd"))),
            ("service docker dance", Some(Command::Usage(SERVICE_USAGE))),
            ("service docker", Some(Command::Usage(SERVICE_USAGE))),
            ("/sbin/service sshd status", Some(service(Verb::Status, "sshd"))),
            ("/etc/init.d/crond reload", Some(service(Verb::Reload, "crond"))),
            ("/etc/init.d/ntpd dance", Some(Command::Usage(SERVICE_USAGE))),
            ("boot2docker-boot plot", Some(Command::Report(Format::Plot))),
            ("boot2docker-boot dance", Some(Command::Usage(REPORT_USAGE))),
            ("ls -l", None),
        ];
        for (line, expected) in rows {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(parse(words[0], &words[1..]), *expected, "{line}");
        }
    }
}
