//! Running a program with the tools tree as its root folder, in namespaces of its own, without network.
//!
//! A fresh process of this program makes the namespaces (a user namespace wants a single thread), mounts
//! what the program may see, changes root and starts it. As root no user namespace is needed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::tools::ToolsTree;

/// Hidden sub-command that the fresh process is started with.
pub const SUBCOMMAND: &str = "enter-tools-tree";

/// This program, even when its file was replaced since, as cargo does while a long build runs.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Argument that makes the fresh process only try whether namespaces can be made.
pub const PROBE: &str = "--probe";

/// Environment variable that carries the [`Spec`] to the fresh process.
const SPEC_VARIABLE: &str = "ISO_BUILDER_ENTER";

/// Exit code when the program could not be started at all.
const CANNOT_START: u8 = 125;

/// Devices that a compiler or shell expects. The rest of the host's `/dev` stays hidden.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// A folder of the host that the program sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Folder on the host.
    pub from: PathBuf,
    /// Mount point in the tree, one of its top folders.
    pub to: PathBuf,
    /// Whether the program may write there.
    pub writable: bool,
}

impl Bind {
    /// A folder that may be read.
    pub fn read_only(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), to: to.into(), writable: false }
    }

    /// A folder that may be changed.
    pub fn writable(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), to: to.into(), writable: true }
    }
}

/// What to run in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    root: PathBuf,
    /// Whether the program may change the root folder; a tools tree is shared and never changes.
    is_writable: bool,
    /// Folders of the host to show.
    pub binds: Vec<Bind>,
    /// Working folder in the tree.
    pub folder: PathBuf,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Program and arguments.
    pub arguments: Vec<OsString>,
}

impl Spec {
    /// Returns a spec that runs `arguments` in `folder` with a small, fixed environment.
    pub fn new(tools: &ToolsTree, folder: &str, arguments: &[&str]) -> Self {
        Self { is_writable: false, ..Self::in_system(tools.root(), folder, arguments) }
    }

    /// Returns a spec that runs `arguments` in the system below `root`, which the program may change.
    pub fn in_system(root: &Path, folder: &str, arguments: &[&str]) -> Self {
        let environment = [("PATH", "/usr/sbin:/usr/bin"), ("HOME", "/tmp"), ("LC_ALL", "C"), ("TZ", "UTC")];
        Self {
            root: root.to_path_buf(),
            is_writable: true,
            binds: Vec::new(),
            folder: folder.into(),
            environment: environment.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            arguments: arguments.iter().map(OsString::from).collect(),
        }
    }

    /// Shows a folder of the host.
    #[must_use]
    pub fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.retain(|(name, _)| name != key);
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Returns the command that does all this: this program, started anew.
    ///
    /// # Errors
    /// When the spec cannot be written down.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(THIS_PROGRAM);
        let spec = serde_json::to_string(self).context("writing down what to run")?;
        command.arg(SUBCOMMAND).env(SPEC_VARIABLE, spec);
        Ok(command)
    }
}

/// The fresh process: reads the [`Spec`] and carries it out. Exits as the program did.
pub fn main() -> ExitCode {
    let entered = if env::args().any(|argument| argument == PROBE) {
        make_namespaces().map(|()| ExitStatus::default())
    } else {
        enter()
    };
    match entered {
        Ok(status) => ExitCode::from(exit_code(status)),
        Err(error) => {
            eprintln!("iso-builder: entering the tools tree: {error:#}");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Returns what a shell would: the exit code, or 128 plus the signal's number.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn enter() -> Result<ExitStatus> {
    let text = env::var(SPEC_VARIABLE)
        .with_context(|| format!("{SPEC_VARIABLE} is not set: this sub-command is for iso-builder itself"))?;
    let spec: Spec = serde_json::from_str(&text).with_context(|| format!("understanding {SPEC_VARIABLE}"))?;
    // Whoever started us may be killed; nothing may go on compiling for nobody.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
        .context("asking to end with the builder")?;
    make_namespaces()?;
    mount_all(&spec)?;
    nix::unistd::chroot(&spec.root).with_context(|| format!("changing root to {}", spec.root.display()))?;
    env::set_current_dir(&spec.folder).with_context(|| format!("entering {}", spec.folder.display()))?;
    let [program, arguments @ ..] = &spec.arguments[..] else { bail!("nothing to run was given") };
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.environment)
        .status()
        .with_context(|| format!("starting {}", program.to_string_lossy()))
}

/// Enters new mount, network, IPC and host-name namespaces, in a user namespace where that needs one.
fn make_namespaces() -> Result<()> {
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if user.is_root() && unshare(own).is_ok() {
        return Ok(());
    }
    match unshare(own | CloneFlags::CLONE_NEWUSER) {
        Ok(()) => {}
        Err(error @ (Errno::EPERM | Errno::EACCES | Errno::EINVAL | Errno::ENOSPC | Errno::ENOSYS)) => bail!(
            "this system lets us use neither chroot nor user namespaces ({error}): run as root, or allow user \
             namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces > 0; in a container: --privileged or --security-opt seccomp=unconfined)"
        ),
        Err(error) => return Err(error).context("making a user namespace"),
    }
    // Source: user_namespaces(7): setgroups must be denied before an ordinary user may map a group.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).with_context(|| {
            format!("mapping our user in /proc/self/{file} (kernel.apparmor_restrict_unprivileged_userns=0 may be needed)")
        })?;
    }
    Ok(())
}

fn mount_all(spec: &Spec) -> Result<()> {
    const NONE: Option<&str> = None;
    let root = &spec.root;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("making mounts private")?;
    bind(root, root, spec.is_writable)?;
    for Bind { from, to, writable } in &spec.binds {
        bind(from, &below(root, to), *writable)?;
    }
    for name in ["tmp", "run", "dev"] {
        let target = root.join(name);
        mount(Some("tmpfs"), &target, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .with_context(|| format!("mounting a tmpfs on {}", target.display()))?;
    }
    for name in DEVICES {
        let (from, to) = (Path::new("/dev").join(name), root.join("dev").join(name));
        fs::write(&to, "").with_context(|| format!("creating {}", to.display()))?;
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE)
            .with_context(|| format!("showing {}", from.display()))?;
    }
    std::os::unix::fs::symlink("/proc/self/fd", root.join("dev/fd")).context("linking /dev/fd")?;
    mount(Some("/proc"), &root.join("proc"), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .context("showing /proc")
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Shows `from` at `to`. In a user namespace the flags of the mount it comes from must be kept.
fn bind(from: &Path, to: &Path, writable: bool) -> Result<()> {
    const NONE: Option<&str> = None;
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("showing {} at {}", from.display(), to.display()))?;
    if writable {
        return Ok(());
    }
    let locked = nix::sys::statvfs::statvfs(to)
        .with_context(|| format!("reading the flags of {}", to.display()))?
        .flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (set, keep) in [
        (nix::sys::statvfs::FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (nix::sys::statvfs::FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (nix::sys::statvfs::FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (nix::sys::statvfs::FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (nix::sys::statvfs::FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if locked.contains(set) {
            flags |= keep;
        }
    }
    mount(NONE, to, NONE, flags, NONE).with_context(|| format!("making {} read-only", to.display()))
}
