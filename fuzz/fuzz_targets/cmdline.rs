//! The kernel command line, which may come from anywhere: reading it must not panic, and quoted words stay whole.
#![no_main]

use automount::facts::Asked;
use b2d_sys::cmdline::KernelCmdline;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let line = KernelCmdline::parse(&text);
    for key in line.keys_with_prefix("b2d.") {
        let last = line.all(key).last();
        // A bare word after a value takes the value back, so get() may know none.
        assert!(line.get(key).is_none() || line.get(key) == last);
        line.has(key);
    }
    let asked = Asked::read(&line);
    assert!(asked.format.as_ref().is_none_or(|name| !name.is_empty()));
    assert!(asked.wanted.to_string().len() <= text.len() + 64);
});
