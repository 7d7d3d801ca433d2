//! The archive that Docker Machine and boot2docker-cli put at the start of a disk.

use anyhow::Result;
use b2d_sys::contract::MAGIC;
use tar::{Builder, EntryType, Header};

/// Returns that archive with a public key in it.
///
/// # Errors
/// When it cannot be made in memory.
pub fn archive(public_key: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, kind, mode, content) in [
        (MAGIC, EntryType::Regular, 0o644, MAGIC.as_bytes()),
        (".ssh", EntryType::Directory, 0o700, b""),
        (".ssh/authorized_keys", EntryType::Regular, 0o644, public_key),
        (".ssh/authorized_keys2", EntryType::Regular, 0o644, public_key),
    ] {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)?;
    }
    Ok(archive.into_inner()?)
}
