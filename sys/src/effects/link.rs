//! Network interfaces, as far as switching them on.

use std::os::fd::{AsRawFd, OwnedFd};
use std::{io, mem};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Switches an interface on, so that it looks for a carrier. One that is on stays on.
///
/// Source: netdevice(7), SIOCGIFFLAGS and SIOCSIFFLAGS.
///
/// # Errors
/// When there is no such interface.
pub fn set_up(interface: &str) -> Result<()> {
    let act = || -> io::Result<()> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let flags = flags(&socket, interface)?;
        set_flags(&socket, interface, flags | libc::IFF_UP as libc::c_short)
    };
    act().with_context(|| format!("switching interface {interface} on"))
}

#[expect(unsafe_code, reason = "rustix has no interface flags")]
fn flags(socket: &OwnedFd, interface: &str) -> io::Result<libc::c_short> {
    let mut request = named(interface)?;
    // SAFETY: the socket is open; the kernel reads and writes one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFFLAGS has succeeded, so the kernel has filled in this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

#[expect(unsafe_code, reason = "rustix has no interface flags")]
fn set_flags(socket: &OwnedFd, interface: &str, flags: libc::c_short) -> io::Result<()> {
    let mut request = named(interface)?;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: the socket is open; the kernel reads one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "libc has no constructor for ifreq")]
fn named(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is integers, arrays and a null-able pointer, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.is_empty() || interface.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an interface name"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_by_name() {
        for name in ["", "a-name-that-is-too-long", "nosuch0"] {
            let error = set_up(name).unwrap_err();
            assert_eq!(error.to_string(), format!("switching interface {name} on"));
        }
    }
}
