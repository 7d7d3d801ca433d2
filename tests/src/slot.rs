//! At most [`SLOTS`] machines at once, whichever program runs the tests.
//!
//! File locks hold between the threads of `cargo test` and between the processes of `cargo nextest`, and the kernel
//! releases them however a process ends.

use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};

/// Machines that run side by side; each has 2 GiB.
pub const SLOTS: usize = 2;

/// The right to run one machine; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

impl Slot {
    /// Waits for a free slot among the lock files in `folder`. The runner of the tests bounds this wait.
    ///
    /// # Errors
    /// When the lock files cannot be made or locked.
    pub fn acquire(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let (sender, receiver) = mpsc::channel();
        for index in 0..SLOTS {
            let path = folder.join(format!("slot-{index}.lock"));
            let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
            let sender = sender.clone();
            // The first lock to be granted wins. A later one finds no receiver and is dropped, which unlocks it.
            thread::spawn(move || drop(sender.send(file.lock().map(|()| file))));
        }
        let granted = receiver.recv().expect("each thread sends once");
        Ok(Self { _lock: granted.with_context(|| format!("locking a slot in {}", folder.display()))? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_third_machine_waits_until_one_of_two_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Slot::acquire(folder.path()).unwrap();
        let second = Slot::acquire(folder.path()).unwrap();
        let (sender, receiver) = mpsc::channel();
        let path = folder.path().to_path_buf();
        let waiting = thread::spawn(move || sender.send(Slot::acquire(&path).unwrap()).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "both slots are taken");
        drop(second);
        let third = receiver.recv_timeout(Duration::from_secs(10)).expect("one slot is free again");
        waiting.join().unwrap();
        drop((first, third));
    }
}
