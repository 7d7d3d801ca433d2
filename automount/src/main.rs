//! `automount` on its own, for a look at disks from any Linux machine. The image has it in `boot-programs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    automount::main()
}
