//! The program: run once per boot by PID 1; by hand to see what it would do.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use b2d_sys::cmdline::KernelCmdline;
use b2d_sys::effects::{console, motd};

use crate::facts::Asked;
use crate::{apply, explain, notice, plan, search};

const USAGE: &str = "\
usage: automount [--dry-run]
       automount --explain IMAGE... [--bare-metal] [--cmdline OPTIONS]

Mounts the data disk and makes /var/lib/docker, /var/lib/boot2docker and /tmp
links into it; without one, keeps them in RAM. The disk is the file system
labelled boot2docker-data, or what the kernel option b2d.data= names:
LABEL=..., UUID=..., /dev/... or none. A disk that asks for it, a blank one of a
virtual machine, or the one b2d.format=/dev/... names, is formatted. Runs once
per boot; the outcome is in /run/boot2docker/data-disk.

  --dry-run     print what is decided about each disk, change nothing
  --explain     print the same for image files, as disks sda, sdb, ... of a
                virtual machine, or of a PC with --bare-metal
  --cmdline     kernel options to imagine
  --help        print this text
";

/// Does what the words of the command line ask of `automount`.
pub fn main() -> ExitCode {
    b2d_sys::program::run("automount", |words| match words {
        ["--help" | "-h"] => write!(io::stdout(), "{USAGE}").map_err(Into::into),
        ["--dry-run"] => run(true),
        ["--explain", rest @ ..] => explain_images(rest),
        [] => run(false),
        [other, ..] => Err(anyhow::anyhow!("unknown argument {other:?}; see automount --help")),
    })
}

fn explain_images(args: &[&str]) -> Result<()> {
    let (mut images, mut is_virtual, mut cmdline) = (Vec::new(), true, "");
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        match arg {
            "--bare-metal" => is_virtual = false,
            "--cmdline" => cmdline = args.next().context("--cmdline needs options")?,
            option if option.starts_with("--") => bail!("unknown argument {option:?}; see automount --help"),
            image => images.push(image),
        }
    }
    let asked = Asked::read(&KernelCmdline::parse(cmdline));
    Ok(write!(io::stdout(), "{}", plan::plan(&explain::facts(&images, asked, is_virtual)?))?)
}

fn run(is_dry: bool) -> Result<()> {
    let root = Path::new("/");
    let cmdline = KernelCmdline::read(root).context("reading the kernel command line")?;
    if let Some(outcome) = apply::recorded_outcome()?.filter(|_| !is_dry) {
        log::info!("done already in this boot: {outcome}");
        return Ok(());
    }
    let plan = plan::plan(&search::search(root, Asked::read(&cmdline))?);
    if is_dry {
        return Ok(write!(io::stdout(), "{plan}")?);
    }
    plan.findings().iter().for_each(|line| log::info!("{line}"));
    let summary = apply::apply(&plan.store)?;
    log::log!(summary.level(), "{summary}");
    apply::apply_swap(&plan.swap, &summary);
    let notice = notice::now(&summary);
    console::say(&[plan.announcement(&summary), notice.clone()].concat());
    motd::add(root, &notice)
}
