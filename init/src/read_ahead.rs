//! Reads a long part of a device while what was read before is worked on. The page cache has nothing of it: it is read once.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use b2d_sys::effects::blocks;

/// Read at once. Unit: bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// Places on the device and in memory are multiples of this; no device has larger blocks. Unit: bytes.
const ALIGNMENT: u64 = 4096;
/// One is worked on, one is full, one is being filled.
const CHUNKS: usize = 3;

/// A chunk, and where in it the bytes are that were read.
struct Chunk {
    memory: Vec<u8>,
    length: usize,
}

impl Chunk {
    fn new() -> Self {
        Self { memory: vec![0; CHUNK_BYTES + ALIGNMENT as usize], length: 0 }
    }

    fn aligned(&mut self) -> &mut [u8] {
        let begin = self.memory.as_ptr().align_offset(ALIGNMENT as usize);
        &mut self.memory[begin..begin + CHUNK_BYTES]
    }
}

/// Calls `each` with the `size` bytes of `device` from `offset` on, chunk by chunk.
///
/// # Errors
/// When the device cannot be read or ends before, or `each` fails.
pub fn read(device: &Path, offset: u64, size: u64, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = blocks::open_for_reading_once(device)?;
    let (to_fill, empty) = mpsc::channel();
    let (filled, full) = mpsc::channel();
    for _ in 0..CHUNKS {
        to_fill.send(Chunk::new()).context("making room for what is read")?;
    }
    let begin = offset - offset % ALIGNMENT;
    let end = offset + size;
    // What is moved here is dropped before the thread is awaited, so neither waits for the other.
    thread::scope(move |scope| {
        let reader = move || {
            let mut at = begin;
            // The other end is gone when there was an error there.
            while at < end
                && let Ok(mut chunk) = empty.recv()
            {
                let rest = usize::try_from((end - at).next_multiple_of(ALIGNMENT)).unwrap_or(CHUNK_BYTES);
                let read = fill(&file, &mut chunk.aligned()[..rest.min(CHUNK_BYTES)], at);
                let length = *read.as_ref().unwrap_or(&0);
                chunk.length = length;
                if filled.send(read.map(|_| chunk)).is_err() || length == 0 {
                    return;
                }
                at += length as u64;
            }
        };
        thread::Builder::new().spawn_scoped(scope, reader).context("starting to read ahead")?;
        let mut at = begin;
        while at < end {
            let mut chunk = full.recv().context("awaiting what is read")?.context("reading")?;
            ensure!(chunk.length > 0, "the device ends before");
            let length = chunk.length;
            let from = usize::try_from(offset.saturating_sub(at)).unwrap_or(length).min(length);
            let to = usize::try_from(end - at).unwrap_or(length).min(length);
            each(&chunk.aligned()[from..to])?;
            at += length as u64;
            // Nobody waits for it any more at the end.
            to_fill.send(chunk).unwrap_or_default();
        }
        Ok(())
    })
}

/// Reads until `room` is full or the device ends; returns how many bytes that are.
fn fill(file: &std::fs::File, room: &mut [u8], at: u64) -> io::Result<usize> {
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
    use super::*;

    #[test]
    fn any_part_is_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        let bytes: Vec<u8> = (0..5 * CHUNK_BYTES + 77).map(|at| (at % 251) as u8).collect();
        std::fs::write(&device, &bytes).unwrap();
        for (offset, size) in
            [(0, 0), (0, 1), (3, 4093), (4095, 2), (CHUNK_BYTES - 1, 3 * CHUNK_BYTES), (7, bytes.len() - 7)]
        {
            let mut found = Vec::new();
            read(&device, offset as u64, size as u64, |part| {
                found.extend_from_slice(part);
                Ok(())
            })
            .unwrap();
            assert!(found == bytes[offset..offset + size], "{offset} {size}: {}", found.len());
        }
    }

    #[test]
    fn a_device_that_ends_before_and_a_failing_reader_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        std::fs::write(&device, vec![1; 3 * CHUNK_BYTES]).unwrap();
        let size = 4 * CHUNK_BYTES as u64;
        assert_eq!(read(&device, 5, size, |_| Ok(())).unwrap_err().to_string(), "the device ends before");
        let error = read(&device, 5, size, |_| anyhow::bail!("full")).unwrap_err();
        assert_eq!(error.to_string(), "full");
    }
}
