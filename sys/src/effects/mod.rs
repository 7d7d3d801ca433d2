//! Everything that changes or reads the machine: commands, files, mounts, devices, processes, power.
//! Plans never import this module.

pub mod blocks;
pub mod btrfs;
pub mod clock;
pub mod cmd;
pub mod console;
pub mod deadline;
pub mod files;
pub mod handover;
pub mod hostname;
pub mod inotify;
pub mod input;
pub mod kmsg;
pub mod link;
pub mod local;
pub mod loopdev;
pub mod mapping;
pub mod motd;
pub mod mount;
pub mod partition;
pub mod poll;
pub mod process;
pub mod reboot;
pub mod root;
pub mod signals;
pub mod swap;
pub mod tty;
pub mod uevents;
