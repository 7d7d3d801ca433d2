//! The last resort: a root shell and the reason on every console, or words when there is no shell.
//! Never returns and never lets the kernel panic.

use std::collections::HashMap;
use std::ffi::{CStr, OsString};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::contract;
use b2d_sys::effects::deadline::Deadline;
use b2d_sys::effects::poll::{self, Interest};
use b2d_sys::effects::process::{self, Pid, Spawn, Streams};
use b2d_sys::effects::reboot;
use b2d_sys::effects::signals::{self, SIGKILL, SIGTERM, SignalFd};
use b2d_sys::effects::{clock, tty};
use b2d_sys::power::End;

use crate::facts;
use crate::finish;
use crate::power::{END_SIGNALS, end_for_signal};

/// The argument that makes PID 1 begin here, followed by the reason.
pub const ARGUMENT: &str = "--rescue";
/// The same for a crash, which must not allocate.
const RESCUE_ARGUMENT: &CStr = c"--rescue";
/// Shells to look for.
const SHELLS: [&str; 2] = ["/bin/sh", "/bin/bash"];
/// A shell that ends is started again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Killed logins are gone by then, however busy the processors are.
const LOGINS_END: Duration = Duration::from_secs(3);
/// Names of consoles when the kernel does not tell.
const LIKELY_CONSOLES: [&str; 2] = ["tty0", "ttyS0"];

/// Makes a panic or a crash of PID 1 end in a rescue shell: the process becomes a fresh one that knows the reason.
pub fn guard_against_panic() {
    let words = [c"/proc/self/exe".to_owned(), RESCUE_ARGUMENT.to_owned(), c"PID 1 crashed".to_owned()];
    if let Err(error) = signals::replace_on_crash(words) {
        log::warn!("{error:#}; a crash of PID 1 will take the kernel down");
    }
    std::panic::set_hook(Box::new(|panic| {
        let args = [ARGUMENT.into(), format!("PID 1 panicked: {panic}").replace('\n', " ").into()];
        let error = process::replace_self(Path::new("/proc/self/exe"), &args);
        run(&format!("PID 1 panicked: {panic}; starting afresh: {error}"));
    }));
}

/// Shows the reason and offers a shell on every console, for ever; with `panic=N` reboots after N seconds.
pub fn run(reason: &str) -> ! {
    log::error!("rescue: {reason}");
    let consoles = consoles();
    let shell = SHELLS.into_iter().find(|path| Path::new(path).exists());
    end_logins();
    let reboot_at = reboot_delay().map(|delay| clock::since_kernel_start() + delay);
    for console in &consoles {
        explain(console, reason, shell.is_some());
    }
    let signals = SignalFd::new(&END_SIGNALS);
    let mut shells: HashMap<Pid, PathBuf> = HashMap::new();
    let mut missing = consoles;
    loop {
        if let Some(shell) = shell {
            start_shells(shell, &mut missing, &mut shells);
        }
        let fds: Vec<_> = signals.iter().map(|signals| (signals.as_fd(), Interest::Read)).collect();
        if let Err(error) = poll::wait(&fds, Some(AGAIN)) {
            log::debug!("waiting: {error}");
        }
        let signal = signals.as_ref().ok().and_then(SignalFd::next_signal);
        let is_late = reboot_at.is_some_and(|at| clock::since_kernel_start() >= at);
        if let Some(end) = signal.and_then(end_for_signal).or(is_late.then_some(End::Reboot)) {
            end_now(end);
        }
        while let Some((pid, _)) = process::reap() {
            missing.extend(shells.remove(&pid));
        }
    }
}

/// Whoever is logged in holds the terminals that the shells need; services and containers are left alone.
fn end_logins() {
    let logins = process::children_with_terminal();
    logins.iter().for_each(|&login| process::signal(login, SIGKILL));
    let deadline = Deadline::after(LOGINS_END);
    for login in logins {
        // With a login's end its line is hung up: what was written to it, or started there, just before is lost.
        match process::has_ended(login, deadline.remaining()) {
            Ok(true) => {}
            Ok(false) => log::debug!("login {login:?} does not end"),
            Err(error) => log::debug!("waiting for login {login:?}: {error}"),
        }
    }
}

fn consoles() -> Vec<PathBuf> {
    let mut names = facts::consoles(Path::new("/"));
    if names.is_empty() {
        names = LIKELY_CONSOLES.map(str::to_owned).into();
    }
    // The screen in view is no terminal to log in at; the first one is.
    let path = |name: String| Path::new("/dev").join(if name == "tty0" { "tty1" } else { &name });
    names.into_iter().map(path).collect()
}

/// Returns the seconds of the kernel's `panic=N`, if they are to be waited for.
fn reboot_delay() -> Option<Duration> {
    let line = KernelCmdline::read(Path::new("/")).ok()?;
    let seconds = line.get("panic")?.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn explain(console: &Path, reason: &str, has_shell: bool) {
    let advice = if has_shell {
        "this is a root shell; `reboot` and `poweroff` end it"
    } else {
        "there is no shell here; switch the machine off and check memory and boot medium"
    };
    for line in [format!("{} {reason}", contract::RESCUE), format!("boot2docker: {advice}")] {
        if let Err(error) = tty::print(console, &line) {
            log::debug!("{error:#}");
        }
    }
}

/// Starts a shell on each missing console; a console that refuses stays missing.
fn start_shells(shell: &str, missing: &mut Vec<PathBuf>, shells: &mut HashMap<Pid, PathBuf>) {
    for console in std::mem::take(missing) {
        match start_shell(shell, &console) {
            Ok(pid) => drop(shells.insert(pid, console)),
            Err(error) => {
                log::debug!("{error:#}");
                missing.push(console);
            }
        }
    }
}

fn start_shell(shell: &str, console: &Path) -> anyhow::Result<Pid> {
    let env = [("PATH", contract::PATH), ("HOME", "/root"), ("TERM", "linux"), ("PS1", "rescue# ")];
    let spawn = Spawn {
        argv: vec![OsString::from(shell)],
        env: env.map(|(key, value)| (key.into(), value.into())).into(),
        streams: Streams::Terminal(console.to_owned()),
        limits: vec![],
        oom_score: 0,
        cgroup: None,
    };
    Ok(process::start(&spawn)?.0)
}

/// Waits a moment.
fn pause() {
    if let Err(error) = poll::wait(&[], Some(AGAIN)) {
        log::debug!("waiting: {error}");
    }
}

fn end_now(end: End) -> ! {
    process::signal_everyone(SIGTERM);
    pause();
    process::signal_everyone(SIGKILL);
    finish::unmount_in_child();
    if let Err(error) = reboot::now(end) {
        log::error!("{error:#}");
    }
    // The kernel takes a moment to go down.
    loop {
        if poll::wait(&[], None).is_err() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use b2d_sys::effects::cmd::{Cmd, CmdError};

    use super::*;

    /// Set for the process that is to panic.
    const PANICS: &str = "B2D_TEST_PANICS";
    const NAME: &str = "rescue::tests::a_panic_makes_the_process_a_rescue";

    #[test]
    fn a_panic_makes_the_process_a_rescue() {
        if env::var_os(PANICS).is_some() {
            guard_against_panic();
            panic!("out of luck");
        }
        let child = Cmd::new(env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
        let error = child.env(PANICS, "1").run(Deadline::secs(60)).unwrap_err();
        // It becomes the same program again, which is told so; here that is the test runner, which knows no such option.
        let CmdError::Failed { stderr, .. } = &error else { panic!("{error}") };
        assert!(stderr.contains("Unrecognized option: 'rescue'"), "{stderr}");
    }
}
