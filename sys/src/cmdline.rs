//! The kernel command line, as far as user space cares: words, with double quotes as the kernel knows them.

use std::path::Path;
use std::{fs, io};

/// The options of a kernel command line in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCmdline {
    options: Vec<(String, Option<String>)>,
}

impl KernelCmdline {
    /// Returns the options in `text`, whose words are separated by white space outside double quotes.
    ///
    /// Source: Linux `lib/cmdline.c`, `next_arg`; an option after `--` belongs to PID 1 and counts too.
    pub fn parse(text: &str) -> Self {
        let options = words(text)
            .into_iter()
            .filter(|word| word != "--")
            .map(|word| match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word, None),
            })
            .collect();
        Self { options }
    }

    /// Reads `proc/cmdline` below `root`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(root.join("proc/cmdline"))?))
    }

    /// Returns the value of the last `key=value`, or None if there is none.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.options.iter().rev().find(|(k, _)| k == key).and_then(|(_, value)| value.as_deref())
    }

    /// Tells whether a switch is on: given bare, or with a value other than `0`, `no` and `off`. The last one counts.
    pub fn has(&self, key: &str) -> bool {
        let last = self.options.iter().rev().find(|(k, _)| k == key);
        last.is_some_and(|(_, value)| !matches!(value.as_deref(), Some("0" | "no" | "off")))
    }

    /// Returns every value of `key` in order, such as all of `console=`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(k, _)| k == key).filter_map(|(_, value)| value.as_deref())
    }

    /// Returns the keys that begin with `prefix`, in order.
    pub fn keys_with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().map(|(key, _)| key.as_str()).filter(move |key| key.starts_with(prefix))
    }
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut started) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, started) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            c => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_by_name() {
        let line = KernelCmdline::parse(
            "loglevel=3 console=ttyS0 console=tty0 b2d.nodhcp b2d.data=\"a b\" b2d.debug=0 b2d.x=1 b2d.x=2 -- single\n",
        );
        let rows = [
            ("loglevel", Some("3"), true),
            ("console", Some("tty0"), true),
            ("b2d.nodhcp", None, true),
            ("b2d.data", Some("a b"), true),
            ("b2d.debug", Some("0"), false),
            ("b2d.x", Some("2"), true),
            ("single", None, true),
            ("absent", None, false),
        ];
        for (key, value, on) in rows {
            assert_eq!((line.get(key), line.has(key)), (value, on), "{key}");
        }
        assert_eq!(line.all("console").collect::<Vec<_>>(), ["ttyS0", "tty0"]);
        assert_eq!(line.keys_with_prefix("b2d.d").collect::<Vec<_>>(), ["b2d.data", "b2d.debug"]);
    }

    #[test]
    fn empty_line_has_no_options() {
        assert_eq!(KernelCmdline::parse("  \n"), KernelCmdline::default());
    }
}
