//! `cargo run -p iso-builder`: builds `target/boot2docker.iso`.

use std::process::ExitCode;

use clap::Parser as _;
use iso_builder::{cli, enter};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(enter::SUBCOMMAND) {
        return enter::main();
    }
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match cli::run(cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("iso-builder: {error:#}");
            ExitCode::FAILURE
        }
    }
}
