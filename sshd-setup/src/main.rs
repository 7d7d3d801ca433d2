//! sshd-setup
fn main() {}
