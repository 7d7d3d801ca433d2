//! The daemon's settings: what the profile set, and boot2docker's defaults for the rest. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use b2d_sys::contract::{DOCKER_DIR, DOCKER_TLS_PORT, TLS_DIR};

use crate::shell::Evaluated;

/// Port of the Docker API without TLS.
const PLAIN_PORT: u16 = 2375;
/// Subject of the certificates we make.
const ORG: &str = "Boot2Docker";
/// Interfaces whose addresses the server certificate names.
const CERT_INTERFACES: &[&str] = &["eth0", "eth1"];
/// The kernel's own ceiling (`fs.nr_open`), which boot2docker used as well.
pub const MOST_OPEN_FILES: u64 = 1_048_576;
const LOGFILE: &str = "/var/lib/boot2docker/docker.log";
const CROND_LOGLEVEL: &str = "8";

/// How the TCP listener is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Clients must show a certificate of our authority.
    Verify,
    /// Not at all: `DOCKER_TLS=no`.
    Off,
}

/// A file of the TLS material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    /// Our own place for it, in the certificate directory.
    pub own: PathBuf,
    /// The place the profile names, if it does.
    pub named: Option<PathBuf>,
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `DOCKER_OPTS` of `/etc/default/docker` and `EXTRA_ARGS`, split into words.
    pub extra_args: Vec<String>,
    /// How many of those, the first ones, are the image's own.
    pub image_args: usize,
    /// `DOCKER_HOST`: addresses to listen on, such as `tcp://0.0.0.0:2376`.
    pub hosts: Vec<String>,
    /// `DOCKER_TLS`. Default: [`Tls::Verify`].
    pub tls: Tls,
    /// `DOCKER_STORAGE`; None for `auto`: dockerd chooses.
    pub storage: Option<String>,
    /// `DOCKER_DIR`. Default: [`DOCKER_DIR`].
    pub data_root: PathBuf,
    /// `CERTDIR`. Default: [`TLS_DIR`].
    pub cert_dir: PathBuf,
    /// `CERT_INTERFACES`. Default: [`CERT_INTERFACES`].
    pub cert_interfaces: Vec<String>,
    /// `CACERT`, `ca.pem`.
    pub ca_cert: TlsFile,
    /// `CAKEY`, `cakey.pem`.
    pub ca_key: TlsFile,
    /// `SERVERCERT`, `server.pem`.
    pub server_cert: TlsFile,
    /// `SERVERKEY`, `serverkey.pem`.
    pub server_key: TlsFile,
    /// `CERT`, `cert.pem`.
    pub client_cert: TlsFile,
    /// `KEY`, `key.pem`.
    pub client_key: TlsFile,
    /// `ORG`: organisation in the client certificate. Default: [`ORG`].
    pub org: String,
    /// `SERVERORG`: organisation in the server certificate. Default: `ORG`.
    pub server_org: String,
    /// `CAORG`: organisation of the authority. Default: `ORG` with `CA` appended.
    pub ca_org: String,
    /// `DOCKER_ULIMITS`: open files and processes of the daemons and so of containers, as the profile has it.
    pub ulimits: Option<String>,
    /// `DOCKER_LOGFILE`. Default: [`LOGFILE`].
    pub log_file: PathBuf,
    /// `NTP_SERVER`; None if not set, a blank turns time synchronisation off.
    pub ntp_server: Option<String>,
    /// `CROND_LOGLEVEL`. Default: [`CROND_LOGLEVEL`].
    pub crond_loglevel: String,
    /// Variables for everybody's environment, such as proxies.
    pub exported: BTreeMap<String, String>,
}

impl Profile {
    /// Returns the settings after the profile has run; an empty value counts as not set, as it did in the old script.
    pub fn new(evaluated: &Evaluated) -> Self {
        let get = |name: &str| evaluated.variables.get(name).filter(|value| !value.is_empty()).cloned();
        let words = |name: &str| evaluated.words.get(name).cloned().unwrap_or_default();
        let cert_dir = get("CERTDIR").map_or_else(|| PathBuf::from(TLS_DIR), PathBuf::from);
        let file = |name: &str, own: &str| {
            let own = cert_dir.join(own);
            // People spell out the usual places; what lies there is ours all the same.
            TlsFile { named: get(name).map(PathBuf::from).filter(|named| *named != own), own }
        };
        let tls = tls(&words("DOCKER_TLS"));
        let org = get("ORG").unwrap_or_else(|| ORG.to_owned());
        let interfaces = Some(words("CERT_INTERFACES")).filter(|names| !names.is_empty());
        Self {
            image_args: words("DOCKER_OPTS").len(),
            extra_args: [words("DOCKER_OPTS"), words("EXTRA_ARGS")].concat(),
            hosts: hosts(&words("DOCKER_HOST"), tls, get("DOCKER_REMOTE").as_deref() != Some("no")),
            tls,
            storage: get("DOCKER_STORAGE").filter(|driver| driver != "auto"),
            data_root: get("DOCKER_DIR").map_or_else(|| PathBuf::from(DOCKER_DIR), PathBuf::from),
            cert_interfaces: interfaces
                .unwrap_or_else(|| CERT_INTERFACES.iter().map(ToString::to_string).collect()),
            ca_cert: file("CACERT", "ca.pem"),
            ca_key: file("CAKEY", "cakey.pem"),
            server_cert: file("SERVERCERT", "server.pem"),
            server_key: file("SERVERKEY", "serverkey.pem"),
            client_cert: file("CERT", "cert.pem"),
            client_key: file("KEY", "key.pem"),
            server_org: get("SERVERORG").unwrap_or_else(|| org.clone()),
            ca_org: get("CAORG").unwrap_or_else(|| format!("{org}CA")),
            org,
            ulimits: get("DOCKER_ULIMITS"),
            log_file: get("DOCKER_LOGFILE").map_or_else(|| PathBuf::from(LOGFILE), PathBuf::from),
            ntp_server: get("NTP_SERVER"),
            crond_loglevel: get("CROND_LOGLEVEL").unwrap_or_else(|| CROND_LOGLEVEL.to_owned()),
            exported: evaluated.exported.clone(),
            cert_dir,
        }
    }
}

/// Only `no` takes the protection away; every other value, also a flag such as `--tls=false`, keeps the default. `--tls` was
/// how people asked for encryption alone: engines since 23 ask clients for a certificate then, too.
fn tls(words: &[String]) -> Tls {
    match words {
        [word] if word == "no" => Tls::Off,
        _ => Tls::Verify,
    }
}

/// Returns the addresses besides the local socket. With TLS the port is 2376 on all interfaces, whatever TCP address the
/// profile names, as boot2docker always did: Docker Machine looks for it there, before it has written any profile.
/// `DOCKER_REMOTE=no` leaves out every TCP address.
fn hosts(words: &[String], tls: Tls, is_remote: bool) -> Vec<String> {
    let is_tcp = |host: &String| host.starts_with("tcp://");
    let flags = ["--host=", "-H=", "-H"];
    let strip =
        |word: &String| flags.iter().find_map(|flag| word.strip_prefix(flag)).unwrap_or(word).to_owned();
    let named = words.iter().map(strip).filter(|host| host.contains("://"));
    let (mut tcp, mut hosts): (Vec<String>, Vec<String>) = named.partition(is_tcp);
    if tls != Tls::Off {
        tcp = vec![format!("tcp://0.0.0.0:{DOCKER_TLS_PORT}")];
    } else if words.is_empty() {
        tcp = vec![format!("tcp://0.0.0.0:{PLAIN_PORT}")];
    }
    if is_remote {
        hosts.append(&mut tcp);
    }
    hosts
}

impl TlsFile {
    /// Returns the file in use, given which files exist: the named one if it is there, else our own.
    pub fn path(&self, exists: impl Fn(&Path) -> bool) -> &Path {
        self.named.as_deref().filter(|named| exists(named)).unwrap_or(&self.own)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listen on {} ({:?})", self.hosts.join(" "), self.tls)?;
        writeln!(
            f,
            "data root {}, storage {}",
            self.data_root.display(),
            self.storage.as_deref().unwrap_or("auto")
        )?;
        let ulimits = self.ulimits.as_deref().unwrap_or("as usual");
        writeln!(f, "log {}, limits {ulimits}", self.log_file.display())?;
        writeln!(f, "ntp {:?}, crond log level {}", self.ntp_server, self.crond_loglevel)?;
        let names: Vec<&str> = self.exported.keys().map(String::as_str).collect();
        writeln!(f, "exported {}", names.join(" "))
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
