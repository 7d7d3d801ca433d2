//! dockerd's command line. Pure.

use std::path::Path;

use b2d_sys::contract::{CONTAINERD_SOCKET, DOCKER_DIR, DOCKER_PID, DOCKER_SOCKET};

use crate::engine::{DaemonJson, Store, log_limits};
use crate::profile::{Profile, Tls};
use crate::tls::TlsPlan;

/// Storage drivers of old engines: naming one today keeps dockerd from starting.
const GONE_DRIVERS: &[&str] = &["aufs", "devicemapper", "overlay"];
/// On a btrfs disk its own driver is used, as it always was: data written with another one would be out of sight.
const BTRFS: &str = "btrfs";

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
    let is_opening = |arg: &&String| ["--tls=false", "--tlsverify=false"].contains(&arg.as_str());
    let args = profile.extra_args.iter().cloned();
    args.partition(|arg| profile.tls == Tls::Off || !is_opening(&arg))
}

fn tls_arguments(mode: Tls, plan: &TlsPlan) -> Vec<String> {
    let switch = match mode {
        Tls::Verify => "--tlsverify",
        Tls::Encrypt => "--tls",
        // Said aloud: without it dockerd waits, to be noticed.
        Tls::Off => return vec!["--tls=false".to_owned()],
    };
    let file = |flag: &str, path: &Path| format!("{flag}={}", path.display());
    vec![
        switch.to_owned(),
        file("--tlscacert", &plan.ca_cert),
        file("--tlscert", &plan.server_cert),
        file("--tlskey", &plan.server_key),
    ]
}

/// Returns the storage driver to name, if one must be named.
pub fn storage_driver(profile: &Profile, data_fstype: &str, notes: &mut Vec<String>) -> Option<String> {
    match &profile.storage {
        Some(driver) if GONE_DRIVERS.contains(&driver.as_str()) => {
            notes.push(format!("DOCKER_STORAGE={driver} is ignored: this engine no longer has it"));
            None
        }
        Some(driver) => Some(driver.clone()),
        None if data_fstype == BTRFS && profile.data_root == Path::new(DOCKER_DIR) => Some(BTRFS.to_owned()),
        None => None,
    }
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
    fn storage_driver_is_named_only_when_it_must_be() {
        let rows = [
            ("auto", "ext4", None, 0),
            ("", "btrfs", Some("btrfs"), 0),
            ("overlay2", "ext4", Some("overlay2"), 0),
            ("aufs", "ext4", None, 1),
        ];
        for (storage, fstype, expected, note_count) in rows {
            let mut notes = Vec::new();
            let driver = storage_driver(&profile(storage, &[]), fstype, &mut notes);
            assert_eq!((driver.as_deref(), notes.len()), (expected, note_count), "{storage} on {fstype}");
        }
    }

    #[test]
    fn protection_is_not_taken_away_by_further_arguments() {
        let open = profile("", &["--tls=false", "--tlsverify=false", "-D"]);
        let dropped = vec!["--tls=false".to_owned(), "--tlsverify=false".to_owned()];
        assert_eq!(extra_args(&open), (vec!["-D".to_owned()], dropped));
        let off = Profile { tls: Tls::Off, ..open };
        assert_eq!(extra_args(&off).1, [""; 0]);
    }
}
