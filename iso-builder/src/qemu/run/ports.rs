//! Ports of the host's loopback: the usual one, or another when that is taken.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

/// Returns `wanted` if the user named it, and else `usual` or, if that is taken, a free port.
///
/// # Errors
/// When the port that the user named is taken; the text names the option.
pub(super) fn choose(wanted: Option<u16>, usual: u16, option: &str) -> Result<u16> {
    if let Some(port) = wanted {
        if !is_free(port) {
            bail!("listening on 127.0.0.1:{port}: it is taken; name another port with {option}, or none");
        }
        return Ok(port);
    }
    if is_free(usual) {
        return Ok(usual);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

/// Returns the first free port from `first` on, of `count`.
pub(super) fn first_free(first: u16, count: u16) -> Option<u16> {
    (first..first + count).find(|port| is_free(*port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_unless_the_user_named_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = choose(None, port, "--ssh-port").unwrap();
        assert_ne!(other, port);
        let error = choose(Some(port), 1, "--ssh-port").unwrap_err().to_string();
        let expected =
            format!("listening on 127.0.0.1:{port}: it is taken; name another port with --ssh-port, or none");
        assert_eq!(error, expected);
        drop(taken);
        assert_eq!(choose(Some(port), 1, "--ssh-port").unwrap(), port);
    }
}
