//! Turns: what two builds would both write is written by one while the other waits and says for whom.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result};

use crate::progress::Progress;

/// A turn; it ends when this is dropped or its process ends, however that happens.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "holds the lock")] File);

/// Waits until no other process has its turn with `path`, telling `what` the other one does and its number.
///
/// The file stays: removing it would let two processes lock two files of the same name.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn take(path: &Path, what: &str) -> Result<Turn> {
    let locking = || format!("locking {}", path.display());
    let mut file = open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut other = String::new();
            file.read_to_string(&mut other).with_context(locking)?;
            Progress::new().note(&format!("waiting for process {}, which is {what}", other.trim()));
            file.lock().with_context(locking)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(locking),
    }
    file.set_len(0).and_then(|()| file.rewind()).with_context(locking)?;
    writeln!(file, "{}", std::process::id()).with_context(locking)?;
    Ok(Turn(file))
}

/// Joins all others that use what `path` stands for; only [`take`] is kept out by that.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn share(path: &Path) -> Result<Turn> {
    let file = open(path)?;
    file.lock_shared().with_context(|| format!("locking {}", path.display()))?;
    Ok(Turn(file))
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path).with_context(|| format!("opening the lock {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_turn_holds_the_number_of_its_process_and_keeps_others_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/lock");
        let first = take(&path, "testing").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let second = take(&path, "testing").unwrap();
                sender.send("second").unwrap();
                drop(second);
            });
            assert!(open(&path).unwrap().try_lock().is_err(), "the first still has it");
            assert!(receiver.try_recv().is_err(), "the second waits");
            drop(first);
            assert_eq!(receiver.recv().unwrap(), "second");
        });
    }

    #[test]
    fn those_who_share_do_not_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _first = share(&path).unwrap();
        let _second = share(&path).unwrap();
        assert!(open(&path).unwrap().try_lock().is_err());
    }
}
