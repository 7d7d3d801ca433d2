//! What the profile decides for others than dockerd: time servers, limits, cron, the place of the log. Pure.

use std::fmt;
use std::path::PathBuf;

use b2d_sys::contract::NTP_DIR;

use crate::engine::{blob_dirs, containerd_arguments};
use crate::exports;
use crate::profile::{MOST_OPEN_FILES, Profile};

/// The zone of the distribution that this image's packages come from.
const USUAL_POOL: &str = "2.debian.pool.ntp.org";

/// Files others read, to be written before any of them starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What somebody should know.
    pub notes: Vec<String>,
    /// Environment of services and hooks as `KEY=value` lines.
    pub environment: String,
    /// The same for shells.
    pub script: String,
    /// Where chronyd looks for time servers, in its own words.
    pub time_conf: String,
    /// Time servers the profile names, in chrony's words.
    pub time_sources: Option<String>,
    /// Limits of the daemons as `NAME NUMBER` lines; empty: the usual ones.
    pub limits: String,
    /// crond's further arguments, one a line.
    pub crond_args: String,
    /// containerd's further arguments, one a line.
    pub containerd_args: String,
    /// Directories to be made, outer ones first, in which containerd's renames are on the disk at once.
    pub synchronous_dirs: Vec<PathBuf>,
    /// dockerd's log.
    pub log_file: PathBuf,
}

/// Returns what follows from the profile; `error` is why it could not be evaluated.
pub fn settings(profile: &Profile, error: Option<&str>) -> Settings {
    let mut notes = Vec::new();
    if let Some(error) = error {
        notes.push(error.to_owned());
        notes.push("docker starts as if there was no profile".to_owned());
    }
    let exported = exports::with_both_spellings(&profile.exported);
    Settings {
        environment: exports::lines(&exported, &mut notes),
        script: exports::script(&exported),
        time_conf: time_conf(profile.ntp_server.as_deref()),
        time_sources: profile.ntp_server.as_deref().map(time_sources),
        limits: limits(profile.ulimits.as_deref(), &mut notes),
        crond_args: crond_args(&profile.crond_loglevel, &mut notes),
        containerd_args: containerd_arguments(&profile.data_root),
        synchronous_dirs: blob_dirs(&profile.data_root),
        log_file: profile.log_file.clone(),
        notes,
    }
}

/// Nothing but blanks turns time servers off, those of DHCP as well, as 17.12 had it.
fn time_conf(servers: Option<&str>) -> String {
    match servers.map(str::trim) {
        None => format!("sourcedir {NTP_DIR}\npool {USUAL_POOL} iburst\n"),
        Some("") => "# The profile's NTP_SERVER is blank.\n".to_owned(),
        Some(_) => format!("sourcedir {NTP_DIR}\n"),
    }
}

fn time_sources(servers: &str) -> String {
    let mut text = "# NTP_SERVER of /var/lib/boot2docker/profile\n".to_owned();
    for server in servers.split_whitespace() {
        text.push_str(&format!("server {server} iburst\n"));
    }
    text
}

/// As 17.12 did: one number for open files and for processes.
fn limits(ulimits: Option<&str>, notes: &mut Vec<String>) -> String {
    let Some(text) = ulimits else { return String::new() };
    match text.trim().parse() {
        Ok(number @ 1..=MOST_OPEN_FILES) => format!("nofile {number}\nnproc {number}\n"),
        _ => {
            notes.push(format!(
                "DOCKER_ULIMITS={text} is ignored: a number from 1 to {MOST_OPEN_FILES} is needed"
            ));
            String::new()
        }
    }
}

/// busybox crond: 0 tells everything, 8 is its default.
fn crond_args(level: &str, notes: &mut Vec<String>) -> String {
    match level.parse::<u8>() {
        Ok(level) => format!("-l\n{level}\n"),
        Err(_) => {
            notes.push(format!("CROND_LOGLEVEL={level} is ignored: a number from 0 to 255 is needed"));
            String::new()
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        // Values may be passwords of a proxy: names only.
        let names: Vec<&str> = self.environment.lines().filter_map(|line| line.split('=').next()).collect();
        writeln!(f, "environment {}", names.join(" "))?;
        if let Some(sources) = &self.time_sources {
            writeln!(f, "time from {:?}", sources.lines().skip(1).collect::<Vec<_>>())?;
        }
        if !self.limits.is_empty() {
            writeln!(f, "limits {}", self.limits.trim_end().replace('\n', ", "))?;
        }
        writeln!(f, "crond {}", self.crond_args.trim_end().replace('\n', " "))?;
        writeln!(f, "containerd {}", self.containerd_args.trim_end().replace('\n', " "))?;
        for dir in &self.synchronous_dirs {
            writeln!(f, "make directory {}, with synchronous updates", dir.display())?;
        }
        writeln!(f, "docker's log {}", self.log_file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Evaluated;

    fn of(variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        settings(&Profile::new(&Evaluated { variables, ..Evaluated::default() }), None)
    }

    #[test]
    fn time_servers_replace_the_usual_ones_or_are_none_at_all() {
        const FIRST: &str = "# NTP_SERVER of /var/lib/boot2docker/profile\n";
        const DIR: &str = "sourcedir /run/boot2docker/ntp\n";
        let rows = [
            ("", format!("{DIR}pool 2.debian.pool.ntp.org iburst\n"), None),
            (" ", "# The profile's NTP_SERVER is blank.\n".to_owned(), Some(FIRST.to_owned())),
            ("a b", DIR.to_owned(), Some(format!("{FIRST}server a iburst\nserver b iburst\n"))),
        ];
        for (value, conf, sources) in rows {
            let settings = of(&[("NTP_SERVER", value)]);
            assert_eq!((settings.time_conf, settings.time_sources), (conf, sources), "{value:?}");
        }
    }

    #[test]
    fn limits_that_the_kernel_would_refuse_are_not_passed_on() {
        let note = |text: &str| {
            vec![format!("DOCKER_ULIMITS={text} is ignored: a number from 1 to 1048576 is needed")]
        };
        let rows = [
            ("", "", vec![]),
            ("4096", "nofile 4096\nnproc 4096\n", vec![]),
            ("1048577", "", note("1048577")),
            ("many", "", note("many")),
            ("0", "", note("0")),
        ];
        for (value, limits, notes) in rows {
            let settings = of(&[("DOCKER_ULIMITS", value)]);
            assert_eq!((settings.limits.as_str(), settings.notes), (limits, notes), "{value}");
        }
    }

    #[test]
    fn cron_tells_as_much_as_asked() {
        assert_eq!(of(&[]).crond_args, "-l\n8\n");
        assert_eq!(of(&[("CROND_LOGLEVEL", "0")]).crond_args, "-l\n0\n");
        let bad = of(&[("CROND_LOGLEVEL", "loud")]);
        assert_eq!(bad.crond_args, "");
        assert_eq!(bad.notes, ["CROND_LOGLEVEL=loud is ignored: a number from 0 to 255 is needed"]);
    }

    #[test]
    fn log_lies_where_it_is_asked_for() {
        assert_eq!(of(&[]).log_file, PathBuf::from("/var/lib/boot2docker/docker.log"));
        assert_eq!(of(&[("DOCKER_LOGFILE", "/x/d.log")]).log_file, PathBuf::from("/x/d.log"));
    }
}
