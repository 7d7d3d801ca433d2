//! What the engine's own configuration file and data directory mean for its start. Pure.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Where dockerd looks for its configuration.
pub const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// A container that talks a lot fills 30 MB, not the disk.
const LOG_LIMITS: [&str; 4] = ["--log-opt", "max-size=10m", "--log-opt", "max-file=3"];
/// Storage drivers whose data may lie in a data root; those of containerd lie elsewhere.
pub const DRIVERS: &[&str] = &["aufs", "btrfs", "devicemapper", "overlay", "overlay2", "vfs", "zfs"];
const USUAL_DRIVER: &str = "overlay2";
/// Where dockerd keeps the data of a containerd of its own, below the data root.
/// Source: moby cmd/dockerd/daemon_unix.go, getPlatformContainerdDaemonOpts().
const CONTAINERD_DIR: &str = "containerd/daemon";
/// containerd's flag for it.
pub const CONTAINERD_ROOT_FLAG: &str = "--root";
/// Where containerd puts blobs once they are complete, below its root. It syncs each blob, and its own database, but not
/// the directory it renames the blob into. Other algorithms' directories are made in the first one.
/// Source: containerd plugins/content/local/writer.go, Commit().
const BLOB_DIRS: [&str; 2] =
    ["io.containerd.content.v1.content/blobs", "io.containerd.content.v1.content/blobs/sha256"];

/// The settings in the configuration file; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonJson {
    /// The settings by name.
    pub settings: Map<String, Value>,
    /// Why dockerd will not take it.
    pub error: Option<String>,
}

impl DaemonJson {
    /// Reads the file's text; what is no JSON object counts as empty, with an error that names the line.
    pub fn parse(text: Option<&str>) -> Self {
        match text.map(serde_json::from_str) {
            None => Self::default(),
            Some(Ok(settings)) => Self { settings, error: None },
            Some(Err(error)) => {
                let error = format!("{DAEMON_JSON}: {error}; docker will not start before that is mended");
                Self { settings: Map::new(), error: Some(error) }
            }
        }
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.settings.contains_key(*name))
    }
}

/// Returns containerd's root for a data root of dockerd's: images and containers of one daemon lie in one place.
pub fn containerd_root(data_root: &Path) -> PathBuf {
    data_root.join(CONTAINERD_DIR)
}

/// Returns the directories whose updates must be on the disk before containerd tells that it has an image, outer ones
/// first. Those of unfinished blobs and of layers are not among them: what was cut there was not acknowledged, and layers
/// are synced as a whole (`sync_fs`).
pub fn blob_dirs(data_root: &Path) -> Vec<PathBuf> {
    BLOB_DIRS.map(|dir| containerd_root(data_root).join(dir)).into()
}

/// Returns containerd's further arguments, one a line.
pub fn containerd_arguments(data_root: &Path) -> String {
    format!("{CONTAINERD_ROOT_FLAG}\n{}\n", containerd_root(data_root).display())
}

/// Returns arguments that bound containers' logs, unless the user has decided about them.
pub fn log_limits(daemon_json: &DaemonJson, extra_args: &[String]) -> Vec<String> {
    let is_about_logs = |arg: &String| ["--log-driver", "--log-opt"].iter().any(|flag| arg.starts_with(flag));
    if daemon_json.has_any(&["log-driver", "log-opts"]) || extra_args.iter().any(is_about_logs) {
        return Vec::new();
    }
    LOG_LIMITS.map(str::to_owned).into()
}

/// Where images are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In containerd's store, which is on the disk before it is listed. See docs/adr/0003-image-store.md.
    Containerd,
    /// In dockerd's own, by this storage driver.
    Driver(String),
    /// Where dockerd or its configuration file says.
    Unsaid,
}

/// Returns where images are to be kept. What is in sight stays in sight: a data root that holds images of dockerd's own
/// store keeps it, and so does whoever has decided about it.
pub fn store(
    driver: Option<&str>,
    present: &[String],
    daemon_json: &DaemonJson,
    extra_args: &[String],
) -> Store {
    let is_about_store = |arg: &String| {
        ["--storage-driver", "--feature", "-s"]
            .iter()
            .any(|flag| arg == flag || arg.starts_with(&format!("{flag}=")))
    };
    let is_decided =
        daemon_json.has_any(&["storage-driver", "features"]) || extra_args.iter().any(is_about_store);
    let has_own = present.iter().any(|name| name == USUAL_DRIVER);
    match driver {
        Some(driver) if driver != USUAL_DRIVER => Store::Driver(driver.to_owned()),
        _ if is_decided => Store::Unsaid,
        _ if has_own => Store::Driver(USUAL_DRIVER.to_owned()),
        // Docker Machine names overlay2 unasked.
        _ => Store::Containerd,
    }
}

impl Store {
    /// Returns dockerd's arguments for it.
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Containerd => ["--feature", "containerd-snapshotter=true"].map(str::to_owned).into(),
            Self::Driver(driver) => vec!["--storage-driver".to_owned(), driver.clone()],
            Self::Unsaid => Vec::new(),
        }
    }
}

/// Returns a note for every storage driver whose data lies in the data root out of sight of the one in use.
pub fn unseen_data(
    data_root: &Path,
    present: &[String],
    store: &Store,
    daemon_json: &DaemonJson,
) -> Vec<String> {
    let configured = daemon_json.settings.get("storage-driver").and_then(Value::as_str);
    let in_use = match store {
        Store::Containerd => "containerd's store",
        Store::Driver(driver) => driver.as_str(),
        Store::Unsaid => configured.unwrap_or(USUAL_DRIVER),
    };
    let unseen = present.iter().filter(|driver| driver.as_str() != in_use);
    unseen
        .map(|driver| {
            let dir = data_root.join(driver);
            format!(
                "images and containers of storage driver {driver} lie in {}: docker uses {in_use} and does not \
                 show them; nothing is deleted",
                dir.display()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn broken_file_is_told_with_its_line() {
        let broken = DaemonJson::parse(Some("{\n  \"debug\": true\n  \"dns\": []\n}"));
        let expected = "/etc/docker/daemon.json: expected `,` or `}` at line 3 column 3; \
            docker will not start before that is mended";
        assert_eq!(broken.error.as_deref(), Some(expected));
        assert_eq!(DaemonJson::parse(None), DaemonJson::default());
        assert_eq!(DaemonJson::parse(Some("{}")), DaemonJson::default());
        assert!(DaemonJson::parse(Some("[]")).error.is_some());
    }

    #[test]
    fn containerd_keeps_its_data_below_the_data_root() {
        assert_eq!(containerd_arguments(Path::new("/d")), "--root\n/d/containerd/daemon\n");
    }

    #[test]
    fn logs_are_bounded_unless_the_user_has_decided() {
        let limits = words("--log-opt max-size=10m --log-opt max-file=3");
        let rows = [
            (None, "--dns 1.1.1.1", limits.clone()),
            (Some(r#"{"debug": true}"#), "", limits),
            (Some(r#"{"log-driver": "journald"}"#), "", vec![]),
            (Some(r#"{"log-opts": {"max-size": "1g"}}"#), "", vec![]),
            (None, "--log-driver=local", vec![]),
            (None, "--log-opt max-size=1g", vec![]),
        ];
        for (file, extra, expected) in rows {
            assert_eq!(log_limits(&DaemonJson::parse(file), &words(extra)), expected, "{file:?} {extra}");
        }
    }

    #[test]
    fn images_are_kept_in_containerds_store_unless_something_speaks_against_it() {
        let driver = |name: &str| Store::Driver(name.to_owned());
        let rows = [
            ("new disk", None, "", None, "", Store::Containerd),
            ("Docker Machine", Some("overlay2"), "", None, "--label a", Store::Containerd),
            ("older disk", None, "overlay2", None, "", driver("overlay2")),
            ("much older disk", None, "aufs", None, "", Store::Containerd),
            ("btrfs", Some("btrfs"), "", None, "", driver("btrfs")),
            ("configured", None, "", Some(r#"{"storage-driver": "vfs"}"#), "", Store::Unsaid),
            ("featured", None, "overlay2", Some(r#"{"features": {}}"#), "", Store::Unsaid),
            ("argued", None, "", None, "--storage-driver=vfs", Store::Unsaid),
        ];
        for (name, wanted, present, file, extra, expected) in rows {
            let file = DaemonJson::parse(file);
            assert_eq!(store(wanted, &words(present), &file, &words(extra)), expected, "{name}");
        }
    }

    #[test]
    fn data_of_another_driver_is_pointed_out() {
        let drivers = |present: &str, store: &Store, file| {
            let notes = unseen_data(Path::new("/d"), &words(present), store, &DaemonJson::parse(file));
            notes.iter().map(|note| note.split(' ').nth(6).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (overlay2, btrfs) = (Store::Driver("overlay2".into()), Store::Driver("btrfs".into()));
        assert_eq!(drivers("overlay2", &overlay2, None), words(""));
        assert_eq!(drivers("aufs overlay2", &overlay2, None), words("aufs"));
        assert_eq!(drivers("btrfs overlay2", &btrfs, None), words("overlay2"));
        let vfs = Some(r#"{"storage-driver": "vfs"}"#);
        assert_eq!(drivers("vfs overlay2", &Store::Unsaid, vfs), words("overlay2"));
        let note = unseen_data(Path::new("/d"), &words("aufs"), &Store::Containerd, &DaemonJson::default());
        let expected = "images and containers of storage driver aufs lie in /d/aufs: docker uses containerd's store \
            and does not show them; nothing is deleted";
        assert_eq!(note, [expected]);
    }
}
