//! Finds the data disk, guards, formats, checks, grows and mounts it, and makes the directories and links that live on
//! it. Without a usable disk the same directories are made in RAM, so that everything works until power-off.
//!
//! `facts` reads, `plan` decides, `apply` acts, `program` is called.

pub mod apply;
pub mod archive;
pub mod blank;
pub mod check;
pub mod choice;
pub mod ends;
pub mod explain;
pub mod facts;
pub mod format;
pub mod geometry;
pub mod inside;
pub mod layout;
pub mod look;
pub mod mbr;
pub mod model;
pub mod notice;
pub mod patience;
pub mod plan;
pub mod probe;
mod program;
pub mod refusal;
pub mod search;
pub mod signature;
pub mod step;
pub mod superblock;
pub mod swap_plan;
pub mod swap_space;
pub mod sysfs;
pub mod table;
pub mod wanted;
pub mod window;

pub use program::main;
