//! Reads the profile, the certificates and the machine's names. Decides nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use b2d_sys::contract::{CERTS_DIR, CUSTOM_DAEMON_JSON, PROFILE, STATE_DIR};
use b2d_sys::effects::files::read_optional;
use nix::ifaddrs::getifaddrs;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, FsType, statfs};
use nix::unistd::gethostname;

use crate::args::BTRFS;
use crate::certificate::{Pair, end_of, inspect};
use crate::engine::{DAEMON_JSON, DRIVERS};
use crate::profile::{Profile, TlsFile};
use crate::shell::{self, Evaluated};
use crate::tls::{Foreign, TlsFacts, When};

/// Made with the image, so its date is the image's.
const IMAGE_FILE: &str = "/etc/os-release";
/// The list of authorities that programs in the guest trust.
pub const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where Debian's packages keep `DOCKER_OPTS`; a custom image may bring it.
const DEFAULTS: &str = "/etc/default/docker";
/// Of what a profile prints, enough to recognise it in the log.
const PRINTED_LINES: usize = 3;
/// Source: OpenZFS include/sys/fs/zfs.h. The image has no ZFS, a custom one may.
const ZFS_SUPER_MAGIC: FsType = FsType(0x2fc1_2fc1);
const FUSE_OVERLAYFS: &str = "/usr/bin/fuse-overlayfs";
/// The machine's IPv6 addresses with their flags; missing without IPv6.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";
/// An address that has no end, as one set by hand. Source: Linux include/uapi/linux/if_addr.h, `IFA_F_PERMANENT`.
const PERMANENT: u32 = 0x80;
/// dockerd's own configuration directory.
pub const ETC_DOCKER: &str = "/etc/docker";

/// All that the plan decides upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The settings; boot2docker's defaults if the profile could not be evaluated.
    pub profile: Profile,
    /// Why the profile could not be evaluated.
    pub profile_error: Option<String>,
    /// Certificates and names.
    pub tls: TlsFacts,
    /// Storage drivers that work on the data root.
    pub usable_drivers: Vec<&'static str>,
    /// The system's list of authorities, if there is one.
    pub bundle: Option<String>,
    /// The user's authorities: file name and content, in order of names.
    pub extra_certificates: Vec<(String, String)>,
    /// dockerd's configuration file, if there is one.
    pub daemon_json: Option<String>,
    /// That of a custom image, for when there is none.
    pub custom_daemon_json: Option<String>,
    /// Storage drivers whose data lies in the data root.
    pub driver_dirs: Vec<String>,
    /// `/etc/docker` is a directory with content: a custom image brought it.
    pub has_own_etc_docker: bool,
    /// The certificate directory and the private keys in it, with their permission bits.
    pub secrets: Vec<Secret>,
}

/// A place that keeps secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Where it is; no link.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Whether it is the directory rather than a key.
    pub is_dir: bool,
}

/// Reads the facts of the running machine; `when` is passed on.
///
/// # Errors
/// When a file exists but cannot be read. A bad profile is a fact, not an error.
pub fn read(when: When) -> Result<Facts> {
    let (profile, profile_error) = read_profile();
    Ok(Facts {
        tls: tls_facts(&profile, when)?,
        driver_dirs: driver_dirs(&profile.data_root),
        usable_drivers: usable_drivers(&profile.data_root),
        secrets: secrets_in(&profile.cert_dir)?,
        profile,
        profile_error,
        bundle: text(Path::new(BUNDLE))?,
        extra_certificates: certificates_in(Path::new(CERTS_DIR))?,
        daemon_json: text(&daemon_json())?,
        custom_daemon_json: text(Path::new(CUSTOM_DAEMON_JSON))?,
        has_own_etc_docker: has_content(Path::new(ETC_DOCKER)),
    })
}

/// Returns the settings, boot2docker's defaults if the profile cannot be evaluated, and then why it cannot.
pub fn read_profile() -> (Profile, Option<String>) {
    let (defaults, path) = (Path::new(DEFAULTS), Path::new(PROFILE));
    let path = match (path.exists(), defaults.exists()) {
        (true, _) => path,
        (false, true) => Path::new("/dev/null"),
        (false, false) => return (Profile::new(&Evaluated::default()), None),
    };
    match shell::evaluate(defaults, path) {
        Ok(evaluated) => {
            evaluated
                .printed
                .lines()
                .take(PRINTED_LINES)
                .for_each(|line| log::info!("profile says {line:?}"));
            (Profile::new(&evaluated), None)
        }
        Err(error) => (Profile::new(&Evaluated::default()), Some(format!("{error:#}"))),
    }
}

/// The file's place before `/etc/docker` leads to the data disk, and afterwards.
fn daemon_json() -> PathBuf {
    let kept = Path::new(STATE_DIR).join("etc/docker/daemon.json");
    if has_content(Path::new(ETC_DOCKER)) { PathBuf::from(DAEMON_JSON) } else { kept }
}

fn driver_dirs(data_root: &Path) -> Vec<String> {
    let drivers = DRIVERS.iter().filter(|driver| has_content(&data_root.join(driver)));
    drivers.map(ToString::to_string).collect()
}

/// Returns the storage drivers of the engine that the file system of the data root, there or to be made, can do.
/// Source: moby daemon/graphdriver, each driver's Init().
fn usable_drivers(data_root: &Path) -> Vec<&'static str> {
    let mut drivers = vec!["overlay2", "vfs"];
    let file_system = data_root.ancestors().find_map(|dir| statfs(dir).ok());
    match file_system.map(|found| found.filesystem_type()) {
        Some(BTRFS_SUPER_MAGIC) => drivers.push(BTRFS),
        Some(ZFS_SUPER_MAGIC) => drivers.push("zfs"),
        _ => {}
    }
    if Path::new(FUSE_OVERLAYFS).is_file() {
        drivers.push("fuse-overlayfs");
    }
    drivers
}

/// Returns the directory and the private keys in it, whoever made them: all our names and those of boot2docker's older
/// releases end so. None if there is no directory.
fn secrets_in(dir: &Path) -> Result<Vec<Secret>> {
    let list = || -> io::Result<Vec<Secret>> {
        let mut secrets = Vec::from_iter(secret(dir.to_path_buf())?);
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("key.pem") {
                secrets.extend(secret(path)?);
            }
        }
        secrets.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(secrets)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        secrets => secrets.with_context(|| format!("listing {}", dir.display())),
    }
}

/// What is reached through a link is somebody else's.
fn secret(path: PathBuf) -> io::Result<Option<Secret>> {
    let meta = fs::symlink_metadata(&path)?;
    let secret = Secret { path, mode: meta.mode() & 0o7777, is_dir: meta.is_dir() };
    Ok((meta.is_dir() || meta.is_file()).then_some(secret))
}

fn tls_facts(profile: &Profile, when: When) -> Result<TlsFacts> {
    let files = [
        &profile.ca_cert,
        &profile.server_cert,
        &profile.server_key,
        &profile.client_cert,
        &profile.client_key,
    ];
    let named = files.iter().filter_map(|file| file.named.clone());
    let authority = read_optional(&profile.ca_cert.own).context("reading the authority's certificate")?;
    let pair = |certificate: &TlsFile, key: &TlsFile| -> Result<Pair> {
        let certificate = bytes(&certificate.own)?;
        Ok(inspect(certificate.as_deref(), bytes(&key.own)?.as_deref(), authority.as_deref()))
    };
    Ok(TlsFacts {
        now: seconds(SystemTime::now()),
        image_time: fs::metadata(IMAGE_FILE).and_then(|meta| meta.modified()).map_or(0, seconds),
        when,
        host: short_host_name()?,
        addresses: addresses(&profile.cert_interfaces)?,
        advertised: text(Path::new(IPV6_ADDRESSES))?.as_deref().map(advertised).unwrap_or_default(),
        existing: named.filter(|path| is_filled(path)).collect::<BTreeSet<PathBuf>>(),
        foreign: foreign(profile)?,
        foreign_server: foreign_server(profile)?,
        server: pair(&profile.server_cert, &profile.server_key)?,
        client: pair(&profile.client_cert, &profile.client_key)?,
        authority: pair(&profile.ca_cert, &profile.ca_key)?,
    })
}

fn foreign_server(profile: &Profile) -> Result<Pair> {
    let read = |file: &TlsFile| file.named.as_deref().map_or(Ok(None), bytes);
    let (certificate, key) = (read(&profile.server_cert)?, read(&profile.server_key)?);
    Ok(inspect(certificate.as_deref(), key.as_deref(), None))
}

fn foreign(profile: &Profile) -> Result<Vec<Foreign>> {
    let files =
        [("CACERT", &profile.ca_cert), ("SERVERCERT", &profile.server_cert), ("CERT", &profile.client_cert)];
    let mut foreign = Vec::new();
    for (variable, file) in files {
        let Some(path) = file.named.clone() else { continue };
        let not_after = bytes(&path)?.as_deref().and_then(end_of);
        foreign.extend(not_after.map(|not_after| Foreign { variable, path, not_after }));
    }
    Ok(foreign)
}

/// Returns the IPv4 addresses and global IPv6 addresses of the interfaces.
fn addresses(interfaces: &[String]) -> Result<Vec<IpAddr>> {
    let all = getifaddrs().context("listing addresses")?;
    let wanted = all.filter(|entry| interfaces.contains(&entry.interface_name));
    let mut addresses: Vec<IpAddr> = wanted
        .filter_map(|entry| entry.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()))
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Returns the addresses that end unless a router advertises them again. Source: Linux net/ipv6/addrconf.c, `if6_seq_show()`.
fn advertised(list: &str) -> Vec<IpAddr> {
    let address_of = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        (flags & PERMANENT == 0).then_some(IpAddr::V6(address.into()))
    };
    list.lines().filter_map(address_of).collect()
}

fn short_host_name() -> Result<String> {
    let name = gethostname().context("reading the host name")?.to_string_lossy().into_owned();
    Ok(name.split('.').next().unwrap_or_default().to_owned())
}

/// Returns the `*.pem` and `*.crt` files of a directory in the order of their names; none if there is no directory.
fn certificates_in(dir: &Path) -> Result<Vec<(String, String)>> {
    let list = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        paths => paths.with_context(|| format!("listing {}", dir.display()))?,
    };
    paths.retain(|path| {
        path.is_file() && path.extension().is_some_and(|suffix| suffix == "pem" || suffix == "crt")
    });
    paths.sort();
    paths.into_iter().map(|path| Ok((path.display().to_string(), text(&path)?.unwrap_or_default()))).collect()
}

fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0)
}

fn has_content(dir: &Path) -> bool {
    !dir.is_symlink() && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// An empty file is what a power cut may leave: it counts as none.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let bytes = read_optional(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes.filter(|bytes| !bytes.is_empty()))
}

fn text(path: &Path) -> Result<Option<String>> {
    Ok(bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn certificates_are_listed_by_name_and_suffix() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.pem", "a.crt", "c.txt", "d"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("e.pem")).unwrap();
        let found = certificates_in(dir.path()).unwrap();
        let contents: Vec<&str> = found.iter().map(|(_, content)| content.as_str()).collect();
        assert_eq!(contents, ["a.crt", "b.pem"]);
        assert_eq!(certificates_in(&dir.path().join("absent")).unwrap(), []);
    }

    #[test]
    fn secrets_are_the_directory_and_the_keys_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (name, mode) in [("server.pem", 0o644), ("serverkey.pem", 0o640), ("key.pem", 0o600)] {
            fs::write(at(name), "x").unwrap();
            set(&at(name), mode);
        }
        std::os::unix::fs::symlink("/elsewhere", at("cakey.pem")).unwrap();
        set(dir.path(), 0o755);
        let secret = |path, mode, is_dir| Secret { path, mode, is_dir };
        let expected = [
            secret(dir.path().to_path_buf(), 0o755, true),
            secret(at("key.pem"), 0o600, false),
            secret(at("serverkey.pem"), 0o640, false),
        ];
        assert_eq!(secrets_in(dir.path()).unwrap(), expected);
        assert_eq!(secrets_in(&at("absent")).unwrap(), []);
    }

    #[test]
    fn drivers_are_those_of_the_nearest_directory_there_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(usable_drivers(&dir.path().join("a/b"))[..2], ["overlay2", "vfs"]);
        assert_eq!(usable_drivers(&dir.path().join("a/b")), usable_drivers(dir.path()));
    }

    #[test]
    fn advertised_addresses_are_those_with_an_end() {
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fec0000000000000505400fffe123456 02 40 40 00     eth0\n\
                    fd000000000000000000000000000007 02 40 00 80     eth0\n\
                    fe80000000000000505400fffe123456 02 40 20 80     eth0\n\
                    nonsense\n";
        assert_eq!(advertised(list), ["fec0::5054:ff:fe12:3456".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn addresses_are_those_of_the_named_interfaces() {
        assert!(addresses(&["lo".to_owned()]).unwrap().contains(&IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));
        assert_eq!(addresses(&["no-such-interface".to_owned()]).unwrap(), [] as [IpAddr; 0]);
    }
}
