//! Makes all that sshd needs before it starts: configuration, host keys, and the keys and files of user docker.

mod apply;
mod config;
mod facts;
mod keys;
mod plan;
mod serve;
mod userdata;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, anyhow};

use crate::plan::Plan;

const USAGE: &str = "\
usage: sshd-setup [--slow-keys] [--dry-run]
       sshd-setup serve

Makes /usr/local/etc/ssh a link to /var/lib/boot2docker/ssh, completes and
checks sshd_config if it is not the image's own, makes missing host keys, and
fills /home/docker from /var/lib/boot2docker/userdata.tar and
/var/lib/boot2docker/authorized_keys.

  serve         become sshd
  --slow-keys   only make host keys that take long, and let sshd offer them;
                for the background
  --dry-run     print what would be done, change nothing
  --help        print this text
";

/// Does what the words of the command line ask of `sshd-setup`.
pub fn main() -> ExitCode {
    b2d_sys::program::run("sshd-setup", |words| match words {
        ["--help" | "-h"] => write!(io::stdout(), "{USAGE}").map_err(Into::into),
        [] => run(plan::plan, false),
        ["--dry-run"] => run(plan::plan, true),
        ["--slow-keys"] => run(plan::plan_slow_keys, false).and_then(|()| serve::restart()),
        ["serve"] => serve::serve(),
        ["--slow-keys", "--dry-run"] => run(plan::plan_slow_keys, true),
        [other, ..] => Err(anyhow!("unknown argument {other:?}; see sshd-setup --help")),
    })
}

fn run(plan: fn(&facts::Facts) -> Plan, is_dry: bool) -> Result<()> {
    let plan = plan(&facts::read(Path::new("/"))?);
    if is_dry {
        return Ok(write!(io::stdout(), "{plan}")?);
    }
    for note in &plan.notes {
        log::warn!("{note}");
    }
    apply::apply(&plan)
}
