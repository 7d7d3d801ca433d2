//! What a second console of the guest's hangs on.

use std::path::Path;

/// The hardware between the guest and the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondConsole {
    /// A hypervisor's console: `hvc0`.
    Virtio,
    /// The second serial port, `ttyS1`; the third and fourth are there, with nobody at their other ends.
    Serial,
}

impl SecondConsole {
    /// Returns QEMU's arguments for it; QEMU connects to the socket at `path`.
    #[must_use]
    pub fn argv(self, path: &Path) -> Vec<String> {
        let chardev = format!("socket,id=second,path={}", path.display());
        let device = match self {
            Self::Virtio => "-device virtio-serial-pci -device virtconsole,chardev=second",
            Self::Serial => "-serial chardev:second -serial null -serial null",
        };
        ["-chardev", &chardev].into_iter().chain(device.split(' ')).map(str::to_owned).collect()
    }
}
