//! Results that are kept: a step runs once for each key, and an interrupted one leaves nothing behind.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::turn;

/// Returns `folder/key`, first letting `make` fill it when it is not there yet.
///
/// `make` works in `folder/key.part`, which is renamed when it succeeds: a folder under its final name is
/// always complete, and what a killed run left behind is removed by the next.
///
/// # Errors
/// Those of `make`, and of creating or renaming the folder.
pub fn cached(folder: &Path, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let finished = folder.join(key);
    if finished.is_dir() {
        log::debug!("{} is up to date", finished.display());
        return Ok(finished);
    }
    let part = folder.join(format!("{key}.part"));
    remove(&part)?;
    fs::create_dir_all(&part).with_context(|| format!("creating {}", part.display()))?;
    if let Err(error) = make(&part) {
        remove(&part)?;
        return Err(error);
    }
    fs::rename(&part, &finished).with_context(|| format!("renaming {}", part.display()))?;
    Ok(finished)
}

/// As [`cached`] for a folder that other builds use as well: who wants the same waits for it.
///
/// # Errors
/// As [`cached`].
pub fn shared(
    folder: &Path,
    key: &str,
    what: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let finished = folder.join(key);
    if !finished.is_dir() {
        let _turn = turn::take(&folder.join(format!("{key}.lock")), what)?;
        return cached(folder, key, make);
    }
    mark_used(&finished);
    Ok(finished)
}

/// Sets the time of the last use, by which `clean --cache` goes; whoever may not change it has no say in cleaning.
pub fn mark_used(path: &Path) {
    let used = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = used {
        log::debug!("marking {} as used: {error}", path.display());
    }
}

/// As [`cached`], but forgets the results of all other keys in `folder`.
///
/// # Errors
/// As [`cached`].
pub fn latest(folder: &Path, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let finished = cached(folder, key, make)?;
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        if path != finished {
            remove(&path)?;
        }
    }
    Ok(finished)
}

/// Returns the key of the step that made `file`: the name of the folder it is in.
#[must_use]
pub fn key_of(file: &Path) -> String {
    let folder = file.parent().and_then(Path::file_name);
    folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Removes a file or a folder with everything in it; one that is not there is fine.
///
/// # Errors
/// When something cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("removing {}", path.display()))
}

/// Makes `link` a symbolic link to `target`, replacing what was there in one rename.
///
/// # Errors
/// When the link cannot be made.
pub fn replace_symlink(target: &Path, link: &Path) -> Result<()> {
    let mut name = link.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    remove(&part)?;
    symlink(target, &part)
        .and_then(|()| fs::rename(&part, link))
        .with_context(|| format!("linking {} to {}", link.display(), target.display()))
}

/// Writes a file under a temporary name and renames it: readers see the old bytes or the new, never half.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_finished_step_is_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let make = |part: &Path| Ok(fs::write(part.join("result"), "once")?);
        let first = cached(folder.path(), "k", make).unwrap();
        let second = cached(folder.path(), "k", |_| bail!("ran twice")).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(second.join("result")).unwrap(), "once");
    }

    #[test]
    fn a_failed_or_killed_step_leaves_nothing_under_its_final_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("k.part")).unwrap();
        fs::write(folder.path().join("k.part/left-behind"), "").unwrap();
        assert!(cached(folder.path(), "k", |_| bail!("no")).is_err());
        assert!(!folder.path().join("k").exists());
        let path = cached(folder.path(), "k", |_| Ok(())).unwrap();
        assert!(!path.join("left-behind").exists());
    }

    #[test]
    fn only_the_latest_result_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        latest(folder.path(), "old", |_| Ok(())).unwrap();
        latest(folder.path(), "new", |_| Ok(())).unwrap();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["new"]);
    }
}
