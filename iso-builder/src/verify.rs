//! `iso-builder verify`: the same sources, built elsewhere under other circumstances, must give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};

use crate::compare;
use crate::digest;
use crate::enter::THIS_PROGRAM;
use crate::host::JOBS_VARIABLE;
use crate::project::Project;
use crate::tools::ToolsTree;
use crate::{host, run, step};

/// What the second build has other than the first, as far as the environment goes.
const OTHER_ENVIRONMENT: [(&str, &str); 5] = [
    ("TZ", "Pacific/Chatham"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LANG", "tr_TR.UTF-8"),
    ("HOSTNAME", "elsewhere"),
    ("SOURCE_DATE_EPOCH", ""),
];

/// Parts of a checkout that no build reads.
const NOT_COPIED: [&str; 2] = ["target", ".git"];

/// Builds the sources a second time and compares the result with `iso`; returns a line that says so.
///
/// The second build happens below `target/verify`, with another umask, environment, user (where the host's
/// `unshare` can show one) and number of jobs. It shares the downloaded packages; tools tree and kernel
/// are made again only when `kernel` says so.
///
/// # Errors
/// When the second build fails or differs; the text names the first file that does.
pub fn run(project: &Project, config: Option<&Path>, iso: &Path, kernel: bool) -> Result<String> {
    let folder = project.target().join("verify");
    step::remove(&folder)?;
    let shared: &[&str] = if kernel { &["debs"] } else { &["debs", "tools", "kernel"] };
    let elsewhere = Elsewhere::make(project, &folder, shared)?;
    let second = folder.join("second.iso");
    let mut command = as_another_user();
    command.args(["build", "--locked", "--offline", "-o"]).arg(&second);
    if let Some(config) = config {
        command.arg("--config").arg(fs::canonicalize(config).context("resolving the configuration's path")?);
    }
    command
        .current_dir(&elsewhere.checkout)
        .env("BOOT2DOCKER_CACHE", &elsewhere.cache)
        .envs(OTHER_ENVIRONMENT);
    command.env(JOBS_VARIABLE, (host::jobs() + 1).to_string());
    let before = umask(Mode::from_bits_truncate(0o077));
    let built = run::output(&mut command);
    umask(before);
    built.context("building a second time")?;
    let result = verdict(project, iso, &second, &folder)?;
    step::remove(&folder)?;
    Ok(result)
}

/// A second checkout of a project's sources, with a cache of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The folder of the sources, without any result of a build.
    pub checkout: PathBuf,
    /// What `BOOT2DOCKER_CACHE` is to say there.
    pub cache: PathBuf,
}

impl Elsewhere {
    /// Makes one below `folder`; the parts of the project's cache that `shared` names appear in its own.
    ///
    /// # Errors
    /// When the sources cannot be copied or the cache cannot be made.
    pub fn make(project: &Project, folder: &Path, shared: &[&str]) -> Result<Self> {
        let (checkout, cache) = (folder.join("another/checkout"), folder.join("cache"));
        copy_sources(project.root(), &checkout)?;
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        for name in shared {
            step::replace_symlink(&project.cache_folder(name)?, &cache.join(name))?;
        }
        Ok(Self { checkout, cache })
    }
}

fn verdict(project: &Project, first: &Path, second: &Path, scratch: &Path) -> Result<String> {
    let digests = (digest::of_file(first)?, digest::of_file(second)?);
    if digests.0 == digests.1 {
        return Ok(format!("{}  two builds gave the same bytes", digests.0));
    }
    let place = compare::first_difference(&ToolsTree::open(project)?, first, second, scratch)?;
    bail!("comparing {} with {}: {place} differs", first.display(), second.display())
}

fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    let listing = || format!("listing {}", from.display());
    for entry in fs::read_dir(from).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let (name, path) = (entry.file_name(), entry.path());
        let target = to.join(&name);
        let copying = || format!("copying {}", path.display());
        if NOT_COPIED.iter().any(|other| name == *other) {
            continue;
        }
        let kind = entry.file_type().with_context(listing)?;
        if kind.is_dir() {
            copy_sources(&path, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&path).with_context(copying)?;
            std::os::unix::fs::symlink(link, target).with_context(copying)?;
        } else {
            fs::copy(&path, target).with_context(copying)?;
        }
    }
    Ok(())
}

/// Returns this program as a command, run as an ordinary user of a user namespace where that is possible.
fn as_another_user() -> Command {
    const OTHER: [&str; 4] = ["--user", "--map-user=4711", "--map-group=4711", "--"];
    let program = fs::read_link(THIS_PROGRAM).unwrap_or_else(|_| PathBuf::from(THIS_PROGRAM));
    let can = Command::new("unshare").args(OTHER).args(["unshare", "--user", "true"]).output();
    if can.is_ok_and(|output| output.status.success()) {
        let mut command = Command::new("unshare");
        command.args(OTHER).arg(program);
        return command;
    }
    log::warn!("the second build has the same user: this host's unshare cannot show another");
    Command::new(program)
}
