//! PID 1 of boot2docker, and by other names the commands that talk to it.

mod birth;
mod client;
mod commands;
mod consoles;
#[cfg(test)]
mod docs;
mod facts;
mod finish;
mod idle;
mod layers;
mod medium;
mod model;
mod options;
mod pid1;
mod plan;
mod power;
mod protocol;
mod read_ahead;
mod report;
mod rescue;
mod sequence;
mod service;
mod stage0;
mod sums;
mod supervise;
mod sysctl;
mod tasks;
mod works;

use std::env;
use std::process::ExitCode;

use anyhow::Result;
use b2d_sys::logging;

const USAGE: &str = "Usage: init --print-plan [--root DIR]\nAs PID 1: boots the machine.";

fn main() -> ExitCode {
    let args: Vec<String> = env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (program, words) =
        words.split_first().map_or(("init", [].as_slice()), |(first, rest)| (*first, rest));
    let done = match commands::parse(program, words) {
        Some(command) => client::run(&command),
        None if std::process::id() == 1 => be_pid1(words),
        None => by_hand(words),
    };
    done.map_or_else(
        |error| {
            let program = program.rsplit('/').next().unwrap_or(program);
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

/// Boots the machine; never comes back, as the kernel would panic.
fn be_pid1(words: &[&str]) -> Result<u8> {
    rescue::guard_against_panic();
    if let [rescue::ARGUMENT, reason] = words {
        logging::init("init");
        rescue::run(reason);
    }
    if stage0::is_wanted() {
        let Err(error) = stage0::run();
        rescue::run(&format!("stage 0: {error:#}"));
    }
    logging::init("init");
    pid1::run(birth::Birth::parse(words))
}

fn by_hand(words: &[&str]) -> Result<u8> {
    match tasks::run(words) {
        Some(done) => done.map(|()| 0),
        None => {
            eprintln!("{USAGE}");
            Ok(1)
        }
    }
}
