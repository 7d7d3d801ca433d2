//! Makes all that dockerd needs before it starts: settings from the profile, certificates, arguments, environment.

mod apply;
mod args;
mod bundle;
mod certificate;
mod facts;
mod issue;
mod plan;
mod profile;
mod shell;
mod tls;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

const USAGE: &str = "\
usage: docker-setup [--dry-run]

Evaluates /var/lib/boot2docker/profile, makes or renews the TLS certificates in
/var/lib/boot2docker/tls, adds /var/lib/boot2docker/certs to the system's list
of authorities, and writes dockerd's arguments and environment to
/run/boot2docker/dockerd.args and dockerd.env. Safe to run at any time; dockerd
sees changes when it is started again.

  --dry-run   print settings and plan, change nothing
  --help      print this text
";

fn main() -> ExitCode {
    b2d_sys::logging::init("docker-setup");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["--help" | "-h"] => write!(io::stdout(), "{USAGE}").map_err(Into::into),
        ["--dry-run"] => run(true),
        [] => run(false),
        [other, ..] => Err(anyhow!("unknown argument {other:?}; see docker-setup --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(is_dry: bool) -> Result<()> {
    let facts = facts::read()?;
    let plan = plan::plan(&facts);
    if is_dry {
        return Ok(write!(io::stdout(), "{}{plan}", facts.profile)?);
    }
    for note in &plan.notes {
        log::warn!("{note}");
    }
    if !apply::apply(&plan)? {
        bail!("not everything was done; docker can be started all the same");
    }
    Ok(())
}
