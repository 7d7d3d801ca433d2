//! Puts a service's log aside when it has grown: `docker.log` becomes `docker.log.1` and begins anew.
//! The service keeps its file open for appending, so the content moves and the file stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Moves the last `keep_bytes` of the log aside.
///
/// # Errors
/// When a file cannot be read or written; then the log is as it was.
pub fn run(log: &Path, keep_bytes: &str) -> Result<()> {
    let keep = keep_bytes.parse().with_context(|| format!("reading {keep_bytes:?} as a number of bytes"))?;
    rotate(log, keep).with_context(|| format!("putting {} aside", log.display()))
}

fn rotate(log: &Path, keep: u64) -> io::Result<()> {
    let mut from = OpenOptions::new().read(true).write(true).open(log)?;
    let length = from.metadata()?.len();
    from.seek(SeekFrom::Start(length.saturating_sub(keep)))?;
    let (new, old) = (suffixed(log, "new"), suffixed(log, "1"));
    let mut to = File::create(&new)?;
    // Until nothing comes any more: what is written between the last look and the cut is lost.
    while io::copy(&mut from, &mut to)? > 0 {}
    from.set_len(0)?;
    fs::rename(new, old)
}

fn suffixed(log: &Path, suffix: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_is_kept_and_whoever_appends_goes_on_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("a.log");
        let mut service = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        service.write_all(b"0123456789").unwrap();
        run(&log, "4").unwrap();
        service.write_all(b"ab").unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "ab");
        assert_eq!(fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "6789");
        run(&log, "4").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "ab");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
