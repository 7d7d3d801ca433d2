//! Input devices, as far as power buttons.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::OFlags;

/// Key events. Source: uapi/linux/input-event-codes.h.
const EV_KEY: u16 = 1;
/// The power button and the power key of keyboards.
const KEY_POWER: u16 = 116;
/// An event: two times of 8 bytes, type, code, value. Source: uapi/linux/input.h, 64 bit.
const EVENT_BYTES: usize = 24;

/// A device with a power button.
#[derive(Debug)]
pub struct PowerButton {
    file: File,
}

/// Finds the names of devices that have a power button, such as `event0`, below `root`.
pub fn power_buttons(root: &Path) -> Vec<String> {
    let class = root.join("sys/class/input");
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("event") && has_power_key(root, name))
        .collect();
    names.sort();
    names
}

/// Tells whether an input device has a power button.
pub fn has_power_key(root: &Path, device: &str) -> bool {
    let path = root.join("sys/class/input").join(device).join("device/capabilities/key");
    fs::read_to_string(path).is_ok_and(|bitmap| has_key(&bitmap, KEY_POWER))
}

/// Looks a key up in the kernel's bitmap: 64-bit words in hex, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(key / 64));
    let word = word.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    word.is_some_and(|bits| bits >> (key % 64) & 1 == 1)
}

impl PowerButton {
    /// Opens `/dev/input/<device>`; reading never blocks.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn open(device: &str) -> Result<Self> {
        let path = Path::new("/dev/input").join(device);
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        Ok(Self { file: options.open(&path).with_context(|| format!("opening {}", path.display()))? })
    }

    /// Tells whether the button went down since the last call; None once the device is gone.
    pub fn was_pressed(&mut self) -> Option<bool> {
        let mut buffer = [0; EVENT_BYTES * 16];
        let mut pressed = false;
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => pressed |= buffer[..count].chunks_exact(EVENT_BYTES).any(is_press),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(pressed),
                Err(_) => return None,
            }
        }
    }
}

fn is_press(event: &[u8]) -> bool {
    let number = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    number(16) == EV_KEY && number(18) == KEY_POWER && number(20) == 1
}

impl AsFd for PowerButton {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_bitmaps() {
        let rows = [
            ("10000000000000 0\n", true),
            ("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", true),
            ("0 0", false),
            ("1", false),
            ("", false),
        ];
        for (bitmap, has) in rows {
            assert_eq!(has_key(bitmap, KEY_POWER), has, "{bitmap}");
        }
    }

    #[test]
    fn only_the_button_going_down_is_a_press() {
        let event = |kind: u16, code: u16, value: u16| {
            let mut bytes = vec![0; 16];
            for number in [kind, code, value, 0] {
                bytes.extend(number.to_ne_bytes());
            }
            bytes
        };
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)));
        assert!(!is_press(&event(1, 30, 1)));
        assert!(!is_press(&event(0, 116, 1)));
    }
}
