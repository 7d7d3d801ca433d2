//! The benchmark: our ISO beside a Debian with systemd and the same engine, and beside the least that can start Docker.
//!
//! docs/performance.md says what is measured how, and what came out.

pub mod chart;
pub mod command;
pub mod ext4;
pub mod floor;
pub mod guest;
pub mod least;
pub mod machine;
pub mod measure;
pub mod peer;
pub mod report;
pub mod series;
pub mod stats;
pub mod subject;
