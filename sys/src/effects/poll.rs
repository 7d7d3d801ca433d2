//! Waiting for descriptors.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the other end has closed.
    Read,
    /// Room to write, or a connection attempt has ended.
    Write,
}

/// Waits until a descriptor is ready or `timeout` has passed (None: for ever); returns one flag per descriptor.
/// An interrupted wait returns early with no flag set.
///
/// # Errors
/// When the kernel refuses the set of descriptors.
pub fn wait(fds: &[(BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut set: Vec<PollFd<'_>> = fds
        .iter()
        .map(|(fd, interest)| {
            let flags = match interest {
                Interest::Read => PollFlags::IN,
                Interest::Write => PollFlags::OUT,
            };
            PollFd::from_borrowed_fd(*fd, flags)
        })
        .collect();
    let timeout = timeout.and_then(|limit| Timespec::try_from(limit).ok());
    match rustix::event::poll(&mut set, timeout.as_ref()) {
        Ok(_) => Ok(set.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(Errno::INTR) => Ok(vec![false; fds.len()]),
        Err(error) => Err(error.into()),
    }
}
