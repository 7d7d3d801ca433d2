//! The programs that PID 1 runs during a boot, in one file: what they share is in the image and in memory once. Which one it is
//! says the name it is called by.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

type Program = fn() -> ExitCode;

const PROGRAMS: [(&str, Program); 5] = [
    ("automount", automount::main),
    ("docker-setup", docker_setup::main),
    ("net-setup", net_setup::main),
    ("sethostname", net_setup::main),
    ("sshd-setup", sshd_setup::main),
];

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    if let Some(program) = program(&called) {
        return program();
    }
    let names = PROGRAMS.map(|(name, _)| name).join(", ");
    eprintln!("{}: no program of this name is in here; there are {names}", called.display());
    ExitCode::FAILURE
}

/// Returns the program that is meant by the first word of a command line.
fn program(called: &OsStr) -> Option<Program> {
    let name = Path::new(called).file_name()?;
    PROGRAMS.into_iter().find(|(known, _)| name == *known).map(|(_, program)| program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_name_counts() {
        for (called, is_known) in [
            ("automount", true),
            ("/usr/sbin/sshd-setup", true),
            ("./sethostname", true),
            ("boot-programs", false),
            ("/automount/", true),
            ("", false),
        ] {
            assert_eq!(program(called.as_ref()).is_some(), is_known, "{called}");
        }
    }
}
