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
