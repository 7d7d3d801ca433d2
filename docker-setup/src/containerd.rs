//! Keeps containerd's store below dockerd's data root: images and containers of one daemon lie in one place.
//!
//! containerd is started early, beside the first hook. A hook may change the profile or mount a disk on the data root;
//! then containerd has the wrong place open and is started again before dockerd asks it anything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b2d_sys::contract::{CONTAINERD_ARGS, DOCKER_PID, SERVICES_CGROUP};
use b2d_sys::effects::cmd::{Cmd, Deadline};
use b2d_sys::effects::files::read_optional;

use crate::engine::{CONTAINERD_ROOT_FLAG, containerd_root};
use crate::renew::SERVICE;

/// containerd's own database, below its root. It is open as long as containerd runs.
const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// containerd is killed after 5 s.
const RESTART_SECS: u64 = 30;
/// PID 1's name, which its child has until it becomes containerd.
const PARENT: &str = "init";

/// A file by its identity: device and inode.
type Identity = (u64, u64);

/// What the running containerd works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct InUse {
    /// Its root, as it was told.
    root: Option<PathBuf>,
    /// The database it has open; None if it has not got that far.
    database: Option<Identity>,
}

/// Returns the arguments that a containerd which begins now is given, each ended by a NUL.
///
/// # Errors
/// When the file that has them cannot be read.
pub fn arguments() -> Result<Vec<u8>> {
    let lines =
        read_optional(Path::new(CONTAINERD_ARGS)).with_context(|| format!("reading {CONTAINERD_ARGS}"))?;
    Ok(lines.unwrap_or_default().into_iter().map(|byte| if byte == b'\n' { 0 } else { byte }).collect())
}

/// Starts containerd again if it works elsewhere than below `data_root`, as long as no dockerd depends on it. `given` are the
/// arguments of one that is just beginning.
///
/// # Errors
/// When the process table cannot be read or PID 1 does not answer.
pub fn follow(data_root: &Path, given: &[u8]) -> Result<()> {
    if is_dockerd_running() {
        return Ok(());
    }
    // No cgroup: it was never started.
    let list = Path::new(SERVICES_CGROUP).join("containerd/cgroup.procs");
    let processes = fs::read_to_string(&list).unwrap_or_default();
    let Some(in_use) = in_use(Path::new("/proc"), &processes, given)? else { return Ok(()) };
    let root = containerd_root(data_root);
    if !is_elsewhere(&in_use, &root, identity(&root.join(DATABASE))) {
        return Ok(());
    }
    log::info!("containerd is started again, with its store in {}", root.display());
    let restarted = Cmd::new(SERVICE).args(["containerd", "restart"]).run(Deadline::secs(RESTART_SECS));
    restarted.map(drop).context("starting containerd again")
}

fn is_elsewhere(in_use: &InUse, root: &Path, database: Option<Identity>) -> bool {
    in_use.root.as_deref() != Some(root) || in_use.database.is_some_and(|open| Some(open) != database)
}

/// Returns what the containerd among these processes, its shims and runc works on, or None if it does not run.
fn in_use(proc: &Path, processes: &str, given: &[u8]) -> Result<Option<InUse>> {
    let folders: Vec<PathBuf> = processes.lines().map(|pid| proc.join(pid)).collect();
    let is_there = |name: &str| folders.iter().find(|process| is_named(process, name));
    let Some(process) = is_there("containerd") else {
        return Ok(is_there(PARENT).map(|_| InUse { root: root_in(given), database: None }));
    };
    let words = fs::read(process.join("cmdline"));
    let words = words.with_context(|| format!("reading {}", process.join("cmdline").display()))?;
    // The kernel gives a process the name of its program before it has loaded that, and the arguments after.
    let words = if words.is_empty() { given } else { &words };
    Ok(Some(InUse { root: root_in(words), database: open_database(&process.join("fd"))? }))
}

/// Returns the root in a command line as the kernel shows it, each word ended by a NUL.
fn root_in(words: &[u8]) -> Option<PathBuf> {
    let words = String::from_utf8_lossy(words);
    let mut words = words.split('\0').skip_while(|word| *word != CONTAINERD_ROOT_FLAG);
    words.nth(1).map(PathBuf::from)
}

fn open_database(descriptors: &Path) -> Result<Option<Identity>> {
    let list = fs::read_dir(descriptors);
    let list = list.with_context(|| format!("listing {}", descriptors.display()))?;
    // One that is closed meanwhile is of no interest.
    let mut open = list.filter_map(|entry| Some(entry.ok()?.path()));
    let found = open.find(|path| fs::read_link(path).is_ok_and(|file| file.ends_with(DATABASE)));
    Ok(found.and_then(|path| identity(&path)))
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A pid file may be older than the process that has the number now.
fn is_dockerd_running() -> bool {
    let pid = fs::read_to_string(DOCKER_PID).unwrap_or_default();
    !pid.trim().is_empty() && is_named(&Path::new("/proc").join(pid.trim()), "dockerd")
}

fn is_named(process: &Path, name: &str) -> bool {
    fs::read_to_string(process.join("comm")).is_ok_and(|text| text.trim_end() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_that_works_elsewhere_is_noticed() {
        let (here, there) = (Some((1, 10)), Some((2, 10)));
        let at = |root: &str, database| InUse { root: Some(root.into()), database };
        let rows = [
            ("as it should be", at("/d/containerd/daemon", here), here, false),
            ("still starting", at("/d/containerd/daemon", None), None, false),
            ("still starting, on an older disk", at("/d/containerd/daemon", None), here, false),
            ("other root", at("/e/containerd/daemon", here), here, true),
            ("a disk was mounted on it", at("/d/containerd/daemon", here), there, true),
            ("an empty disk was mounted on it", at("/d/containerd/daemon", here), None, true),
            ("started without a root", InUse { root: None, database: here }, here, true),
        ];
        for (name, in_use, database, expected) in rows {
            assert_eq!(
                is_elsewhere(&in_use, &containerd_root(Path::new("/d")), database),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn containerd_that_is_just_beginning_has_the_arguments_it_was_given() {
        let proc = tempfile::tempdir().unwrap();
        let put = |pid: &str, name: &str, words: &str| {
            let folder = proc.path().join(pid);
            fs::create_dir_all(folder.join("fd")).unwrap();
            fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
            fs::write(folder.join("cmdline"), words).unwrap();
        };
        let root = |processes| {
            let found = in_use(proc.path(), processes, b"--root\0/given\0").unwrap();
            found.map(|in_use| in_use.root.unwrap())
        };
        assert_eq!(root(""), None);
        put("7", "containerd-shim", "/usr/bin/containerd-shim-runc-v2\0");
        assert_eq!(root("7\n"), None);
        put("9", "init", "/sbin/init\0");
        assert_eq!(root("7\n9\n"), Some("/given".into()));
        put("9", "containerd", "");
        assert_eq!(root("7\n9\n"), Some("/given".into()));
        put("9", "containerd", "/usr/bin/containerd\0--root\0/d\0");
        assert_eq!(root("7\n9\n"), Some("/d".into()));
    }

    #[test]
    fn root_is_the_word_after_its_flag() {
        let line = b"/usr/bin/containerd\0--config\0/x\0--root\0/d/containerd/daemon\0";
        assert_eq!(root_in(line), Some("/d/containerd/daemon".into()));
        assert_eq!(root_in(b"/usr/bin/containerd\0"), None);
    }

    #[test]
    fn open_files_are_told_apart_by_identity() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join(DATABASE);
        let file = || {
            fs::create_dir_all(database.parent().unwrap()).unwrap();
            fs::File::create(&database).unwrap()
        };
        let ours = Path::new("/proc/self/fd");
        assert_eq!(open_database(ours).unwrap(), None);
        let _open = file();
        assert_eq!(open_database(ours).unwrap(), identity(&database));
    }
}
