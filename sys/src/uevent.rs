//! The kernel's device events: what one message says.

/// A device came, went or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, `bind`, ...
    pub action: String,
    /// Path below `/sys`, with a leading slash.
    pub devpath: String,
    /// `block`, `net`, `input`, ...; empty if the kernel did not say.
    pub subsystem: String,
    /// Name below `/dev`, if the device has a node.
    pub devname: Option<String>,
    /// Alias to load a driver by, if the device has one.
    pub modalias: Option<String>,
}

impl Uevent {
    /// Returns the event in a kernel message, or None if it is something else (libudev's start with `libudev`).
    ///
    /// Source: Linux `lib/kobject_uevent.c`: `action@devpath`, then NUL-separated `KEY=value`.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut fields = message.split(|&byte| byte == 0).map(|field| String::from_utf8_lossy(field));
        let (action, devpath) = fields.next()?.split_once('@').map(|(a, d)| (a.to_owned(), d.to_owned()))?;
        let mut event = Self { action, devpath, subsystem: String::new(), devname: None, modalias: None };
        for field in fields {
            match field.split_once('=') {
                Some(("SUBSYSTEM", value)) => event.subsystem = value.to_owned(),
                Some(("DEVNAME", value)) => event.devname = Some(value.to_owned()),
                Some(("MODALIAS", value)) => event.modalias = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_message_is_read() {
        let message = b"add@/devices/vda/vda1\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=vda1\0SEQNUM=7\0";
        let event = Uevent::parse(message).unwrap();
        assert_eq!((event.action.as_str(), event.devpath.as_str()), ("add", "/devices/vda/vda1"));
        assert_eq!((event.subsystem.as_str(), event.devname.as_deref()), ("block", Some("vda1")));
        assert_eq!(Uevent::parse(b"libudev\0x"), None);
    }
}
