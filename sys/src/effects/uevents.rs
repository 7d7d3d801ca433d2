//! Hearing the kernel's device events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::uevent::Uevent;

/// The multicast group the kernel itself sends to; group 2 would be udev's.
const KERNEL_GROUP: u32 = 1;
/// The kernel's limit is 2 KiB of variables and a path.
const MESSAGE_BYTES: usize = 8 << 10;

/// A socket on which the kernel tells of devices from now on.
#[derive(Debug)]
pub struct UeventSocket {
    fd: OwnedFd,
}

impl UeventSocket {
    /// Opens the socket; reading never blocks.
    ///
    /// # Errors
    /// Without the right to listen.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || -> rustix::io::Result<OwnedFd> {
            let fd = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
            bind(&fd, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
            Ok(fd)
        };
        Ok(Self { fd: open().context("listening for kernel device events")? })
    }

    /// Returns the next event, or None if there is none now.
    pub fn next_event(&self) -> Option<Uevent> {
        let mut buffer = vec![0; MESSAGE_BYTES];
        loop {
            // An overrun (ENOBUFS) loses events; the next read goes on.
            match recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => {
                    if let Some(event) = Uevent::parse(&buffer[..count]) {
                        return Some(event);
                    }
                }
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
