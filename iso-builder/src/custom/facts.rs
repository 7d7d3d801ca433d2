//! Reads the files that a configuration names. Decides nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Custom, Origin};
use crate::document::{Located, Mistake};
use crate::tree::{GuestPath, Node};

/// Modes of files that are executable on the host, and of all others: git records no more either.
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Contents of the files that [`Custom`] names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) profile: Option<Located<String>>,
    pub(super) daemon_json: Option<Located<String>>,
    pub(super) certificates: Vec<Located<String>>,
    pub(super) bootsync: Option<Located<String>>,
    pub(super) bootlocal: Option<Located<String>>,
    /// For each entry of [`Custom::files`] what is at its place and below, folders before what is in them.
    pub(super) files: Vec<Vec<(GuestPath, Node)>>,
}

/// Reads the facts.
///
/// # Errors
/// When a file cannot be read, or is neither file, folder nor link.
pub(super) fn read(custom: &Custom) -> Result<Facts, Mistake> {
    let text = |path: &Option<Located<PathBuf>>| path.as_ref().map(read_text).transpose();
    let mut files = Vec::new();
    for entry in &custom.files {
        let to = &entry.to.value;
        files.push(match &entry.from {
            Origin::Text(text) => vec![(to.clone(), Node::file(text.as_bytes(), FILE_MODE))],
            Origin::Host(from) => {
                let mut found = Vec::new();
                read_tree(from, &from.value, to, &mut found)?;
                found
            }
        });
    }
    Ok(Facts {
        profile: text(&custom.profile)?,
        daemon_json: text(&custom.daemon_json)?,
        certificates: custom.certificates.iter().map(read_text).collect::<Result<_, _>>()?,
        bootsync: text(&custom.bootsync)?,
        bootlocal: text(&custom.bootlocal)?,
        files,
    })
}

fn read_text(path: &Located<PathBuf>) -> Result<Located<String>, Mistake> {
    let text = fs::read_to_string(&path.value).map_err(|error| unreadable(path, &path.value, &error))?;
    Ok(path.with(text))
}

/// Reads what is at `path` and below, to be put at `to`; `named` is what the configuration names.
pub(super) fn read_tree(
    named: &Located<PathBuf>,
    path: &Path,
    to: &GuestPath,
    found: &mut Vec<(GuestPath, Node)>,
) -> Result<(), Mistake> {
    let failed = |error: std::io::Error| unreadable(named, path, &error);
    // A link that the configuration itself names is followed; those in a folder are copied as links.
    let metadata = if path == named.value { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let metadata = metadata.map_err(failed)?;
    if metadata.is_dir() {
        found.push((to.clone(), Node::folder(PROGRAM_MODE, (0, 0))));
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut names: Vec<_> = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            read_tree(named, &path.join(&name), &GuestPath::new(to.as_path().join(&name)), found)?;
        }
    } else if metadata.is_symlink() {
        found.push((to.clone(), Node::symlink(fs::read_link(path).map_err(failed)?)));
    } else if metadata.is_file() {
        let is_program = metadata.permissions().mode() & 0o100 != 0;
        let mode = if is_program { PROGRAM_MODE } else { FILE_MODE };
        found.push((to.clone(), Node::file(fs::read(path).map_err(failed)?, mode)));
    } else {
        return Err(named.mistake(format!(
            "{} is a device, pipe or socket; allowed are files, folders and links",
            path.display()
        )));
    }
    Ok(())
}

fn unreadable(named: &Located<PathBuf>, path: &Path, error: &std::io::Error) -> Mistake {
    named.mistake(format!(
        "reading {}: {error}; relative paths begin in the folder of this file",
        path.display()
    ))
}
