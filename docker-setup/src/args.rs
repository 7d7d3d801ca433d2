//! dockerd's command line. Pure.

use std::path::Path;

use b2d_sys::contract::{CONTAINERD_SOCKET, DOCKER_PID, DOCKER_SOCKET};

use crate::engine::{DaemonJson, Store, log_limits};
use crate::profile::{Profile, Tls};
use crate::tls::TlsPlan;

/// Storage drivers of old engines: naming one today keeps dockerd from starting.
const GONE_DRIVERS: &[&str] = &["aufs", "devicemapper", "overlay"];
/// On a btrfs disk its own driver is used, as it always was: data written with another one would be out of sight.
pub const BTRFS: &str = "btrfs";
/// What `docker info` calls containerd's store. dockerd does not know it as a driver.
const CONTAINERD_STORE: &str = "overlayfs";
/// Switches that protect the listener.
const PROTECTIONS: &[&str] = &["--tls", "--tlsverify"];
/// Values that switch a switch off. Source: Go `strconv.ParseBool`.
const FALSE: &[&str] = &["0", "f", "F", "false", "FALSE", "False"];

/// Returns dockerd's arguments, each an argument of its own: boot2docker-cli looks for one that starts with `tcp://`.
///
/// `tls` is None if the TLS files could not be made: then dockerd listens on the local socket only.
pub fn arguments(
    profile: &Profile,
    tls: Option<&TlsPlan>,
    store: &Store,
    daemon_json: &DaemonJson,
) -> Vec<String> {
    let mut args = vec![
        "--data-root".to_owned(),
        profile.data_root.display().to_string(),
        "--pidfile".to_owned(),
        DOCKER_PID.to_owned(),
        "--containerd".to_owned(),
        CONTAINERD_SOCKET.to_owned(),
        "-H".to_owned(),
        format!("unix://{DOCKER_SOCKET}"),
    ];
    if let Some(tls) = tls {
        args.extend(profile.hosts.iter().flat_map(|host| ["-H".to_owned(), host.clone()]));
        args.extend(tls_arguments(profile.tls, tls));
    }
    args.extend(store.arguments());
    args.extend(log_limits(daemon_json, &profile.extra_args));
    args.extend(extra_args(profile).0);
    args
}

/// Returns `EXTRA_ARGS` and what of it is not passed on: only `DOCKER_TLS=no` takes the protection away.
pub fn extra_args(profile: &Profile) -> (Vec<String>, Vec<String>) {
    let args = profile.extra_args.iter().cloned();
    args.partition(|arg| profile.tls == Tls::Off || !is_opening(arg))
}

/// Tells whether dockerd would take this as a wish for a listener that is open to everybody.
fn is_opening(arg: &str) -> bool {
    arg.split_once('=').is_some_and(|(flag, value)| PROTECTIONS.contains(&flag) && FALSE.contains(&value))
}

fn tls_arguments(mode: Tls, plan: &TlsPlan) -> Vec<String> {
    if mode == Tls::Off {
        // Said aloud: without it dockerd waits, to be noticed.
        return vec!["--tls=false".to_owned()];
    }
    let file = |flag: &str, path: &Path| format!("{flag}={}", path.display());
    vec![
        "--tlsverify".to_owned(),
        file("--tlscacert", &plan.ca_cert),
        file("--tlscert", &plan.server_cert),
        file("--tlskey", &plan.server_key),
    ]
}

/// Returns the storage driver to name, if one must be named. `usable` are those that work on the data root.
pub fn storage_driver(profile: &Profile, usable: &[&str], notes: &mut Vec<String>) -> Option<String> {
    let Some(driver) = profile.storage.as_deref() else {
        return usable.contains(&BTRFS).then(|| BTRFS.to_owned());
    };
    let reason = match driver {
        CONTAINERD_STORE => return None,
        _ if usable.contains(&driver) => return Some(driver.to_owned()),
        _ if GONE_DRIVERS.contains(&driver) => "this engine no longer has it".to_owned(),
        _ => format!("it does not work on {}", profile.data_root.display()),
    };
    notes.push(format!("DOCKER_STORAGE={driver} is ignored: {reason}"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Evaluated;

    fn profile(storage: &str, extra: &[&str]) -> Profile {
        Profile::new(&Evaluated {
            variables: [("DOCKER_STORAGE".to_owned(), storage.to_owned())].into(),
            words: [("EXTRA_ARGS".to_owned(), extra.iter().map(ToString::to_string).collect())].into(),
            ..Evaluated::default()
        })
    }

    fn tls() -> TlsPlan {
        TlsPlan {
            orders: vec![],
            names_file: None,
            authority: ("/t/ca.pem".into(), "/t/cakey.pem".into()),
            ca_cert: "/t/ca.pem".into(),
            server_cert: "/t/server.pem".into(),
            server_key: "/t/serverkey.pem".into(),
            for_user: vec![],
        }
    }

    #[test]
    fn hosts_are_arguments_of_their_own_and_extra_ones_come_last() {
        let args = arguments(
            &profile("", &["--dns", "1.1.1.1"]),
            Some(&tls()),
            &Store::Containerd,
            &DaemonJson::default(),
        );
        let expected = "--data-root /var/lib/docker --pidfile /var/run/docker.pid \
            --containerd /run/containerd/containerd.sock -H unix:///var/run/docker.sock -H tcp://0.0.0.0:2376 \
            --tlsverify --tlscacert=/t/ca.pem --tlscert=/t/server.pem --tlskey=/t/serverkey.pem \
            --feature containerd-snapshotter=true \
            --log-opt max-size=10m --log-opt max-file=3 --dns 1.1.1.1";
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn without_tls_material_nothing_listens_on_tcp() {
        let args = arguments(&profile("", &[]), None, &Store::Containerd, &DaemonJson::default());
        assert!(!args.iter().any(|arg| arg.contains("tcp") || arg.contains("tls")), "{args:?}");
    }

    #[test]
    fn storage_driver_is_named_only_when_it_must_be_and_works() {
        let ext4: &[&str] = &["overlay2", "vfs"];
        let btrfs: &[&str] = &["overlay2", "vfs", "btrfs"];
        let works = "it does not work on /var/lib/docker";
        let rows = [
            ("auto", ext4, None, None),
            ("", btrfs, Some("btrfs"), None),
            ("overlay2", ext4, Some("overlay2"), None),
            ("overlay2", btrfs, Some("overlay2"), None),
            ("vfs", ext4, Some("vfs"), None),
            ("overlayfs", ext4, None, None),
            ("aufs", ext4, None, Some("this engine no longer has it")),
            ("devicemapper", ext4, None, Some("this engine no longer has it")),
            ("zfs", ext4, None, Some(works)),
            ("btrfs", ext4, None, Some(works)),
            ("no-such", btrfs, None, Some(works)),
        ];
        for (storage, usable, expected, reason) in rows {
            let mut notes = Vec::new();
            let driver = storage_driver(&profile(storage, &[]), usable, &mut notes);
            let note = reason.map(|reason| format!("DOCKER_STORAGE={storage} is ignored: {reason}"));
            assert_eq!(
                (driver.as_deref(), notes),
                (expected, Vec::from_iter(note)),
                "{storage} on {usable:?}"
            );
        }
    }

    #[test]
    fn protection_is_not_taken_away_by_further_arguments() {
        let opening = [
            "--tls=false",
            "--tlsverify=false",
            "--tlsverify=0",
            "--tlsverify=f",
            "--tlsverify=F",
            "--tlsverify=FALSE",
            "--tls=False",
            "--tls=0",
        ];
        let harmless = ["-D", "--tlsverify=1", "--tls=true", "--tlsverify", "--tlscert=false", "--icc=false"];
        let open = profile("", &[&opening[..], &harmless].concat());
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(extra_args(&open), (words(&harmless), words(&opening)));
        let off = Profile { tls: Tls::Off, ..open };
        assert_eq!(extra_args(&off).1, [""; 0]);
    }
}
