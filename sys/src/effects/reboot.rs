//! The end: what the kernel is told last.

use anyhow::{Context, Result};
use rustix::system::RebootCommand;

use crate::power::End;

/// Writes all file systems out.
pub fn sync() {
    rustix::fs::sync();
}

/// Ends the machine at once, without writing anything out. Returns only on failure.
///
/// # Errors
/// Without the right to do so.
pub fn now(end: End) -> Result<()> {
    let command = match end {
        End::PowerOff => RebootCommand::PowerOff,
        End::Reboot => RebootCommand::Restart,
        End::Halt => RebootCommand::Halt,
    };
    rustix::system::reboot(command).with_context(|| format!("asking the kernel for {end:?}"))
}

/// Makes ctrl-alt-del send SIGINT to PID 1 instead of restarting at once.
///
/// # Errors
/// Without the right to do so.
pub fn soften_ctrl_alt_del() -> Result<()> {
    rustix::system::reboot(RebootCommand::CadOff).context("turning off the hard ctrl-alt-del")
}
