//! Builds the boot2docker ISO: configuration, packages, tools tree, kernel, guest programs, layers, ISO.
//!
//! [`build::Build`] is the table of contents. Each step is a module; a step's result is kept under a hash of
//! everything it depends on and made again only when that changes.

pub mod apt;
pub mod boot_config;
pub mod build;
pub mod clean;
pub mod cli;
pub mod compare;
pub mod compiled;
pub mod config;
pub mod custom;
pub mod customize;
pub mod deb;
pub mod digest;
pub mod document;
pub mod download;
pub mod engine;
pub mod enter;
pub mod guest;
pub mod host;
mod identity;
pub mod ikconfig;
pub mod image;
pub mod initrd;
pub mod inspect;
pub mod iso;
pub mod iso9660;
pub mod kconfig;
pub mod kernel;
pub mod layers;
pub mod lock;
pub mod mirror;
pub mod object;
pub mod packages;
mod prelink;
pub mod progress;
pub mod project;
pub mod qemu;
pub mod rewrite;
pub mod run;
pub mod sbom;
mod selection;
pub mod source_archive;
pub mod squashfs;
pub mod step;
pub mod summary;
pub mod tools;
pub mod tree;
pub mod turn;
pub mod verify;
pub mod write;
