//! The mount table as the kernel prints it in `/proc/self/mountinfo`.

use std::path::PathBuf;

use thiserror::Error;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The mount's id, unique while it exists.
    pub id: u32,
    /// Id of the mount it lies upon.
    pub parent: u32,
    /// Directory of the file system that is visible here; `/` unless a bind mount.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Options of this mount, such as `rw,relatime`.
    pub options: String,
    /// File system type, with subtype if any.
    pub fstype: String,
    /// Device or other source.
    pub source: String,
}

impl MountEntry {
    /// Tells whether the mount is read-only here.
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }
}

/// Why a mount table could not be read.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("mountinfo line {line}: {what}")]
pub struct MountInfoError {
    line: usize,
    what: &'static str,
}

/// Returns the mounts of a `mountinfo` text in its order, which is the order of mounting.
///
/// Source: Linux `Documentation/filesystems/proc.rst` 3.5.
///
/// # Errors
/// At the first line with a field missing.
pub fn parse(text: &str) -> Result<Vec<MountEntry>, MountInfoError> {
    let entry =
        |(at, line)| parse_line(line).ok_or(MountInfoError { line: at + 1, what: "not a mountinfo line" });
    text.lines().enumerate().map(entry).collect()
}

fn parse_line(line: &str) -> Option<MountEntry> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let (id, parent) = (before.next()?.parse().ok()?, before.next()?.parse().ok()?);
    let (_device, root, target, options) = (before.next()?, before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    Some(MountEntry {
        id,
        parent,
        root: unescape(root).into(),
        target: unescape(target).into(),
        options: options.to_owned(),
        fstype: after.next()?.to_owned(),
        source: unescape(after.next()?),
    })
}

/// Undoes the kernel's `\040` for blanks, tabs, newlines and backslashes.
fn unescape(field: &str) -> String {
    let mut plain = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((head, tail)) = rest.split_once('\\') {
        plain.push_str(head);
        match tail.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &tail[3..];
            }
            None => {
                plain.push('\\');
                rest = tail;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_and_unescaped() {
        let text = "22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a\n\
                    30 22 8:1 /var /mnt/my\\040disk ro - ext4 /dev/sda1 rw\n";
        let mounts = parse(text).unwrap();
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].fstype, "overlay");
        assert!(!mounts[0].is_read_only());
        let expected = MountEntry {
            id: 30,
            parent: 22,
            root: "/var".into(),
            target: "/mnt/my disk".into(),
            options: "ro".into(),
            fstype: "ext4".into(),
            source: "/dev/sda1".into(),
        };
        assert_eq!(mounts[1], expected);
        assert!(mounts[1].is_read_only());
    }

    #[test]
    fn a_short_line_is_named() {
        let expected = MountInfoError { line: 1, what: "not a mountinfo line" };
        assert_eq!(parse("22 1 0:21 / /"), Err(expected));
    }
}
