//! Decides which directories lie on the data disk, and which links lead to them. Pure.

use std::path::{Path, PathBuf};

use b2d_sys::contract::{DOCKER_DIR, STATE_DIR};

use crate::step::Step;

/// Permission bits of Docker's root; Docker itself sets the same.
const DOCKER_MODE: u32 = 0o710;
/// Permission bits of all that users look into.
const OPEN_MODE: u32 = 0o755;
/// Permission bits of `/tmp`.
const TMP_MODE: u32 = 0o1777;
/// Where our own directory was before version 1.0, below Docker's root, which was the whole disk.
const OLD_STATE: &str = "vm";

/// Returns the steps that make the directories of a data disk mounted at `mountpoint`. `is_old` says that it is laid out
/// as before version 1.0.
pub fn steps(mountpoint: &Path, is_old: bool) -> Vec<Step> {
    let below = |path: &str| mountpoint.join(path.trim_start_matches('/'));
    let (docker, state) = match is_old {
        true => (mountpoint.to_owned(), below(OLD_STATE)),
        false => (below(DOCKER_DIR), below(STATE_DIR)),
    };
    let tmp = mountpoint.join("tmp");
    let mut steps = Vec::new();
    // First what frees space: on a full disk there is no room for a new directory.
    steps.extend((!is_old).then(|| Step::EmptyTmp(tmp.clone(), TMP_MODE)));
    steps.extend((!is_old).then(|| Step::Dir(docker.clone(), DOCKER_MODE)));
    for path in [state.clone(), state.join("etc"), state.join("log")] {
        steps.push(Step::Dir(path, OPEN_MODE));
    }
    steps.push(Step::Link(docker, DOCKER_DIR.into()));
    steps.push(Step::Link(state, PathBuf::from(STATE_DIR)));
    // Docker closes its root to everybody else: below an old disk's, nobody could write to /tmp.
    steps.extend((!is_old).then(|| Step::LinkTmp(tmp, "/tmp".into())));
    steps.push(Step::Record);
    steps
}
