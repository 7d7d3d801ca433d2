//! Which disks are not written to, and which of them `--force` overrules. Pure.

use anyhow::{Result, bail};

use super::disk::Disk;
use super::size;

/// Why a disk is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Partition,
    ReadOnly,
    TooSmall { needed_bytes: u64 },
    InUse { name: String, users: Vec<String> },
    NotRemovable,
}

impl Refusal {
    fn can_be_forced(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::NotRemovable)
    }

    fn reason(&self) -> String {
        match self {
            Self::Partition => "it is a partition; name the whole disk".into(),
            Self::ReadOnly => "it is write-protected".into(),
            Self::TooSmall { needed_bytes } => format!("it is too small: {} are needed", size(*needed_bytes)),
            Self::InUse { name, users } => format!("{name} is used by {}", users.join(", ")),
            Self::NotRemovable => "it is not removable".into(),
        }
    }
}

/// Accepts a disk to which `needed_bytes` can be written without harm.
///
/// # Errors
/// When there is a reason against it; the text names all that `force` does not overrule.
pub(super) fn check(disk: &Disk, needed_bytes: u64, force: bool) -> Result<()> {
    let refusals = refusals(disk, needed_bytes);
    let left: Vec<_> = refusals.iter().filter(|refusal| !force || !refusal.can_be_forced()).collect();
    if left.is_empty() {
        return Ok(());
    }
    let hint = if left.iter().all(|refusal| refusal.can_be_forced()) {
        " (--force writes all the same)"
    } else {
        ""
    };
    let reasons: Vec<_> = left.iter().map(|refusal| refusal.reason()).collect();
    bail!("writing {}: {}{hint}", disk.path.display(), reasons.join("; "))
}

fn refusals(disk: &Disk, needed_bytes: u64) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if disk.is_partition {
        refusals.push(Refusal::Partition);
    }
    if disk.is_read_only {
        refusals.push(Refusal::ReadOnly);
    }
    if disk.size_bytes < needed_bytes {
        refusals.push(Refusal::TooSmall { needed_bytes });
    }
    for part in disk.parts.iter().filter(|part| !part.users.is_empty()) {
        refusals.push(Refusal::InUse { name: part.name.clone(), users: part.users.clone() });
    }
    if !disk.is_removable {
        refusals.push(Refusal::NotRemovable);
    }
    refusals
}
