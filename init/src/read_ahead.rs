//! Reads a long part of a device while what was read before is worked on. The page cache has nothing of it: it is read once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use b2d_sys::effects::blocks;

/// Read at once. Unit: bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// Places on the device and in memory are multiples of this, a CD's block: from devices with larger ones the kernel mounts no
/// ISO. Unit: bytes.
const ALIGNMENT: u64 = 2048;
/// One is worked on, one is full, one is being filled.
const CHUNKS: usize = 3;

/// Fills `memory`, which is pages, with the `size` bytes of `device` from `offset` on, and calls `each` with part after part.
///
/// # Errors
/// When the device cannot be read or ends before, or `each` fails.
pub fn into(
    memory: &mut [u8],
    device: &Path,
    offset: u64,
    size: u64,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let each = move |chunk: &mut [u8], length| each(&chunk[..length]);
    read(device, offset, size, memory.chunks_mut(CHUNK_BYTES), each)
}

/// Calls `each` with part after part of the `size` bytes of `device` from `offset` on.
///
/// # Errors
/// As [`into`].
pub fn through(
    device: &Path,
    offset: u64,
    size: u64,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut memory = vec![0; CHUNKS * CHUNK_BYTES + ALIGNMENT as usize];
    let begin = memory.as_ptr().align_offset(ALIGNMENT as usize);
    let (to_fill, empty) = mpsc::channel();
    for chunk in memory[begin..].chunks_exact_mut(CHUNK_BYTES) {
        // The other end is here.
        to_fill.send(chunk).unwrap_or_default();
    }
    read(device, offset, size, empty.into_iter(), move |chunk, length| {
        each(&chunk[..length])?;
        // Nobody waits for it any more at the end.
        to_fill.send(chunk).unwrap_or_default();
        Ok(())
    })
}

/// Fills chunk after chunk in a thread of its own, and calls `each` with chunk and length.
fn read<'a>(
    device: &Path,
    offset: u64,
    size: u64,
    mut chunks: impl Iterator<Item = &'a mut [u8]> + Send,
    mut each: impl FnMut(&'a mut [u8], usize) -> Result<()>,
) -> Result<()> {
    let file = if offset.is_multiple_of(ALIGNMENT) {
        blocks::open_for_reading_once(device)?
    } else {
        File::open(device).with_context(|| format!("opening {}", device.display()))?
    };
    let (filled, full) = mpsc::channel();
    // What is moved here is dropped before the thread is awaited, so neither waits for the other.
    thread::scope(move |scope| {
        let reader = move || {
            let mut done = 0;
            // The other end is gone when there was an error there.
            while done < size
                && let Some(chunk) = chunks.next()
            {
                let rest = usize::try_from((size - done).next_multiple_of(ALIGNMENT)).unwrap_or(CHUNK_BYTES);
                let room = rest.min(chunk.len());
                let read = fill(&file, &mut chunk[..room], offset + done);
                let length = *read.as_ref().unwrap_or(&0);
                if filled.send(read.map(|length| (chunk, length))).is_err() || length == 0 {
                    return;
                }
                done += length as u64;
            }
        };
        thread::Builder::new().spawn_scoped(scope, reader).context("starting to read ahead")?;
        let mut done = 0;
        while done < size {
            let (chunk, length) = full.recv().context("awaiting what is read")?.context("reading")?;
            let length = length.min(usize::try_from(size - done).unwrap_or(length));
            ensure!(length > 0, "the device ends before");
            each(chunk, length)?;
            done += length as u64;
        }
        Ok(())
    })
}

/// Reads until `room` is full or the device ends; returns how many bytes that are.
fn fill(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < room.len() {
        match file.read_at(&mut room[length..], at + length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use b2d_sys::effects::mapping::Mapping;

    use super::*;

    /// Returns what both ways give to `each`, and what the first way leaves in memory.
    fn read_both_ways(device: &Path, offset: u64, size: u64) -> Result<[Vec<u8>; 3]> {
        let copy = tempfile::NamedTempFile::new()?.into_temp_path();
        fs::remove_file(&copy)?;
        let mut memory = Mapping::create(&copy, size)?;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        into(&mut memory, device, offset, size, |part| Ok(first.write_all(part)?))?;
        through(device, offset, size, |part| Ok(second.write_all(part)?))?;
        Ok([first, second, memory[..usize::try_from(size)?].to_vec()])
    }

    #[test]
    fn any_part_is_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        let bytes: Vec<u8> = (0..5 * CHUNK_BYTES + 77).map(|at| (at % 251) as u8).collect();
        fs::write(&device, &bytes).unwrap();
        for (offset, size) in [
            (0, 0),
            (0, 1),
            (2048, 4093),
            (4095, 2),
            (CHUNK_BYTES, 3 * CHUNK_BYTES),
            (CHUNK_BYTES - 1, 3 * CHUNK_BYTES),
            (2048, bytes.len() - 2048),
            (7, bytes.len() - 7),
        ] {
            for found in read_both_ways(&device, offset as u64, size as u64).unwrap() {
                assert!(found == bytes[offset..offset + size], "{offset} {size}: {}", found.len());
            }
        }
    }

    #[test]
    fn a_device_that_ends_before_and_a_failing_reader_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        std::fs::write(&device, vec![1; 3 * CHUNK_BYTES]).unwrap();
        let size = 4 * CHUNK_BYTES as u64;
        let error = read_both_ways(&device, 5, size).unwrap_err();
        assert_eq!(error.to_string(), "the device ends before");
        for (number, offset) in [0, 5].into_iter().enumerate() {
            let error = through(&device, offset, size, |_| Ok(())).unwrap_err();
            assert_eq!(error.to_string(), "the device ends before");
            let error = through(&device, offset, size, |_| anyhow::bail!("full")).unwrap_err();
            assert_eq!(error.to_string(), "full");
            let mut memory = Mapping::create(&folder.path().join(number.to_string()), size).unwrap();
            let error = into(&mut memory, &device, offset, size, |_| anyhow::bail!("full")).unwrap_err();
            assert_eq!(error.to_string(), "full");
        }
    }
}
