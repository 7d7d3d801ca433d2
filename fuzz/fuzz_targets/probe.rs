//! Superblocks and signatures: whatever a device holds, probing must not panic, and must not find a file system beside
//! another signature.
#![no_main]

use std::io::Cursor;

use automount::blank::is_blank;
use automount::model::Content;
use automount::probe::probe;
use automount::swap_space;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first bytes say where the rest lies, or mutation would take ages to reach the places that count.
    let Some((place, data)) = data.split_at_checked(2) else { return };
    let at = usize::from(u16::from_le_bytes([place[0], place[1]])) * 16;
    let mut device = vec![0; at];
    device.extend_from_slice(data);
    device.resize(device.len().next_multiple_of(4096), 0);
    let size = device.len() as u64;
    let blank = is_blank(&mut Cursor::new(&device), size).expect("memory can be read");
    let content = probe(&mut Cursor::new(&device), size).expect("memory can be read");
    assert!(!blank || content == Content::Unknown, "a blank disk holds {content}");
    if let Content::Ambiguous(signatures) = &content {
        assert!(signatures.len() > 1);
    }
    let text = content.to_string();
    assert!(!text.is_empty());
    swap_space::label(&device);
});
