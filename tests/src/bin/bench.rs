//! The benchmark: our ISO beside a Debian with systemd and the same engine. See `bench --help`.

use std::process::ExitCode;

use clap::Parser as _;
use iso_builder::enter;
use tests::bench::command::{self, Options};

fn main() -> ExitCode {
    // The peer is installed by a fresh process of this program, in namespaces of its own.
    if std::env::args().nth(1).is_some_and(|argument| argument == enter::SUBCOMMAND) {
        return enter::main();
    }
    let options = Options::parse();
    let done = if options.budget {
        command::budget(&options).map(|ratio| println!("ratio {ratio:.3}"))
    } else {
        command::run(&options)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
