//! The machine's name and its leases: by hand, at boot, and as the hook of udhcpc.

mod apply;
mod facts;
mod hostname;
mod interface;
mod lease;
mod model;
mod pattern;
mod plan;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use b2d_sys::logging;

use facts::{InterfaceFacts, NameFacts, NetFacts};
use lease::Variables;
use model::Action;
use plan::Event;

const USAGE: &str = "Usage: net-setup [--dry-run] hostname\n       \
    net-setup [--dry-run] interface NAME\n       \
    net-setup [--dry-run] {bound|renew|deconfig|leasefail|nak}   with udhcpc's variables\n       \
    sethostname NAME";

/// Does what the words of the command line ask of `net-setup`.
pub fn main() -> ExitCode {
    let args: Vec<String> = env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (program, words) =
        words.split_first().map_or(("net-setup", [].as_slice()), |(first, rest)| (*first, rest));
    logging::init("net-setup");
    let (is_dry, words) = match words {
        ["--dry-run", rest @ ..] => (true, rest),
        all => (false, all),
    };
    match decide(program.rsplit('/').next().unwrap_or(program), words) {
        Ok(None) => {
            eprintln!("{USAGE}");
            ExitCode::from(u8::from(words != ["--help"]))
        }
        Ok(Some(actions)) if is_dry => {
            actions.iter().for_each(|action| println!("{action}"));
            ExitCode::SUCCESS
        }
        Ok(Some(actions)) => ExitCode::from(u8::from(apply::apply(&actions).is_err())),
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what the words ask for, or None if they ask for nothing we know.
fn decide(program: &str, words: &[&str]) -> Result<Option<Vec<Action>>> {
    let root = Path::new("/");
    match (program, words) {
        ("sethostname", [name]) if !name.starts_with('-') => {
            Ok(Some(hostname::by_hand(name, &NameFacts::read(root)?)?))
        }
        ("sethostname", _) => Ok(None),
        (_, ["hostname"]) => {
            facts::await_card(root)?;
            Ok(Some(hostname::at_boot(&NameFacts::read(root)?)))
        }
        (_, ["interface", name]) => {
            let facts = InterfaceFacts::read(root, name)?;
            Ok(Some(interface::plan(name, &facts, &NetFacts::read(root)?)))
        }
        (_, [name]) => match Event::parse(name) {
            Some(event) => Ok(Some(plan::plan(event, &environment(), &NetFacts::read(root)?)?)),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn environment() -> Variables {
    env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
