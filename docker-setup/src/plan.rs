//! Decides all that has to be in place before dockerd starts. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use b2d_sys::contract::{DAEMON_JSON, STATE_DIR, TLS_DIR};
use serde_json::Value;

use crate::args::{arguments, extra_args, storage_driver};
use crate::bundle;
use crate::custom;
use crate::engine::{DaemonJson, store, unseen_data};
use crate::facts::{Facts, Secret};
use crate::issue::Purpose;
use crate::named;
use crate::profile::Tls;
use crate::settings::{Settings, settings};
use crate::tls::{self, Foreign, Issue, TlsFacts, TlsPlan};

/// How long before its end a certificate of somebody else is warned of.
const WARN_DAYS: i64 = 30;

/// What is to be done and said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What somebody should know.
    pub notes: Vec<String>,
    /// What is odd, but harmless: for the log.
    pub remarks: Vec<String>,
    /// Keys, and their directory, that others than root can read, with the permission bits they should have.
    pub tighten: Vec<(PathBuf, u32)>,
    /// Certificates, and which files dockerd gets.
    pub tls: TlsPlan,
    /// The certificate directory.
    pub cert_dir: PathBuf,
    /// New content of the system's list of authorities, if it changes.
    pub bundle: Option<String>,
    /// What `/etc/docker` shall lead to; None if it is to stay what it is.
    pub etc_docker: Option<PathBuf>,
    /// dockerd's configuration file, made of a custom image's; None if it is the usual one, or there is none.
    pub daemon_json: Option<String>,
    /// dockerd's arguments.
    pub arguments: Vec<String>,
    /// The same without TCP, for when the TLS files cannot be made.
    pub local_arguments: Vec<String>,
    /// There is a configuration file that dockerd should be asked about.
    pub has_daemon_json: bool,
    /// What is there for others than dockerd.
    pub settings: Settings,
}

impl Plan {
    /// Tells whether dockerd gets another certificate than it had.
    pub fn makes_server_certificate(&self) -> bool {
        self.server_certificate().is_some()
    }

    /// Tells whether it needs it at once.
    pub fn is_restart_due(&self) -> bool {
        self.server_certificate().is_some_and(|issue| !issue.can_wait)
    }

    fn server_certificate(&self) -> Option<&Issue> {
        self.tls.orders.iter().find(|issue| matches!(issue.order.purpose, Purpose::Server { .. }))
    }
}

/// Returns the plan.
pub fn plan(facts: &Facts) -> Plan {
    let mut daemon_json = DaemonJson::parse(facts.daemon_json.as_deref());
    let mut profile = facts.profile.clone();
    custom::give_way(&mut profile, &daemon_json.settings);
    let profile = &profile;
    let settings = settings(profile, facts.profile_error.as_deref());
    let mut notes = Vec::new();
    if profile.tls == Tls::Off && profile.hosts.iter().any(|host| host.starts_with("tcp://")) {
        notes.push("DOCKER_TLS=no: whoever reaches this machine's network is root on it".to_owned());
    }
    notes.extend(
        extra_args(profile).1.iter().map(|arg| format!("{arg} in EXTRA_ARGS is ignored; see DOCKER_TLS")),
    );
    notes.extend(named::notes(profile, &facts.tls));
    notes.extend(facts.tls.foreign.iter().filter_map(|named| ending(named, &facts.tls)));
    let tls = tls::plan(profile, &facts.tls);
    notes.extend(daemon_json.error.clone());
    let is_custom = facts.daemon_json.is_none() && facts.custom_daemon_json.is_some();
    if is_custom {
        let image = DaemonJson::parse(facts.custom_daemon_json.as_deref());
        daemon_json.settings = custom::effective(image.settings, &profile.extra_args);
    }
    let driver = storage_driver(profile, &facts.usable_drivers, &mut notes);
    let store = store(driver.as_deref(), &facts.driver_dirs, &daemon_json, &profile.extra_args);
    notes.extend(unseen_data(&profile.data_root, &facts.driver_dirs, &store, &daemon_json));
    let config_file = is_custom.then(|| ["--config-file", DAEMON_JSON].map(str::to_owned));
    let arguments = |tls| {
        [arguments(profile, tls, &store, &daemon_json), config_file.iter().flatten().cloned().collect()]
            .concat()
    };
    let base = facts.bundle.as_deref().unwrap_or_default();
    let mut remarks = Vec::new();
    let bundle = bundle::extend(base, &facts.extra_certificates, &mut notes, &mut remarks);
    Plan {
        arguments: arguments(Some(&tls)),
        local_arguments: arguments(None),
        has_daemon_json: (is_custom || facts.daemon_json.is_some()) && daemon_json.error.is_none(),
        daemon_json: is_custom.then(|| Value::Object(daemon_json.settings.clone()).to_string()),
        tls,
        cert_dir: profile.cert_dir.clone(),
        bundle: (bundle != base).then_some(bundle),
        etc_docker: (!facts.has_own_etc_docker).then(|| PathBuf::from(STATE_DIR).join("etc/docker")),
        tighten: facts.secrets.iter().filter_map(tighten).collect(),
        settings,
        notes,
        remarks,
    }
}

/// Returns what a secret's permission bits have to become, if they must change. A directory that is not ours alone, as
/// somebody's CERTDIR may be, is left as it is: the keys in it are closed anyway.
fn tighten(secret: &Secret) -> Option<(PathBuf, u32)> {
    let (wanted, is_ours) =
        if secret.is_dir { (0o700, secret.path == Path::new(TLS_DIR)) } else { (0o600, true) };
    (is_ours && secret.mode & 0o077 != 0).then(|| (secret.path.clone(), wanted))
}

/// Machine's certificates are its own to renew, but nobody looks at their dates before nothing works any more.
fn ending(named: &Foreign, facts: &TlsFacts) -> Option<String> {
    let Foreign { variable, path, not_after } = named;
    let days = tls::days_left(*not_after, facts);
    let what = format!("{variable}={}", path.display());
    match days {
        ..0 => Some(format!("{what} has expired {} days ago", -days)),
        0..WARN_DAYS => Some(format!("{what} expires in {days} days; who made it must renew it")),
        _ => None,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.remarks.iter().try_for_each(|remark| writeln!(f, "remark: {remark}"))?;
        for (path, mode) in &self.tighten {
            writeln!(f, "close {}, mode {mode:04o}", path.display())?;
        }
        self.tls.orders.iter().try_for_each(|issue| writeln!(f, "{issue}"))?;
        for (file, name) in &self.tls.for_user {
            writeln!(f, "give {} to user docker as {name}", file.display())?;
        }
        if let Some(bundle) = &self.bundle {
            writeln!(f, "write the list of authorities, {} bytes", bundle.len())?;
        }
        if let Some(target) = &self.etc_docker {
            writeln!(f, "link /etc/docker -> {}", target.display())?;
        }
        if let Some(text) = &self.daemon_json {
            writeln!(f, "write {DAEMON_JSON}, {} bytes", text.len())?;
        }
        write!(f, "{}", self.settings)?;
        writeln!(f, "dockerd {}", self.arguments.join(" "))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
