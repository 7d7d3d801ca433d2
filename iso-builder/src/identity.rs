//! What the image says of itself in the files below `rootfs/templates`. Pure.

use anyhow::{Context, Result};
use time::OffsetDateTime;

/// Digits of the build's name that people read; git's short names of commits have as many.
const NAME_DIGITS: usize = 7;

/// The three facts that a template may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `@VERSION@`: the engine's version.
    pub(crate) version: String,
    /// `@BUILD@`: a name for all that the image was made of. Not the commit: sources without git's folder, or changed
    /// since, must say the same of themselves wherever they are built.
    pub(crate) build: String,
    /// `@DATE@`: the image's time stamp, as `date -u` writes it.
    pub(crate) date: String,
}

impl Identity {
    /// Returns the identity of the image with this version, key of its own layer, and time stamp.
    ///
    /// # Errors
    /// When the time stamp is beyond the year 9999.
    pub(crate) fn new(version: &str, key: &str, epoch: u64) -> Result<Self> {
        let build = key.chars().take(NAME_DIGITS).collect();
        Ok(Self { version: version.to_owned(), build, date: date(epoch)? })
    }

    /// Returns a template with its facts; bytes that are no text are left as they are.
    pub(crate) fn fill(&self, template: Vec<u8>) -> Vec<u8> {
        let facts = [("@VERSION@", &self.version), ("@BUILD@", &self.build), ("@DATE@", &self.date)];
        match String::from_utf8(template) {
            Ok(text) => facts.iter().fold(text, |text, (name, fact)| text.replace(name, fact)).into_bytes(),
            Err(error) => error.into_bytes(),
        }
    }
}

/// Source: POSIX date(1), `%a %b %e %H:%M:%S %Z %Y`.
fn date(epoch: u64) -> Result<String> {
    let time = i64::try_from(epoch).ok().and_then(|epoch| OffsetDateTime::from_unix_timestamp(epoch).ok());
    let time = time.with_context(|| format!("writing the time stamp {epoch} as a date: it is too large"))?;
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    let (hour, minute, second) = time.to_hms();
    Ok(format!(
        "{} {} {:>2} {hour:02}:{minute:02}:{second:02} UTC {}",
        &weekday[..3],
        &month[..3],
        time.day(),
        time.year()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_as_date_writes_them() {
        for (epoch, expected) in [
            (0, "Thu Jan  1 00:00:00 UTC 1970"),
            (1_514_416_408, "Wed Dec 27 23:13:28 UTC 2017"),
            (1_582_934_400, "Sat Feb 29 00:00:00 UTC 2020"),
        ] {
            assert_eq!(date(epoch).unwrap(), expected);
        }
        let error = date(u64::MAX).unwrap_err().to_string();
        assert_eq!(error, "writing the time stamp 18446744073709551615 as a date: it is too large");
    }

    #[test]
    fn templates_are_filled_and_other_bytes_left_alone() {
        let identity = Identity::new("28.5.2", "06d5c3512345", 1_514_416_408).unwrap();
        let filled = identity.fill(b"HEAD : @BUILD@ - @DATE@\nv@VERSION@\n".to_vec());
        assert_eq!(
            String::from_utf8(filled).unwrap(),
            "HEAD : 06d5c35 - Wed Dec 27 23:13:28 UTC 2017\nv28.5.2\n"
        );
        assert_eq!(identity.fill(vec![0xff, b'@']), [0xff, b'@']);
    }
}
