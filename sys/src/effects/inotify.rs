//! Learning that a directory's content has changed, without looking again and again.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// A set of watched directories; its descriptor is readable once a name in one of them came, went or was moved.
#[derive(Debug)]
pub struct DirWatch {
    fd: OwnedFd,
}

impl DirWatch {
    /// Returns an empty set.
    ///
    /// # Errors
    /// When the kernel's limit of inotify instances is reached.
    pub fn new() -> Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("opening inotify")?;
        Ok(Self { fd })
    }

    /// Adds a directory; one that is in the set already stays once.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn add(&self, dir: &Path) -> Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.fd, dir, flags).with_context(|| format!("watching {}", dir.display()))?;
        Ok(())
    }

    /// Forgets what has happened so far; the caller looks at the directories itself.
    pub fn drain(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        while reader.next().is_ok() {}
    }
}

impl AsFd for DirWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
