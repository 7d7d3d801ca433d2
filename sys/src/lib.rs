//! What every guest program stands on: the words of the contract, parsers two programs need,
//! and the effects (mounts, commands, files, devices). The only home of `unsafe` in the workspace.
//! Nothing here decides: deciding is the work of each program's `plan`.

pub mod cmdline;
pub mod contract;
pub mod effects;
pub mod logging;
pub mod mountinfo;
pub mod power;
pub mod program;
pub mod uevent;
