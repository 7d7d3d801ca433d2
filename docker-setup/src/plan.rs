//! Decides all that has to be in place before dockerd starts. Pure.

use std::fmt;
use std::path::PathBuf;

use b2d_sys::contract::STATE_DIR;

use crate::args::arguments;
use crate::bundle;
use crate::facts::Facts;
use crate::profile::Tls;
use crate::settings::{Settings, settings};
use crate::tls::{self, TlsPlan};

/// What is to be done and said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What somebody should know.
    pub notes: Vec<String>,
    /// Certificates, and which files dockerd gets.
    pub tls: TlsPlan,
    /// The certificate directory.
    pub cert_dir: PathBuf,
    /// New content of the system's list of authorities, if it changes.
    pub bundle: Option<String>,
    /// What `/etc/docker` shall lead to; None if it is to stay what it is.
    pub etc_docker: Option<PathBuf>,
    /// dockerd's arguments.
    pub arguments: Vec<String>,
    /// The same without TCP, for when the TLS files cannot be made.
    pub local_arguments: Vec<String>,
    /// What is there for others than dockerd.
    pub settings: Settings,
}

/// Returns the plan.
pub fn plan(facts: &Facts) -> Plan {
    let profile = &facts.profile;
    let settings = settings(profile, facts.profile_error.as_deref());
    let mut notes = Vec::new();
    if profile.tls == Tls::Off && profile.hosts.iter().any(|host| host.starts_with("tcp://")) {
        notes.push("DOCKER_TLS=no: whoever reaches this machine's network is root on it".to_owned());
    }
    notes.extend(absent_files(facts));
    let tls = tls::plan(profile, &facts.tls);
    let arguments = arguments(profile, Some(&tls), &facts.data_fstype, &mut notes);
    let base = facts.bundle.as_deref().unwrap_or_default();
    let bundle = bundle::extend(base, &facts.extra_certificates, &mut notes);
    // The notes about storage were made above.
    let local_arguments = crate::args::arguments(profile, None, &facts.data_fstype, &mut Vec::new());
    Plan {
        tls,
        cert_dir: profile.cert_dir.clone(),
        bundle: (bundle != base).then_some(bundle),
        etc_docker: (!facts.has_own_etc_docker).then(|| PathBuf::from(STATE_DIR).join("etc/docker")),
        arguments,
        local_arguments,
        settings,
        notes,
    }
}

fn absent_files(facts: &Facts) -> impl Iterator<Item = String> {
    let profile = &facts.profile;
    let files = [
        ("CACERT", &profile.ca_cert),
        ("SERVERCERT", &profile.server_cert),
        ("SERVERKEY", &profile.server_key),
        ("CERT", &profile.client_cert),
        ("KEY", &profile.client_key),
    ];
    let named = files.into_iter().filter_map(|(name, file)| Some((name, file.named.as_ref()?)));
    let absent = named.filter(|(_, path)| !facts.tls.existing.contains(*path));
    absent.map(|(name, path)| format!("{name}={} does not exist: our own is used", path.display()))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
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
        write!(f, "{}", self.settings)?;
        writeln!(f, "dockerd {}", self.arguments.join(" "))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
