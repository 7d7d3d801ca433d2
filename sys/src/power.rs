//! How a machine can end; a word that plans and effects share.

/// How the machine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Power goes off.
    PowerOff,
    /// The firmware starts again.
    Reboot,
    /// The processor stops, power stays on.
    Halt,
}

impl End {
    /// Returns what the machine is doing then: "powering off".
    pub fn gerund(self) -> &'static str {
        match self {
            Self::PowerOff => "powering off",
            Self::Reboot => "rebooting",
            Self::Halt => "halting",
        }
    }
}
