//! Boot tests on QEMU: a virtual machine, its console, SSH, Docker API and power button, each wait with a deadline.
//!
//! A test starts a [`Vm`], talks to it and lets it go; the machine never outlives the test. What it said is kept in
//! `target/boot-tests/<test>/console.log`, and its own logs beside that when the test failed. QEMU, OVMF, `ssh` and
//! `mkfs.ext4` come from the tools tree of `iso-builder`, so the host needs none of them; no test needs root or a
//! network.

pub mod archive;
pub mod authority;
pub mod bench;
pub mod child;
pub mod console;
pub mod container;
pub mod deadline;
pub mod direct;
pub mod disk;
pub mod docker;
pub mod foreign;
pub mod kernel_options;
pub mod lab;
pub mod power_cuts;
pub mod qemu;
pub mod qmp;
pub mod random;
pub mod registry;
pub mod rows;
pub mod second_console;
pub mod slot;
pub mod ssh;
pub mod userdata;
pub mod vm;

pub use deadline::Deadline;
pub use iso_builder::iso9660;
pub use lab::Lab;
pub use vm::Vm;
