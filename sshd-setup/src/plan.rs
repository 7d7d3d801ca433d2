//! Decides what sshd's directory, the host keys and the user's home need. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use b2d_sys::contract::{DOCKER_HOME, DOCKER_UID, PATH, SSH_DIR, SSH_STATE_DIR, STAFF_GID, USERDATA};

use crate::config::{self, Choice};
use crate::facts::{CONFIG, CONFIG_OF_IMAGE, Facts, HOME_KEYS, IMAGE_CONFIG, SshFile};
use crate::keys;
use crate::userdata::{self, Userdata};

/// Owner of everything in the home.
const USER: (u32, u32) = (DOCKER_UID, STAFF_GID);
/// sshd's empty directory, which it checks for before it listens.
const PRIVSEP_DIR: &str = "/run/sshd";
/// Read by sshd for commands without a login shell.
const ENVIRONMENT: &str = ".ssh/environment";
const REJECTED: &str = "sshd_config.rejected-";

/// Groups of steps, and what is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What somebody should know.
    pub notes: Vec<String>,
    /// Groups, in order. A step that fails ends its group, not the others: sshd shall come up.
    pub groups: Vec<Group>,
}

/// Steps that make sense only together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// For messages.
    pub name: &'static str,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a directory of root's.
    Dir(PathBuf, u32),
    /// Write a file of root's.
    Write {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its content.
        content: Vec<u8>,
    },
    /// Let the second path be a link to the first, instead of the directory it may be.
    ReplaceByLink(PathBuf, PathBuf),
    /// Make host keys, side by side.
    MakeKeys(Vec<KeyKind>),
    /// Ask sshd whether it accepts its configuration; if not, set it aside and use the fallback.
    CheckConfig {
        /// New name of a rejected configuration.
        rejected: PathBuf,
        /// The image's configuration, if known.
        fallback: Option<Vec<u8>>,
    },
    /// Give the home and all in it to the user.
    OwnHome,
    /// Make a directory of the user's, by its path below the home.
    UserDir(PathBuf, u32),
    /// Write a file of the user's, by its path below the home.
    UserFile {
        /// Path below the home.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its content.
        content: Vec<u8>,
    },
}

/// Kinds of host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Made in no time; what current clients prefer.
    Ed25519,
    /// Made in no time; what Docker Machine's own client prefers.
    Ecdsa,
    /// Seconds to make on a slow machine; for clients that know nothing else.
    Rsa,
}

impl KeyKind {
    /// Returns the name `ssh-keygen -t` knows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }

    /// Returns the name of the private key's file.
    pub fn file(self) -> String {
        format!("ssh_host_{}_key", self.name())
    }
}

/// Returns all that must be there before sshd starts.
pub fn plan(facts: &Facts) -> Plan {
    let mut notes = Vec::new();
    // Nothing of the user's waits for host keys and sshd, which may hang on a busy disk.
    let groups = vec![
        Group { name: "home", steps: home(facts, &mut notes) },
        Group { name: "configuration", steps: store(facts, &mut notes) },
        Group { name: "host keys", steps: make_keys(facts, &[KeyKind::Ed25519, KeyKind::Ecdsa]) },
        Group { name: "sshd", steps: sshd(facts) },
    ];
    Plan { notes, groups }
}

/// Returns what may be made while sshd runs already.
pub fn plan_slow_keys(facts: &Facts) -> Plan {
    let groups = vec![Group { name: "host keys", steps: make_keys(facts, &[KeyKind::Rsa]) }];
    Plan { notes: Vec::new(), groups }
}

/// On the first boot the image's files become the persistent ones; later only its configuration may follow.
fn store(facts: &Facts, notes: &mut Vec<String>) -> Vec<Step> {
    let store = Path::new(SSH_STATE_DIR);
    let write = |file: &SshFile| Step::Write {
        path: store.join(&file.name),
        mode: mode_of(&file.name),
        content: file.content.clone(),
    };
    let mut steps = Vec::new();
    if let Some(content) = image_config(facts) {
        steps.push(Step::Write { path: IMAGE_CONFIG.into(), mode: 0o644, content });
    }
    steps.push(Step::Dir(store.into(), 0o755));
    let is_moved = |file: &&SshFile| facts.stored_files.is_none() && file.name != CONFIG;
    steps.extend(facts.image_files.iter().filter(is_moved).map(write));
    steps.extend(store_config(facts, notes));
    steps.push(Step::ReplaceByLink(store.into(), SSH_DIR.into()));
    steps
}

/// Stores the image's configuration where it is to be used, and in any case beside the one that is.
fn store_config(facts: &Facts, notes: &mut Vec<String>) -> Vec<Step> {
    let write = |name: &str, content| Step::Write {
        path: Path::new(SSH_STATE_DIR).join(name),
        mode: mode_of(name),
        content,
    };
    let stored_files = facts.stored_files.as_deref().unwrap_or_default();
    let stored = content_of(stored_files, CONFIG);
    let completed = stored.and_then(completed).map(|content| write(CONFIG, content));
    let Some(image) = image_config(facts) else { return Vec::from_iter(completed) };
    let former = content_of(stored_files, CONFIG_OF_IMAGE);
    let choice = config::choose(&image, stored, former);
    if choice == (Choice::Stored { is_image_new: true }) {
        notes.push(format!(
            "{SSH_STATE_DIR}/{CONFIG} was changed and stays; this image's is {CONFIG_OF_IMAGE} beside it"
        ));
    }
    let used = if choice == Choice::Image { Some(write(CONFIG, image.clone())) } else { completed };
    // Last: a power cut before this line leaves a configuration that is known to be the image's.
    let beside = (former != Some(image.as_slice())).then(|| write(CONFIG_OF_IMAGE, image));
    used.into_iter().chain(beside).collect()
}

/// Returns the image's configuration with all that this sshd needs; custom images may have a short one.
fn image_config(facts: &Facts) -> Option<Vec<u8>> {
    let content = content_of(&facts.image_files, CONFIG)?;
    Some(completed(content).unwrap_or_else(|| content.to_vec()))
}

/// Returns what was missing and the configuration, or None if nothing was missing.
fn completed(config: &[u8]) -> Option<Vec<u8>> {
    config::complete(&String::from_utf8_lossy(config)).map(String::into_bytes)
}

fn mode_of(name: &str) -> u32 {
    if name.starts_with("ssh_host_") && !name.ends_with(".pub") { 0o600 } else { 0o644 }
}

/// Returns a file's content; an empty file counts as missing: that is what a power cut leaves.
fn content_of<'a>(files: &'a [SshFile], name: &str) -> Option<&'a [u8]> {
    let file = files.iter().find(|file| file.name == name);
    file.map(|file| file.content.as_slice()).filter(|content| !content.is_empty())
}

fn make_keys(facts: &Facts, wanted: &[KeyKind]) -> Vec<Step> {
    // Files of the image count where they are about to be moved.
    let present = facts.stored_files.as_deref().unwrap_or(&facts.image_files);
    let missing: Vec<KeyKind> =
        wanted.iter().copied().filter(|kind| content_of(present, &kind.file()).is_none()).collect();
    if missing.is_empty() { Vec::new() } else { vec![Step::MakeKeys(missing)] }
}

fn sshd(facts: &Facts) -> Vec<Step> {
    let mut steps = vec![Step::Dir(PRIVSEP_DIR.into(), 0o755)];
    let is_shipped = used_config(facts).as_deref() == Some(config::SHIPPED.as_bytes());
    if !is_shipped || !keys_look_whole(facts) {
        steps.push(check_config(facts));
    }
    steps
}

/// Tells whether the private keys that are there already begin and end as such; those to be made do.
fn keys_look_whole(facts: &Facts) -> bool {
    let is_private = |file: &&SshFile| mode_of(&file.name) == 0o600 && !file.content.is_empty();
    let looks_whole = |file: &SshFile| {
        let text = file.content.trim_ascii_end();
        text.starts_with(b"-----BEGIN ") && text.ends_with(b" PRIVATE KEY-----")
    };
    let files = facts.stored_files.as_deref().unwrap_or(&facts.image_files);
    files.iter().filter(is_private).all(looks_whole)
}

/// Returns the configuration that sshd gets.
fn used_config(facts: &Facts) -> Option<Vec<u8>> {
    let stored = content_of(facts.stored_files.as_deref().unwrap_or_default(), CONFIG);
    let is_used = |path: &Path| path == Path::new(SSH_STATE_DIR).join(CONFIG);
    let written = store_config(facts, &mut Vec::new()).into_iter().find_map(|step| match step {
        Step::Write { path, content, .. } if is_used(&path) => Some(content),
        _ => None,
    });
    written.or_else(|| stored.map(<[u8]>::to_vec))
}

fn check_config(facts: &Facts) -> Step {
    let stored = facts.stored_files.as_deref().unwrap_or_default();
    let is_free = |number: &u32| !stored.iter().any(|file| file.name == format!("{REJECTED}{number}"));
    let number = (1..).find(is_free).unwrap_or(1);
    let fallback = image_config(facts).or_else(|| facts.kept_config.clone());
    Step::CheckConfig { rejected: Path::new(SSH_DIR).join(format!("{REJECTED}{number}")), fallback }
}

fn home(facts: &Facts, notes: &mut Vec<String>) -> Vec<Step> {
    let userdata = read_userdata(facts, notes);
    let environment = format!("PATH={PATH}\n").into_bytes();
    let mut steps = vec![
        Step::OwnHome,
        Step::UserDir(".ssh".into(), 0o700),
        Step::UserFile { path: ENVIRONMENT.into(), mode: 0o644, content: environment },
    ];
    let mut keys = facts.home_keys.clone().unwrap_or_default();
    for member in userdata.members {
        match member.content {
            None => steps.push(Step::UserDir(member.path, member.mode)),
            Some(content) if member.path == Path::new(HOME_KEYS) => {
                keys = keys::merge(&keys, &keys::decode(&content));
            }
            Some(content) => steps.push(Step::UserFile { path: member.path, mode: member.mode, content }),
        }
    }
    keys = keys::merge(&keys, facts.extra_keys.as_deref().unwrap_or_default());
    if !keys.is_empty() {
        steps.push(Step::UserFile { path: HOME_KEYS.into(), mode: 0o600, content: keys.into_bytes() });
    }
    steps
}

fn read_userdata(facts: &Facts, notes: &mut Vec<String>) -> Userdata {
    let Some(bytes) = &facts.userdata else { return Userdata::default() };
    match userdata::read(bytes) {
        Ok(userdata) => {
            if userdata.is_cut {
                notes.push(format!("{USERDATA} ends too early: only its whole files are used"));
            }
            userdata
        }
        Err(error) => {
            notes.push(format!("{USERDATA} is not used: {error}"));
            Userdata::default()
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = Path::new(DOCKER_HOME);
        match self {
            Self::Dir(path, mode) => write!(f, "dir {} {mode:04o}", path.display()),
            Self::Write { path, mode, content } => {
                write!(f, "write {} {mode:04o}, {} bytes", path.display(), content.len())
            }
            Self::ReplaceByLink(target, link) => write!(f, "link {} -> {}", link.display(), target.display()),
            Self::MakeKeys(kinds) => {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                write!(f, "make host keys {}", names.join(", "))
            }
            Self::CheckConfig { rejected, .. } => write!(f, "check {CONFIG}, else {}", rejected.display()),
            Self::OwnHome => write!(f, "own {} {}:{}", home.display(), USER.0, USER.1),
            Self::UserDir(path, mode) => write!(f, "dir {} {mode:04o}, docker's", home.join(path).display()),
            Self::UserFile { path, mode, content } => {
                write!(f, "write {} {mode:04o}, {} bytes, docker's", home.join(path).display(), content.len())
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for group in &self.groups {
            writeln!(f, "{}", group.name)?;
            group.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
