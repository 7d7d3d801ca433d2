//! The system's list of certificate authorities with the user's own appended. Pure.

use std::collections::BTreeSet;

use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Everything from this line on is ours, and made anew each time.
const MARK: &str = "# boot2docker: from /var/lib/boot2docker/certs\n";

/// Returns the bundle `base` followed by the certificates in `files` (name, content) that it does not have.
/// A certificate that is there already, however it is written, is left out and told in the remarks; what is no
/// certificate is named in the notes.
pub fn extend(
    base: &str,
    files: &[(String, String)],
    notes: &mut Vec<String>,
    remarks: &mut Vec<String>,
) -> String {
    let base = base.split(MARK).next().unwrap_or_default();
    if files.is_empty() {
        return base.to_owned();
    }
    let mut known: BTreeSet<Vec<u8>> =
        certificates(base).into_iter().filter_map(|block| der(block).ok()).collect();
    let mut added = String::new();
    for (name, content) in files {
        let plain = content.replace('\r', "");
        let blocks = certificates(&plain);
        if blocks.is_empty() {
            notes.push(format!("{name} holds no PEM certificate"));
        }
        for block in blocks {
            match check(block).map(|der| known.insert(der)) {
                Err(what) => notes.push(format!("{name} holds a certificate that cannot be read: {what}")),
                Ok(true) => added.push_str(&format!("{block}\n")),
                Ok(false) => remarks.push(format!("{name} holds a certificate that is in the list already")),
            }
        }
    }
    if added.is_empty() {
        return base.to_owned();
    }
    let line_end = if base.is_empty() || base.ends_with('\n') { "" } else { "\n" };
    format!("{base}{line_end}{MARK}{added}")
}

/// Returns the PEM blocks in a text, each from its first to its last dash.
fn certificates(text: &str) -> Vec<&str> {
    let starts = text.match_indices(BEGIN).map(|(at, _)| &text[at..]);
    starts.filter_map(|rest| rest.find(END).map(|end| &rest[..end + END.len()])).collect()
}

/// Returns a certificate's bytes, which are the same however its text is broken into lines.
fn der(block: &str) -> Result<Vec<u8>, String> {
    parse_x509_pem(block.as_bytes()).map(|(_, pem)| pem.contents).map_err(|error| error.to_string())
}

fn check(block: &str) -> Result<Vec<u8>, String> {
    let der = der(block)?;
    X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
    Ok(der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{Order, Purpose, Validity, issue};

    fn authority() -> String {
        let validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };
        let order = Order { purpose: Purpose::Authority, organisation: "Test".into(), validity };
        issue(&order, None).unwrap().certificate.replace('\r', "").trim().to_owned()
    }

    /// Returns the same certificate in lines half as long.
    fn rewrapped(pem: &str) -> String {
        let halves = |line: &str| {
            let (first, second) = line.split_at(line.len() / 8 * 4);
            format!("{first}\n{second}").trim().to_owned()
        };
        let lines =
            pem.lines().map(|line| if line.starts_with('-') { line.to_owned() } else { halves(line) });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn certificates_are_appended_once() {
        let (base, one, two) = (authority(), authority(), authority());
        let files = [
            ("a.pem".to_owned(), format!("Issuer: me\r\n{}\r\n", one.replace('\n', "\r\n"))),
            ("b.crt".to_owned(), format!("{one}\n{two}\n{base}\n")),
            ("c.pem".to_owned(), rewrapped(&two)),
        ];
        let (mut notes, mut remarks) = (Vec::new(), Vec::new());
        let bundle = extend(&base, &files, &mut notes, &mut remarks);
        assert_eq!(bundle, format!("{base}\n{MARK}{one}\n{two}\n"));
        let is_there = |name: &str| format!("{name} holds a certificate that is in the list already");
        assert_eq!(remarks, ["b.crt", "b.crt", "c.pem"].map(is_there));
        assert_eq!(extend(&bundle, &files, &mut notes, &mut remarks).trim_end(), bundle.trim_end());
        assert_eq!(extend(&bundle, &[], &mut notes, &mut remarks), format!("{base}\n"));
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn junk_is_named() {
        let good = authority();
        let files = [
            ("empty.pem".to_owned(), String::new()),
            ("junk.crt".to_owned(), format!("{BEGIN}\nAAAA\n{END}\n{good}")),
        ];
        let mut notes = Vec::new();
        assert_eq!(extend("", &files, &mut notes, &mut Vec::new()), format!("{MARK}{good}\n"));
        assert_eq!(notes[0], "empty.pem holds no PEM certificate");
        assert!(notes[1].starts_with("junk.crt holds a certificate that cannot be read"));
        assert_eq!(notes.len(), 2);
    }
}
