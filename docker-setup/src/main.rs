//! docker-setup
fn main() {}
