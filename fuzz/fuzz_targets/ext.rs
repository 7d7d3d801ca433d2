//! Looking into an ext file system: whatever it holds, it must not panic, hang or take all memory.
#![no_main]

use automount::inside::look_into_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    look_into_bytes(data.to_vec());
});
