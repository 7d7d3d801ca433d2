//! Registries that are not public: without TLS, and with an authority of their own.

use anyhow::Result;
use tests::authority::Authority;
use tests::registry::Registry;
use tests::rows::{self, Row};
use tests::ssh::Ssh;

/// What the registries are called in the guest; not loopback, which Docker trusts without TLS.
pub const NAME: &str = "registry.example";
/// No TLS; the profile has `--insecure-registry` for it.
pub const PLAIN_PORT: u16 = 5000;
/// Its authority lies in `/var/lib/boot2docker/certs` from the first boot on.
const SYSTEM_PORT: u16 = 5001;
/// Its authority comes into `/etc/docker/certs.d` while Docker runs.
const OWN_PORT: u16 = 5002;

/// The way from the name in the guest to the tunnel's ends on its 127.0.0.1.
const NAME_REGISTRY: &str = "sudo ip addr add 10.9.9.9/32 dev lo && \
    echo 10.9.9.9 registry.example | sudo tee -a /etc/hosts >/dev/null && \
    sudo iptables -t nat -I OUTPUT -d 10.9.9.9 -p tcp -j DNAT --to-destination 127.0.0.1";

/// Makes a command that pushes the image to a registry, forgets it, layers and all, and runs it from there.
const MAKE_THERE_AND_BACK: &str = "printf '#!/bin/sh\nset -e\nimage=registry.example:$1/some/box\n\
    docker tag b2d-test $image\ndocker push -q $image >/dev/null\ndocker rmi $image b2d-test >/dev/null\n\
    docker run --rm $image /bin/busybox echo back\ndocker tag $image b2d-test\ndocker rmi $image >/dev/null\n' | \
    sudo tee /usr/local/bin/there-and-back && sudo chmod +x /usr/local/bin/there-and-back";

const ROWS: &[Row] = &[
    ("without TLS", "there-and-back 5000 2>/dev/null", "back\n"),
    ("an authority of the whole machine", "there-and-back 5001 2>/dev/null", "back\n"),
    (
        "an authority nobody knows",
        "there-and-back 5002 2>&1 | grep -o 'certificate signed by unknown authority'",
        "certificate signed by unknown authority\n",
    ),
    (
        "an authority of one registry",
        "sudo mkdir -p /etc/docker/certs.d/registry.example:5002; \
         sudo cp own-registry.crt /etc/docker/certs.d/registry.example:5002/ca.crt; \
         there-and-back 5002 2>/dev/null; ls /var/lib/boot2docker/etc/docker/certs.d",
        "back\nregistry.example:5002\n",
    ),
];

/// Pushes to registries on the host and pulls from them; `system` is the authority that the whole machine knows.
/// Returns the rows that failed.
///
/// # Errors
/// When a registry cannot be started or the guest does not answer.
pub fn failures(ssh: &Ssh, system: &Authority) -> Result<Vec<String>> {
    let own = Authority::new()?;
    let plain = Registry::start(None)?;
    let known = Registry::start(Some(&system.server(&[NAME])?))?;
    let unknown = Registry::start(Some(&own.server(&[NAME])?))?;
    let ports = [(PLAIN_PORT, plain.port()), (SYSTEM_PORT, known.port()), (OWN_PORT, unknown.port())];
    let _tunnel = ssh.tunnel(&ports)?;
    ssh.run(NAME_REGISTRY)?;
    ssh.run(MAKE_THERE_AND_BACK)?;
    ssh.run(&format!("echo '{}' > own-registry.crt", own.pem()))?;
    rows::failures(ssh, ROWS)
}
