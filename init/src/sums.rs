//! The list of the root's layers with a checksum of each, in the form of `xxh64sum`. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Name of the list in the folder of the layers. The ISO builder writes it.
pub const FILE: &str = "xxh64sums";

/// Layers and the XXH64 of their bytes. It tells a damaged medium or another one, not one that somebody forged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(BTreeMap<String, u64>);

impl Sums {
    /// Parses lines of a checksum, 16 hexadecimal digits, two spaces and a name.
    ///
    /// # Errors
    /// When a line is otherwise.
    pub fn parse(text: &str) -> Result<Self> {
        let line_of = |line: &str| {
            let (sum, name) = line.split_once("  ")?;
            Some((name.to_owned(), u64::from_str_radix(sum, 16).ok()?))
        };
        let parsed =
            |line| line_of(line).with_context(|| format!("{FILE}: {line:?} is no checksum and name"));
        Ok(Self(text.lines().map(parsed).collect::<Result<_>>()?))
    }

    /// Returns the layers and their checksums.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, sum)| (name.as_str(), *sum))
    }

    /// Returns the checksum of a layer.
    pub fn of(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_line_for_each_layer() {
        let sums =
            Sums::parse("00000000000000ff  10-base.squashfs\nef46db3751d8e999  60 own.squashfs\n").unwrap();
        let expected = [("10-base.squashfs", 0xff), ("60 own.squashfs", 0xef46_db37_51d8_e999)];
        assert_eq!(sums.iter().collect::<Vec<_>>(), expected);
        assert_eq!((sums.of("10-base.squashfs"), sums.of("20")), (Some(0xff), None));
        assert_eq!(Sums::parse("").unwrap(), Sums::default());
    }

    #[test]
    fn what_is_no_line_of_it_is_named() {
        for line in ["10-base.squashfs", "xyz  10-base.squashfs", "00000000000000ff 10-base.squashfs"] {
            let error = Sums::parse(line).unwrap_err().to_string();
            assert_eq!(error, format!("xxh64sums: {line:?} is no checksum and name"));
        }
    }
}
