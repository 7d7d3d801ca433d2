//! automount
fn main() {}
