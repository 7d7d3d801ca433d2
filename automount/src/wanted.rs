//! Which file system is asked for: by default the one labelled as data disk, else what `b2d.data=` says.

use std::fmt;

use b2d_sys::contract::DATA_LABEL;
use thiserror::Error;

use crate::model::{Device, Filesystem};

/// Labels of disks that boot2docker adopted before it had a label of its own: none, and the first one it had, in 2013.
const OLD_LABELS: [&str; 2] = ["", "boot2docker"];

/// Tells whether a file system with this label may be the data disk if what lies inside says so.
pub fn is_old_label(label: &str) -> bool {
    OLD_LABELS.contains(&label)
}

/// How the data disk is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The file system with this label.
    Label(String),
    /// The file system with this UUID, in any case.
    Uuid(String),
    /// The device with this kernel name.
    Node(String),
    /// No disk: run from RAM.
    Nothing,
}

/// Why a value of `b2d.data=` was refused.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("b2d.data={value}: allowed are LABEL=..., UUID=..., /dev/... and none")]
pub struct WantedError {
    value: String,
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Label(DATA_LABEL.to_owned())
    }
}

impl Wanted {
    /// Returns what a value of `b2d.data=` asks for; None, the option is absent, asks for the default label.
    ///
    /// # Errors
    /// When the value has none of the allowed forms.
    pub fn parse(value: Option<&str>) -> Result<Self, WantedError> {
        let Some(value) = value else { return Ok(Self::default()) };
        let prefixed = |prefix| value.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(str::to_owned);
        None.or_else(|| prefixed("LABEL=").map(Self::Label))
            .or_else(|| prefixed("UUID=").map(Self::Uuid))
            .or_else(|| prefixed("/dev/").map(Self::Node))
            .or_else(|| (value == "none").then_some(Self::Nothing))
            .ok_or_else(|| WantedError { value: value.to_owned() })
    }

    /// Tells whether nobody asked for a particular disk.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether the disk `device`, which holds no file system, is the one asked for.
    pub fn names(&self, device: &Device) -> bool {
        matches!(self, Self::Node(name) if *name == device.name)
    }

    /// Tells whether `device`, which holds `filesystem`, is the one asked for.
    pub fn is_met_by(&self, device: &Device, filesystem: &Filesystem) -> bool {
        match self {
            Self::Label(label) => *label == filesystem.label,
            Self::Uuid(uuid) => uuid.eq_ignore_ascii_case(&filesystem.uuid),
            Self::Node(name) => *name == device.name,
            Self::Nothing => false,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label {label}"),
            Self::Uuid(uuid) => write!(f, "UUID {uuid}"),
            Self::Node(name) => write!(f, "/dev/{name}"),
            Self::Nothing => f.write_str("no disk"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_the_rest_is_refused() {
        let rows = [
            (None, Some(Wanted::Label("boot2docker-data".into()))),
            (Some("LABEL=my data"), Some(Wanted::Label("my data".into()))),
            (Some("UUID=ab-cd"), Some(Wanted::Uuid("ab-cd".into()))),
            (Some("/dev/sdb1"), Some(Wanted::Node("sdb1".into()))),
            (Some("none"), Some(Wanted::Nothing)),
            (Some("sdb1"), None),
            (Some("LABEL="), None),
            (Some(""), None),
        ];
        for (value, expected) in rows {
            assert_eq!(Wanted::parse(value).ok(), expected, "{value:?}");
        }
        let error = Wanted::parse(Some("sdb1")).unwrap_err().to_string();
        assert_eq!(error, "b2d.data=sdb1: allowed are LABEL=..., UUID=..., /dev/... and none");
    }
}
