//! Power buttons, those at boot and those that appear later.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use b2d_sys::effects::input::{self, PowerButton};

/// Every power button there is.
#[derive(Debug)]
pub(super) struct Buttons {
    buttons: Vec<(String, PowerButton)>,
}

impl Buttons {
    /// Opens those that are there now.
    pub(super) fn open() -> Self {
        let mut buttons = Self { buttons: Vec::new() };
        for device in input::power_buttons(Path::new("/")) {
            buttons.add(&device);
        }
        buttons
    }

    /// Opens one, such as `event0`, unless it is open.
    pub(super) fn add(&mut self, device: &str) {
        if self.buttons.iter().any(|(name, _)| name == device) {
            return;
        }
        match PowerButton::open(device) {
            Ok(button) => self.buttons.push((device.to_owned(), button)),
            Err(error) => log::warn!("{error:#}; its power button will do nothing"),
        }
    }

    /// Returns the descriptors to listen to, in order.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.buttons.iter().map(|(_, button)| button.as_fd())
    }

    /// Tells whether the button at this place was pressed; forgets one that is gone.
    pub(super) fn was_pressed(&mut self, at: usize) -> bool {
        match self.buttons.get_mut(at).map(|(_, button)| button.was_pressed()) {
            Some(Some(pressed)) => pressed,
            Some(None) => {
                self.buttons.remove(at);
                false
            }
            None => false,
        }
    }
}
