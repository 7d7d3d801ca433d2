//! What boots the ISO and uses it, one subject a file.
//!
//! One program for all of it, so that `cargo test` runs two machines side by side, and a failure keeps no other test
//! from running.

mod boot2docker_cli;
mod boot_media;
mod consoles;
mod copies;
mod custom;
mod custom_build;
mod data_disk;
mod disk_kinds;
mod disk_troubles;
mod docker_features;
mod docker_machine;
mod docker_profile;
mod hooks;
mod login;
mod network;
mod odd_machines;
mod pid1;
mod power;
mod power_cuts;
mod registries;
mod rescue;
mod run_command;
mod swarm;
