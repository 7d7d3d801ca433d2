//! Fills in what the bytes of a device say: the same for a disk of this machine and for an image file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use b2d_sys::contract::{DATA_LABEL, RUN_DIR};
use b2d_sys::effects::files::ensure_dir;
use b2d_sys::effects::mount::{self, MountFlags, UnmountFlags};

use crate::blank::is_blank;
use crate::ends::Ends;
use crate::inside::{Inside, look_into_ext, look_into_mounted};
use crate::model::{Content, Device, Filesystem, FilesystemKind, Signature};
use crate::probe::probe;
use crate::swap_space;
use crate::table::{self, Table};
use crate::wanted::is_old_label;
use crate::window::Window;

/// The header of swap space.
const PAGE_BYTES: u64 = 4096;
/// No log is replayed, nothing is written. Source: Linux `Documentation/admin-guide`, btrfs(5).
const WRITE_NOTHING: &str = "rescue=nologreplay";

/// Reads what `device`, which starts at byte `start` of `file`, holds.
///
/// # Errors
/// When it cannot be read; the device is never written to.
pub fn look(device: &mut Device, file: File, start: u64) -> io::Result<()> {
    let mut window = Window::new(file, start, device.size_bytes);
    device.content = probe(&mut window, device.size_bytes)?;
    if device.content == Content::Foreign(Signature::Swap) {
        device.swap_label = swap_space::label(&read_head(&mut window)?);
    }
    if device.partition.is_none() {
        device.is_blank = device.content == Content::Unknown
            && !device.has_partitions
            && device.size_bytes > 0
            && is_blank(&mut window, device.size_bytes)?;
        device.table = read_table(device, &mut window)?;
    }
    if let Content::Filesystem(filesystem) = &device.content {
        let may_be_ours = is_old_label(&filesystem.label) || filesystem.label == DATA_LABEL;
        if filesystem.kind.is_ext() && may_be_ours && !device.has_partitions {
            device.inside = look_into_ext(window);
        }
    }
    Ok(())
}

fn read_head(window: &mut Window) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    window.seek(SeekFrom::Start(0))?;
    window.take(PAGE_BYTES).read_to_end(&mut page)?;
    Ok(page)
}

/// Returns the table of a disk. Reading it costs two reads, so only where one may be.
fn read_table(device: &Device, window: &mut Window) -> io::Result<Option<Table>> {
    let may_have_one = match &device.content {
        Content::Foreign(signature) => matches!(signature, Signature::Gpt | Signature::Mbr),
        Content::Ambiguous(_) | Content::Magic(_) => true,
        Content::Unknown => !device.is_blank,
        Content::Filesystem(_) => device.has_partitions,
        Content::Unreadable(_) | Content::Unread => false,
    };
    if !may_have_one || !matches!(device.sector_bytes, 512 | 4096) {
        return Ok(None);
    }
    let ends = Ends::read(window, device.size_bytes, device.sector_bytes)?;
    let Some(table) = table::read(&ends) else { return Ok(None) };
    let mut is_cut_off = false;
    let is_unseen = !device.has_partitions && !table.is_visible;
    if let Some(first) = table.partitions.iter().find(|extent| extent.number == 1 && is_unseen) {
        let content = probe(&mut window.part(first.start, first.length)?, first.length)?;
        is_cut_off = matches!(&content, Content::Filesystem(filesystem) if filesystem.label == DATA_LABEL);
    }
    Ok(Some(Table { is_cut_off, ..table }))
}

/// Looks into a btrfs without a label, which nothing but the kernel can read. It is mounted for a moment.
pub fn look_into_btrfs(device: &mut Device) {
    let is_candidate = matches!(&device.content, Content::Filesystem(Filesystem { kind: FilesystemKind::Btrfs, label, .. })
        if is_old_label(label));
    if !is_candidate || device.mounted_on.is_some() {
        return;
    }
    let place = Path::new(RUN_DIR).join("look");
    let mounted = ensure_dir(&place, 0o700, None)
        .and_then(|()| mount::mount(&device.node(), &place, "btrfs", MountFlags::RDONLY, WRITE_NOTHING));
    device.inside = match mounted {
        Ok(()) => {
            let inside = look_into_mounted(&place);
            if let Err(error) = mount::unmount(&place, UnmountFlags::empty()) {
                log::error!("{error:#}");
            }
            inside
        }
        Err(error) => Inside::Unreadable(format!("{error:#}")),
    };
}
