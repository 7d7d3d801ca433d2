//! A new file's content as memory: what a device writes there is in the file, without a copy.

use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The content of a file, mapped to be read and written. Behind it are zeros up to the end of the last page, which do not get
/// into the file.
#[derive(Debug)]
pub struct Mapping {
    begin: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Makes a file that was not there before, gives it `size` bytes of its file system, and maps it.
    ///
    /// Whoever changes the file's size while it is mapped ends the process; nobody else knows of it.
    ///
    /// # Errors
    /// When the file exists or cannot be made, or the file system is full or gives no room beforehand; then an empty file may be
    /// left.
    #[expect(unsafe_code, reason = "a mapping is memory that only the kernel knows")]
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let creating = || format!("creating {}", path.display());
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.with_context(creating)?;
        let length =
            usize::try_from(size).with_context(creating)?.next_multiple_of(rustix::param::page_size());
        if length == 0 {
            return Ok(Self { begin: NonNull::dangling(), length });
        }
        fallocate(&file, FallocateFlags::empty(), 0, size).with_context(creating)?;
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses where, so no other memory is touched; the file is new, has all its pages by now, and nobody
        // else changes it.
        let begin = unsafe { mmap(ptr::null_mut(), length, access, flags, &file, 0) };
        let begin = begin.with_context(|| format!("mapping {}", path.display()))?;
        let begin = NonNull::new(begin.cast()).with_context(|| format!("mapping {}", path.display()))?;
        Ok(Self { begin, length })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    #[expect(unsafe_code, reason = "a mapping is memory that only the kernel knows")]
    fn deref(&self) -> &[u8] {
        // SAFETY: the pages are mapped until drop, and no other reference to them is handed out than by deref and deref_mut.
        unsafe { slice::from_raw_parts(self.begin.as_ptr(), self.length) }
    }
}

impl DerefMut for Mapping {
    #[expect(unsafe_code, reason = "a mapping is memory that only the kernel knows")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in deref, and the borrow of self keeps all others away.
        unsafe { slice::from_raw_parts_mut(self.begin.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    #[expect(unsafe_code, reason = "a mapping is memory that only the kernel knows")]
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: this is what mmap returned, and nothing borrows from it any more.
            let unmapped = unsafe { munmap(self.begin.as_ptr().cast(), self.length) };
            if let Err(error) = unmapped {
                log::debug!("unmapping a file: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_and_not_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut mapping = Mapping::create(&path, 5000).unwrap();
        assert_eq!(mapping.len(), 8192);
        assert!(mapping.iter().all(|byte| *byte == 0));
        mapping.fill(7);
        drop(mapping);
        assert_eq!(fs::read(&path).unwrap(), vec![7; 5000]);
    }

    #[test]
    fn an_empty_file_is_empty_and_one_that_exists_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(*Mapping::create(&path, 0).unwrap(), []);
        let error = Mapping::create(&path, 1).unwrap_err();
        assert!(format!("{error:#}").contains("exists"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn no_room_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        Mapping::create(&folder.path().join("file"), 1 << 60).unwrap_err();
    }
}
