//! net-setup
fn main() {}
