//! iso-builder
fn main() {}
