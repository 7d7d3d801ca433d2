//! Decides which certificates to make anew, and which files dockerd gets. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::certificate::{Certificate, Name, Pair};
use crate::issue::{Order, Purpose, Validity};
use crate::profile::{Profile, Tls, TlsFile};

/// Seconds of a day.
pub const DAY: i64 = 24 * 60 * 60;
/// boot2docker's 17.12 life time.
const LEAF_DAYS: i64 = 1080;
/// Clients keep a copy of the authority, so it should outlive several machines' leaves.
const AUTHORITY_DAYS: i64 = 3650;
/// Days a certificate must still be valid for before a start of dockerd: machines run for months.
const RENEW_DAYS: i64 = 180;
/// The same while dockerd runs.
const LATE_RENEW_DAYS: i64 = 30;
/// Names every server certificate has besides the machine's own.
const LOCAL_NAMES: &[&str] = &["localhost", "localhost.local", "ip6-localhost", "ip6-loopback"];
/// List of the names in the current server certificate, for people; from boot2docker 17.12.
const NAMES_FILE: &str = "hostnames";

/// When certificates are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before dockerd starts: another certificate costs nothing.
    Start,
    /// While dockerd runs: it has to be started again, which ends containers, so nobody hurries.
    Running,
}

impl When {
    fn renew_days(self) -> i64 {
        match self {
            Self::Start => RENEW_DAYS,
            Self::Running => LATE_RENEW_DAYS,
        }
    }
}

/// What is known about the present material and the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The machine's clock, seconds since 1970.
    pub now: i64,
    /// When the image was built; the true time is later.
    pub image_time: i64,
    /// What dockerd does meanwhile.
    pub when: When,
    /// Short host name.
    pub host: String,
    /// Addresses the machine is reached at.
    pub addresses: Vec<IpAddr>,
    /// Those of them that a router has advertised: they come later than a lease, and change with the router's.
    pub advertised: Vec<IpAddr>,
    /// Files the profile names that exist.
    pub existing: BTreeSet<PathBuf>,
    /// Certificates that the profile names, which others made.
    pub foreign: Vec<Foreign>,
    /// What `SERVERCERT` and `SERVERKEY` are.
    pub foreign_server: Pair,
    /// Our own authority, in the certificate directory.
    pub authority: Pair,
    /// Our own server certificate.
    pub server: Pair,
    /// Our own client certificate.
    pub client: Pair,
}

/// A certificate that somebody else made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The profile's variable that names it.
    pub variable: &'static str,
    /// Where it lies.
    pub path: PathBuf,
    /// Last second of validity, since 1970.
    pub not_after: i64,
}

/// What to make, and what to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPlan {
    /// To be made, in this order.
    pub orders: Vec<Issue>,
    /// Content of the list of names, if the server certificate is made.
    pub names_file: Option<(PathBuf, String)>,
    /// Certificate and key of our own authority, which signs what is made.
    pub authority: (PathBuf, PathBuf),
    /// `--tlscacert`.
    pub ca_cert: PathBuf,
    /// `--tlscert`.
    pub server_cert: PathBuf,
    /// `--tlskey`.
    pub server_key: PathBuf,
    /// Files user docker gets, and their names there.
    pub for_user: Vec<(PathBuf, &'static str)>,
}

/// A certificate to be made, with its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What it is.
    pub order: Order,
    /// Where the certificate goes.
    pub certificate: PathBuf,
    /// Where the key goes.
    pub key: PathBuf,
    /// Why.
    pub reason: String,
    /// Whether dockerd may go on with the old one until it is started again.
    pub can_wait: bool,
}

/// Returns what to do. Files the profile names are used as they are if they exist; only what lies in the certificate
/// directory under our own names is ever written.
pub fn plan(profile: &Profile, facts: &TlsFacts) -> TlsPlan {
    let exists = |path: &Path| facts.existing.contains(path);
    let is_named = |file: &TlsFile| file.named.as_deref().is_some_and(exists);
    let has_foreign_server = is_named(&profile.server_cert) && is_named(&profile.server_key);
    let has_foreign_ca = is_named(&profile.ca_cert);
    let mut orders = Vec::new();
    let mut names_file = None;
    if profile.tls != Tls::Off && !(has_foreign_ca && has_foreign_server) {
        let authority = authority(profile, facts, has_foreign_server);
        let is_new = authority.is_some();
        orders.extend(authority);
        if !has_foreign_server && let Some(server) = server(profile, facts, is_new) {
            let list: Vec<String> = server_names(facts).iter().map(ToString::to_string).collect();
            names_file = Some((profile.cert_dir.join(NAMES_FILE), list.join(",") + "\n"));
            orders.push(server);
        }
        orders.extend(client(profile, facts, is_new));
    }
    let server_file =
        |file: &TlsFile| if has_foreign_server { file.path(exists) } else { &file.own }.to_owned();
    TlsPlan {
        orders,
        names_file,
        authority: (profile.ca_cert.own.clone(), profile.ca_key.own.clone()),
        ca_cert: profile.ca_cert.path(exists).to_owned(),
        server_cert: server_file(&profile.server_cert),
        server_key: server_file(&profile.server_key),
        for_user: if profile.tls == Tls::Off { Vec::new() } else { for_user(profile, facts) },
    }
}

/// Clients get the authority that signed the server's certificate, and a certificate dockerd accepts if we have one.
fn for_user(profile: &Profile, facts: &TlsFacts) -> Vec<(PathBuf, &'static str)> {
    let exists = |path: &Path| facts.existing.contains(path);
    let is_named = |file: &TlsFile| file.named.as_deref().is_some_and(exists);
    let has_foreign_server = is_named(&profile.server_cert) && is_named(&profile.server_key);
    let signer = if has_foreign_server { profile.ca_cert.path(exists) } else { &profile.ca_cert.own };
    let mut files = vec![(signer.to_owned(), "ca.pem")];
    let has_foreign_client = is_named(&profile.client_cert) && is_named(&profile.client_key);
    if has_foreign_client {
        files.push((profile.client_cert.path(exists).to_owned(), "cert.pem"));
        files.push((profile.client_key.path(exists).to_owned(), "key.pem"));
    } else if !is_named(&profile.ca_cert) {
        files.push((profile.client_cert.own.clone(), "cert.pem"));
        files.push((profile.client_key.own.clone(), "key.pem"));
    }
    files
}

fn authority(profile: &Profile, facts: &TlsFacts, has_foreign_server: bool) -> Option<Issue> {
    let cannot_sign = |certificate: &Certificate| {
        let is_signer_needed =
            !has_foreign_server && server_reason(facts).is_some() || client_reason(facts).is_some();
        (!certificate.can_sign && is_signer_needed).then(|| "its key cannot sign".to_owned())
    };
    let reason = reason(&facts.authority, facts, cannot_sign)?;
    let validity = validity(facts, AUTHORITY_DAYS);
    let order = Order { purpose: Purpose::Authority, organisation: profile.ca_org.clone(), validity };
    Some(Issue {
        order,
        certificate: profile.ca_cert.own.clone(),
        key: profile.ca_key.own.clone(),
        reason,
        can_wait: false,
    })
}

fn server(profile: &Profile, facts: &TlsFacts, is_authority_new: bool) -> Option<Issue> {
    let reason = leaf_reason(is_authority_new, server_reason(facts))?;
    // Before the first lease it would lack more than it gains.
    let can_wait = leaf_reason(is_authority_new, server_reason(&without_advertised(facts))).is_none();
    if can_wait && facts.when == When::Start {
        return None;
    }
    let purpose = Purpose::Server { host: facts.host.clone(), names: server_names(facts) };
    let order =
        Order { purpose, organisation: profile.server_org.clone(), validity: validity(facts, LEAF_DAYS) };
    Some(Issue {
        order,
        certificate: profile.server_cert.own.clone(),
        key: profile.server_key.own.clone(),
        reason,
        can_wait,
    })
}

fn client(profile: &Profile, facts: &TlsFacts, is_authority_new: bool) -> Option<Issue> {
    let reason = leaf_reason(is_authority_new, client_reason(facts))?;
    let validity = validity(facts, LEAF_DAYS);
    let order = Order { purpose: Purpose::Client, organisation: profile.org.clone(), validity };
    Some(Issue {
        order,
        certificate: profile.client_cert.own.clone(),
        key: profile.client_key.own.clone(),
        reason,
        can_wait: true,
    })
}

fn leaf_reason(is_authority_new: bool, reason: Option<String>) -> Option<String> {
    if is_authority_new { Some("new authority".to_owned()) } else { reason }
}

fn server_reason(facts: &TlsFacts) -> Option<String> {
    reason(&facts.server, facts, |certificate| {
        let missing = server_names(facts).difference(&certificate.names).next().cloned();
        not_ours(certificate).or_else(|| missing.map(|name| format!("not valid for {name}")))
    })
}

fn without_advertised(facts: &TlsFacts) -> TlsFacts {
    let mut facts = facts.clone();
    facts.addresses.retain(|address| !facts.advertised.contains(address));
    facts
}

fn client_reason(facts: &TlsFacts) -> Option<String> {
    reason(&facts.client, facts, not_ours)
}

fn not_ours(certificate: &Certificate) -> Option<String> {
    (!certificate.is_of_authority).then(|| "signed by another authority".to_owned())
}

/// Returns why a certificate has to be made, or None if it can stay.
fn reason(pair: &Pair, facts: &TlsFacts, more: impl Fn(&Certificate) -> Option<String>) -> Option<String> {
    let certificate = match pair {
        Pair::Missing => return Some("missing".to_owned()),
        Pair::Broken(reason) => return Some(reason.clone()),
        Pair::Whole(certificate) => certificate,
    };
    let now = sane_now(facts);
    let days_left = days_left(certificate.not_after, facts);
    if certificate.not_before > now {
        Some("not valid yet".to_owned())
    } else if days_left < facts.when.renew_days() {
        Some(format!("{days_left} days left"))
    } else {
        more(certificate)
    }
}

/// Returns the whole days until then; negative if it has passed.
pub fn days_left(not_after: i64, facts: &TlsFacts) -> i64 {
    (not_after - sane_now(facts)).div_euclid(DAY)
}

/// A clock that shows a time before the image was built is wrong.
fn sane_now(facts: &TlsFacts) -> i64 {
    facts.now.max(facts.image_time)
}

/// Starts a day before the image was built, so that a clock that was wrong when the certificate was made, in either
/// direction, does not leave one that is not valid yet.
fn validity(facts: &TlsFacts, days: i64) -> Validity {
    Validity { not_before: facts.now.min(facts.image_time) - DAY, not_after: sane_now(facts) + days * DAY }
}

/// Returns the names of the server certificate: host, local names, loopback addresses, the machine's addresses.
/// A host name that no certificate can hold is left out.
fn server_names(facts: &TlsFacts) -> BTreeSet<Name> {
    let hosts = LOCAL_NAMES.iter().copied().chain([facts.host.as_str()]);
    let names =
        hosts.filter(|host| !host.is_empty() && host.is_ascii()).map(|host| Name::Dns(host.to_owned()));
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    names.chain(loopback.into_iter().chain(facts.addresses.iter().copied()).map(Name::Ip)).collect()
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "make {}: {}", self.certificate.display(), self.reason)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
