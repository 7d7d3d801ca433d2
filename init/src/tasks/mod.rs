//! Works of PID 1 that are done in a process of their own, so that a disk or a device that hangs, or a mistake, cannot
//! stop PID 1. Each can be run by hand: `init --NAME`.

mod clock;
pub mod coldplug;
mod host_clock;
mod page_out;
mod preload;
mod rotate;
mod terminal_size;

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use b2d_sys::effects::reboot;
use b2d_sys::logging;

use crate::facts::{Facts, StateFacts};
use crate::works::{
    COLDPLUG, HOST_CLOCK, ON_SIZED_TERMINAL, PAGE_OUT, PRELOAD, RESIZE, ROTATE_LOG, SYNC, UNMOUNT_ALL,
    WATCH_CLOCK,
};
use crate::{finish, plan};

/// Does the work that the arguments name; None if they name none.
pub fn run(words: &[&str]) -> Option<Result<()>> {
    let root = Path::new("/");
    logging::init("init");
    Some(match *words {
        ["--print-plan"] => print_plan(root),
        ["--print-plan", "--root", root] => print_plan(Path::new(root)),
        [UNMOUNT_ALL] => finish::unmount_all(),
        [SYNC] => {
            reboot::sync();
            Ok(())
        }
        [COLDPLUG] => coldplug::run(root),
        [PRELOAD] => preload::run(root),
        [WATCH_CLOCK] => clock::run(root),
        [HOST_CLOCK] => host_clock::run(root),
        [ON_SIZED_TERMINAL, program, ref args @ ..] => terminal_size::run(program, args),
        [RESIZE] => terminal_size::resize(),
        [PAGE_OUT, ref services @ ..] => page_out::run(root, services),
        [ROTATE_LOG, path, bytes] => rotate::run(Path::new(path), bytes),
        _ => return None,
    })
}

fn print_plan(root: &Path) -> Result<()> {
    let text = plan::print(&Facts::read(root), &StateFacts::read(root));
    io::stdout().write_all(text.as_bytes()).context("writing the plan")
}
