//! The service table: everything PID 1 keeps running.

use std::path::{Path, PathBuf};
use std::time::Duration;

use b2d_sys::contract;

use crate::facts::{Facts, StateFacts};
use crate::model::ServiceId;
use crate::service::{Limit, Ready, Restart, Service, Stop, StopGroup, Streams};
use crate::works::{HOST_CLOCK, HOST_CLOCK_LIMIT, ON_SIZED_TERMINAL, PROGRAM, WATCH_CLOCK};

/// dockerd gives all containers together 15 s, and then needs time for itself: seconds for many on a slow machine.
const DOCKER_GRACE: Duration = Duration::from_secs(30);
/// containerd closes its database.
const CONTAINERD_GRACE: Duration = Duration::from_secs(5);
/// Everything else ends at once or not at all.
const SMALL_GRACE: Duration = Duration::from_secs(2);
/// Certificates for many addresses on a slow machine.
pub const DOCKER_SETUP_LIMIT: Duration = Duration::from_secs(180);
/// Open files of daemon and containers, as boot2docker had it; also the kernel's own ceiling.
const OPEN_FILES: u64 = 1_048_576;
/// The daemons outlive any container when memory runs out. Source: moby's systemd unit.
const DAEMON_OOM_SCORE: i16 = -500;
/// sshd is the way in for repairs. Source: OpenSSH `platform.c`.
const SSHD_OOM_SCORE: i16 = -1000;

/// The engine, and what runs containers for it.
const DOCKER: &str = "docker";
const CONTAINERD: &str = "containerd";
/// Both, which lie idle most of the time.
pub const DAEMONS: [&str; 2] = [DOCKER, CONTAINERD];

/// The clock's keeper.
pub const CHRONYD: &str = "/usr/sbin/chronyd";

/// Returns every service of this machine.
pub fn table(facts: &Facts, state: &StateFacts) -> Vec<Service> {
    let log_dir = state.log_dir.as_path();
    let mut services =
        vec![containerd(log_dir), docker(log_dir), sshd(log_dir), chronyd(log_dir), crond(log_dir)];
    if facts.has_hardware_clock {
        services.push(plain("clock", &[PROGRAM, WATCH_CLOCK], log_dir));
    }
    services.extend(facts.interfaces.iter().map(|interface| udhcpc(interface)));
    let has_autologin = !facts.cmdline.has("b2d.noautologin");
    services.extend(facts.terminals.iter().map(|terminal| getty(terminal, has_autologin)));
    services
}

fn plain(name: &str, argv: &[&str], log_dir: &Path) -> Service {
    Service {
        id: ServiceId::new(name),
        after: vec![],
        argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
        args_from: None,
        env: vec![("HOME", "/root".to_owned())],
        env_from: None,
        limits_from: None,
        prepare: None,
        ready: Ready::Started,
        restart: Restart::Always,
        reloads: false,
        stop: Stop { group: StopGroup::Rest, by_hangup: false, is_left_halted: false, grace: SMALL_GRACE },
        streams: Streams::Log(log_dir.join(format!("{name}.log"))),
        limits: vec![],
        oom_score: 0,
    }
}

fn containerd(log_dir: &Path) -> Service {
    let argv = ["/usr/bin/containerd", "--config", "/etc/containerd/config.toml"];
    Service {
        args_from: Some(contract::CONTAINERD_ARGS),
        env_from: Some(contract::PROFILE_ENV),
        limits_from: Some(contract::DAEMON_LIMITS),
        ready: Ready::Path(contract::CONTAINERD_SOCKET),
        stop: Stop {
            group: StopGroup::Containerd,
            by_hangup: false,
            is_left_halted: false,
            grace: CONTAINERD_GRACE,
        },
        limits: daemon_limits(),
        oom_score: DAEMON_OOM_SCORE,
        ..plain(CONTAINERD, &argv, log_dir)
    }
}

fn docker(log_dir: &Path) -> Service {
    Service {
        after: vec![ServiceId::new(CONTAINERD)],
        args_from: Some(contract::DOCKERD_ARGS),
        env_from: Some(contract::PROFILE_ENV),
        limits_from: Some(contract::DAEMON_LIMITS),
        prepare: Some((vec!["/usr/sbin/docker-setup".to_owned()], DOCKER_SETUP_LIMIT)),
        ready: Ready::Ping(contract::DOCKER_SOCKET),
        reloads: true,
        stop: Stop { group: StopGroup::Docker, by_hangup: false, is_left_halted: false, grace: DOCKER_GRACE },
        // A link to where the profile wants the log.
        streams: Streams::Log(PathBuf::from(contract::DOCKER_LOG_LINK)),
        limits: daemon_limits(),
        oom_score: DAEMON_OOM_SCORE,
        ..plain(DOCKER, &[contract::DOCKERD], log_dir)
    }
}

/// Containers inherit these from containerd's shims.
fn daemon_limits() -> Vec<Limit> {
    vec![Limit::OpenFiles(Some(OPEN_FILES)), Limit::Processes(None), Limit::Core(None)]
}

fn sshd(log_dir: &Path) -> Service {
    let argv = ["/usr/sbin/sshd-setup", "serve"];
    // sshd writes its pid file once it listens. Source: OpenSSH sshd.c, after server_listen().
    let ready = Ready::Path("/run/sshd.pid");
    // Whoever hands its sockets to another sshd has halted it: awake once more it would take a connection, and drop it.
    let stop = Stop { group: StopGroup::Rest, by_hangup: false, is_left_halted: true, grace: SMALL_GRACE };
    Service { ready, oom_score: SSHD_OOM_SCORE, stop, ..plain("sshd", &argv, log_dir) }
}

/// Its messages go where they can be read without syslogd.
fn chronyd(log_dir: &Path) -> Service {
    let prepare = vec![PROGRAM.to_owned(), HOST_CLOCK.to_owned()];
    Service {
        prepare: Some((prepare, HOST_CLOCK_LIMIT)),
        ..plain("chronyd", &[CHRONYD, "-d", "-f", "/etc/chrony/chrony.conf"], log_dir)
    }
}

/// busybox crond writes its log itself, as it knows no other way without syslogd.
fn crond(log_dir: &Path) -> Service {
    let log = log_dir.join("crond.log").display().to_string();
    let argv = ["/usr/sbin/crond", "-f", "-L", &log, "-c", "/var/spool/cron/crontabs"];
    Service {
        args_from: Some(contract::CROND_ARGS),
        env_from: Some(contract::PROFILE_ENV),
        ..plain("crond", &argv, log_dir)
    }
}

/// net-setup gives the interface its fixed address and ends, or becomes busybox udhcpc; static-address recipes kill
/// that by its pid file.
pub fn udhcpc(interface: &str) -> Service {
    let argv = ["/usr/sbin/net-setup", "interface", interface];
    Service {
        // Who kills it by hand wants an address of his own; it must stay dead.
        restart: Restart::AfterFault,
        streams: Streams::Log(Path::new(contract::LOG_DIR).join("udhcp.log")),
        ..plain(&format!("udhcpc-{interface}"), &argv, Path::new(contract::LOG_DIR))
    }
}

/// Tells a line, with whatever at its other end, from a screen.
fn is_line(terminal: &str) -> bool {
    ["ttyS", "hvc"].iter().any(|kind| terminal.starts_with(kind))
}

fn getty(terminal: &str, has_autologin: bool) -> Service {
    let term = if is_line(terminal) { "vt100" } else { "linux" };
    let mut argv = if has_autologin {
        vec!["/bin/login", "-f", "docker"]
    } else {
        vec!["/sbin/getty", "-L", "0", "-", term]
    };
    if is_line(terminal) {
        argv.splice(..0, [PROGRAM, ON_SIZED_TERMINAL]);
    }
    Service {
        env: vec![("TERM", term.to_owned())],
        stop: Stop { group: StopGroup::Logins, by_hangup: true, is_left_halted: false, grace: SMALL_GRACE },
        streams: Streams::Terminal(Path::new("/dev").join(terminal)),
        ..plain(&format!("getty-{terminal}"), &argv, Path::new("/"))
    }
}
