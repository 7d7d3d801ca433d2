//! Local sockets that never make us wait.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::files::remove_if_exists;

/// Connects to a listening socket; reading and writing never block.
///
/// # Errors
/// When nobody listens, or too many wait already.
pub fn connect_nonblocking(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Listens on a socket that only root may use; accepting never blocks. A socket left over is replaced.
///
/// # Errors
/// When the directory is missing.
pub fn listen_for_root(path: &Path) -> Result<UnixListener> {
    let open = || -> io::Result<UnixListener> {
        remove_if_exists(path)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().with_context(|| format!("listening on {}", path.display()))
}
