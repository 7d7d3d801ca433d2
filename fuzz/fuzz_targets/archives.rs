//! Archives: measuring one must not panic and must keep what it finds; unpacking must never leave the home.
#![no_main]

use std::path::Component;

use automount::archive::{Archive, LIMIT_BYTES, measure};
use libfuzzer_sys::fuzz_target;

#[path = "../../sshd-setup/src/userdata.rs"]
mod userdata;

fuzz_target!(|data: &[u8]| {
    if let Archive::Whole(bytes) = measure(data) {
        assert!(data.starts_with(&bytes) && bytes.len() <= LIMIT_BYTES);
        // What is kept is whole when it is read again at the next boot.
        assert_eq!(measure(&bytes), Archive::Whole(bytes));
    }
    if let Ok(userdata) = userdata::read(data) {
        for member in userdata.members {
            assert!(member.path.components().all(|part| matches!(part, Component::Normal(_))), "{member:?}");
            assert_eq!(member.mode & !0o755, 0);
        }
    }
});
