//! Everything that changes or reads the machine: commands, files, mounts, devices, processes, power.
//! Plans never import this module.

pub mod clock;
pub mod cmd;
pub mod deadline;
pub mod files;
pub mod inotify;
pub mod kmsg;
pub mod link;
pub mod loopdev;
pub mod mount;
pub mod poll;
pub mod process;
pub mod reboot;
pub mod signals;
pub mod tty;
pub mod uevents;
