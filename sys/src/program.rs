//! How a program of the boot begins and ends.

use std::env;
use std::process::ExitCode;

use anyhow::Result;

use crate::logging;

/// Sends the log of the program `name` on its way and does `work` with the words behind it on the command line; what keeps it from
/// its work goes to the log.
pub fn run(name: &'static str, work: impl FnOnce(&[&str]) -> Result<()>) -> ExitCode {
    logging::init(name);
    let words: Vec<String> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match work(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
