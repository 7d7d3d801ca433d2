//! Names of what can be on a device, beside the file systems we mount.

use std::fmt;

/// Signatures we know; see [`crate::probe`] for the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signature {
    /// ext2, ext3 or ext4.
    Ext,
    /// Journal of an ext file system on another device.
    ExtJournal,
    /// btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// squashfs.
    Squashfs,
    /// ISO 9660: an optical medium, or a disk one was copied to.
    Iso9660,
    /// Swap space.
    Swap,
    /// LUKS encryption, version 1 or 2.
    Luks,
    /// LVM physical volume.
    Lvm,
    /// Member of a Linux software RAID.
    Raid,
    /// ZFS pool member.
    Zfs,
    /// NTFS.
    Ntfs,
    /// exFAT.
    Exfat,
    /// FAT.
    Fat,
    /// F2FS.
    F2fs,
    /// bcache.
    Bcache,
    /// GUID partition table.
    Gpt,
    /// Partition table of the PC's BIOS, or a boot sector.
    Mbr,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext => "ext",
            Self::ExtJournal => "ext journal",
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
            Self::Squashfs => "squashfs",
            Self::Iso9660 => "iso9660",
            Self::Swap => "swap",
            Self::Luks => "LUKS",
            Self::Lvm => "LVM",
            Self::Raid => "RAID member",
            Self::Zfs => "ZFS",
            Self::Ntfs => "NTFS",
            Self::Exfat => "exFAT",
            Self::Fat => "FAT",
            Self::F2fs => "f2fs",
            Self::Bcache => "bcache",
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
        })
    }
}
