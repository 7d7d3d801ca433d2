//! Finds the data disk, checks and mounts it, and makes the directories and links that live on it.
//! Without a usable disk the same directories are made in RAM, so that everything works until power-off.

mod apply;
mod choice;
mod console;
mod facts;
mod model;
mod patience;
mod plan;
mod probe;
mod search;
mod superblock;
mod wanted;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use b2d_sys::cmdline::KernelCmdline;

use crate::wanted::Wanted;

const USAGE: &str = "\
usage: automount [--dry-run]

Mounts the data disk and makes /var/lib/docker, /var/lib/boot2docker and /tmp
links into it; without one, keeps them in RAM. The disk is the file system
labelled boot2docker-data, or what the kernel option b2d.data= names:
LABEL=..., UUID=..., /dev/... or none. Runs once per boot; the outcome is in
/run/boot2docker/data-disk.

  --dry-run   print what is decided about each disk, change nothing
  --help      print this text
";

fn main() -> ExitCode {
    b2d_sys::logging::init("automount");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["--help" | "-h"] => write!(io::stdout(), "{USAGE}").map_err(Into::into),
        ["--dry-run"] => run(true),
        [] => run(false),
        [other, ..] => Err(anyhow!("unknown argument {other:?}; see automount --help")),
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
    let root = Path::new("/");
    let cmdline = KernelCmdline::read(root).context("reading the kernel command line")?;
    let wanted = Wanted::parse(cmdline.get("b2d.data")).unwrap_or_else(|error| {
        log::error!("{error}; looking for {}", Wanted::default());
        Wanted::default()
    });
    if let Some(outcome) = apply::recorded_outcome()?.filter(|_| !is_dry) {
        log::info!("done already in this boot: {outcome}");
        return Ok(());
    }
    let plan = plan::plan(&search::search(root, wanted)?);
    if is_dry {
        return Ok(write!(io::stdout(), "{plan}")?);
    }
    plan.findings().iter().for_each(|line| log::info!("{line}"));
    let summary = apply::apply(&plan.store)?;
    log::log!(summary.level(), "{summary}");
    console::say(&plan.announcement(&summary));
    Ok(())
}
