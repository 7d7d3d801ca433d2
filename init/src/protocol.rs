//! What `service` and `poweroff` say to PID 1 and hear back: one line there, lines back. Pure.

use std::fmt;
use std::time::Duration;

use b2d_sys::power::End;

/// Longest request PID 1 reads.
pub const REQUEST_BYTES: usize = 256;

/// What to do with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it, its helper first.
    Start,
    /// End it.
    Stop,
    /// End and start it.
    Restart,
    /// Have it read its configuration again.
    Reload,
    /// Say whether it runs.
    Status,
}

/// Verbs by the words people type.
pub const VERBS: [(&str, Verb); 5] = [
    ("start", Verb::Start),
    ("stop", Verb::Stop),
    ("restart", Verb::Restart),
    ("reload", Verb::Reload),
    ("status", Verb::Status),
];

/// A request to PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Do something with a service.
    Service(Verb, String),
    /// Name all services.
    List,
    /// End the machine after a delay.
    End(End, Duration),
}

impl Request {
    /// Returns the request in a line, or None if it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["list"] => Some(Self::List),
            ["end", end, seconds] => {
                let (_, end) = ENDS.into_iter().find(|(word, _)| word == end)?;
                Some(Self::End(end, Duration::from_secs(seconds.parse().ok()?)))
            }
            [verb, name] => {
                let (_, verb) = VERBS.into_iter().find(|(word, _)| word == verb)?;
                Some(Self::Service(verb, (*name).to_owned()))
            }
            _ => None,
        }
    }
}

const ENDS: [(&str, End); 3] = [("poweroff", End::PowerOff), ("reboot", End::Reboot), ("halt", End::Halt)];

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("list"),
            Self::Service(verb, name) => {
                let word = VERBS.into_iter().find(|(_, other)| other == verb).map_or("", |(word, _)| word);
                write!(f, "{word} {name}")
            }
            Self::End(end, delay) => {
                let word = ENDS.into_iter().find(|(_, other)| other == end).map_or("", |(word, _)| word);
                write!(f, "end {word} {}", delay.as_secs())
            }
        }
    }
}

/// PID 1's answer: lines for standard output or error, and the exit status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Lines for standard output.
    pub out: Vec<String>,
    /// Lines for standard error.
    pub err: Vec<String>,
    /// Exit status.
    pub code: u8,
}

impl Reply {
    /// Returns a reply for success, with a line for standard output.
    pub fn ok(line: impl Into<String>) -> Self {
        Self { out: vec![line.into()], ..Self::default() }
    }

    /// Returns a reply for failure, with a line for standard error.
    pub fn failed(line: impl Into<String>) -> Self {
        Self { err: vec![line.into()], code: 1, ..Self::default() }
    }

    /// Returns the reply in PID 1's lines; one that broke off counts as failure.
    pub fn parse(text: &str) -> Self {
        let mut reply = Self { code: 1, ..Self::default() };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("out", rest)) => reply.out.push(rest.to_owned()),
                Some(("err", rest)) => reply.err.push(rest.to_owned()),
                Some(("exit", code)) => reply.code = code.parse().unwrap_or(1),
                _ => {}
            }
        }
        reply
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.out.iter().try_for_each(|line| writeln!(f, "out {line}"))?;
        self.err.iter().try_for_each(|line| writeln!(f, "err {line}"))?;
        writeln!(f, "exit {}", self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        let requests = [
            Request::List,
            Request::Service(Verb::Restart, "docker".into()),
            Request::End(End::Reboot, Duration::from_secs(60)),
        ];
        for request in requests {
            assert_eq!(Request::parse(&request.to_string()), Some(request));
        }
        for bad in ["", "start", "dance docker", "end sleep 0", "end reboot soon", "start a b"] {
            assert_eq!(Request::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn replies_survive_the_wire() {
        let reply = Reply { out: vec!["a b".into(), String::new()], err: vec!["c".into()], code: 3 };
        assert_eq!(Reply::parse(&reply.to_string()), reply);
        assert_eq!(Reply::parse("out half").code, 1);
    }
}
