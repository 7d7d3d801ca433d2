//! Makes all that dockerd needs before it starts: settings from the profile, certificates, arguments, environment.

mod apparmor;
mod apply;
mod args;
mod bundle;
mod certificate;
mod containerd;
mod custom;
mod engine;
mod exports;
mod facts;
mod issue;
mod lease;
mod named;
mod plan;
mod profile;
mod renew;
mod settings;
mod shell;
mod tls;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use b2d_sys::contract::RUN_DIR;
use b2d_sys::effects::files::ensure_dir;
use tls::When;

const USAGE: &str = "\
usage: docker-setup [--dry-run]
       docker-setup profile
       docker-setup addresses-changed
       docker-setup renew
       docker-setup keep-apparmor

Evaluates /var/lib/boot2docker/profile, makes or renews the TLS certificates in
/var/lib/boot2docker/tls, adds /var/lib/boot2docker/certs to the system's list
of authorities, and writes dockerd's arguments to /run/boot2docker/dockerd.args.
Safe to run at any time; dockerd sees changes when it is started again.

  --dry-run           print settings and plan, change nothing
  profile             write only what others read of the profile: variables for
                      services, hooks and shells, time servers, limits
  addresses-changed   return at once; in the background, if the server's
                      certificate lacks an address or name of this machine,
                      make another and restart docker; not for an address that
                      a router advertises
  renew               return at once; in the background, make certificates anew
                      that end within 30 days, and restart docker if its own is
                      one, or that lack an address that a router advertises;
                      tell which certificates of others end
  keep-apparmor       keep AppArmor's profile for containers, which dockerd has
                      compiled, on the data disk for the next boot
  --help              print this text
";

/// Does what the words of the command line ask of `docker-setup`.
pub fn main() -> ExitCode {
    b2d_sys::program::run("docker-setup", |words| match words {
        ["--help" | "-h"] => write!(io::stdout(), "{USAGE}").map_err(Into::into),
        ["--dry-run"] => show(),
        [] => lock().and_then(|_lock| set_up()),
        ["profile"] => lock().and_then(|_lock| settle_profile()),
        ["addresses-changed"] => renew::in_background(renew::ADDRESSES_NOW),
        ["renew"] => renew::in_background(renew::RENEW_NOW),
        ["keep-apparmor"] => lock().and_then(|_lock| apparmor::keep(Path::new("/"))),
        [renew::ADDRESSES_NOW] => lock().and_then(renew::follow_addresses),
        [renew::RENEW_NOW] => lock().and_then(renew::renew),
        [other, ..] => Err(anyhow!("unknown argument {other:?}; see docker-setup --help")),
    })
}

fn show() -> Result<()> {
    let facts = facts::read(When::Start)?;
    Ok(write!(io::stdout(), "{}{}", facts.profile, plan::plan(&facts))?)
}

fn set_up() -> Result<()> {
    let given = containerd::arguments()?;
    let facts = facts::read(When::Start)?;
    let plan = plan::plan(&facts);
    let mut is_complete = apply::apply(&plan)?;
    if plan.makes_server_certificate() {
        lease::await_first(&facts.profile.cert_interfaces)?;
        let plan = plan::plan(&facts::read(When::Start)?);
        if plan.makes_server_certificate() {
            is_complete &= apply::apply(&plan)?;
        }
    }
    if let Err(error) = apparmor::load(Path::new("/")) {
        log::warn!("{error:#}");
    }
    containerd::follow(&facts.profile.data_root, &given)?;
    if !is_complete {
        bail!("not everything was done; docker can be started all the same");
    }
    Ok(())
}

fn settle_profile() -> Result<()> {
    let (profile, error) = facts::read_profile();
    if !apply::publish(&settings::settings(&profile, error.as_deref())) {
        bail!("not everything was done");
    }
    Ok(())
}

/// Waits for others of us to end. The kernel ends the lock with the process.
fn lock() -> Result<File> {
    ensure_dir(Path::new(RUN_DIR), 0o755, None)?;
    let lock = File::create(renew::LOCK).with_context(|| format!("opening {}", renew::LOCK))?;
    lock.lock().with_context(|| format!("locking {}", renew::LOCK))?;
    Ok(lock)
}
