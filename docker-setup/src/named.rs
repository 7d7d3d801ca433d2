//! What becomes of the TLS files that the profile names: some are of no use without others. Pure.

use std::path::Path;

use crate::certificate::Pair;
use crate::profile::{Profile, Tls, TlsFile};
use crate::tls::TlsFacts;

/// Returns what somebody should know about the files the profile names; each is used only if its pair is whole.
pub fn notes(profile: &Profile, facts: &TlsFacts) -> Vec<String> {
    if profile.tls == Tls::Off {
        return Vec::new();
    }
    let exists = |path: &Path| facts.existing.contains(path);
    let is_named = |file: &TlsFile| file.named.as_deref().is_some_and(exists);
    let mut notes = absent(profile, facts);
    let pairs = [
        ("SERVERCERT", &profile.server_cert, "SERVERKEY", &profile.server_key),
        ("CERT", &profile.client_cert, "KEY", &profile.client_key),
    ];
    for (cert_name, cert, key_name, key) in pairs {
        match (is_named(cert), is_named(key)) {
            (true, false) => notes.push(ignored(cert_name, cert, key_name)),
            (false, true) => notes.push(ignored(key_name, key, cert_name)),
            _ => {}
        }
    }
    if profile.ca_key.named.is_some() {
        let ca_key = told("CAKEY", &profile.ca_key);
        notes.push(format!("{ca_key} is ignored: certificates are signed by our own authority only"));
    }
    let has_server = is_named(&profile.server_cert) && is_named(&profile.server_key);
    match (is_named(&profile.ca_cert), has_server) {
        (true, false) => notes.push(format!(
            "{} only decides who may connect: the server shows our own certificate, signed by {}, unless SERVERCERT \
             and SERVERKEY name another",
            told("CACERT", &profile.ca_cert),
            profile.ca_cert.own.display()
        )),
        (false, true) => notes.push(format!(
            "{} is shown to clients, but only certificates signed by {} are let in, unless CACERT names another \
             authority",
            told("SERVERCERT", &profile.server_cert),
            profile.ca_cert.own.display()
        )),
        _ => {}
    }
    if let (true, Pair::Broken(reason)) = (has_server, &facts.foreign_server) {
        notes
            .push(format!("SERVERCERT and SERVERKEY: {reason}; docker will not start before that is mended"));
    }
    notes
}

fn absent(profile: &Profile, facts: &TlsFacts) -> Vec<String> {
    let files = [
        ("CACERT", &profile.ca_cert),
        ("SERVERCERT", &profile.server_cert),
        ("SERVERKEY", &profile.server_key),
        ("CERT", &profile.client_cert),
        ("KEY", &profile.client_key),
    ];
    let is_absent = |file: &TlsFile| file.named.as_ref().is_some_and(|path| !facts.existing.contains(path));
    let absent = files.into_iter().filter(|(_, file)| is_absent(file));
    absent.map(|(name, file)| format!("{} does not exist: our own is used", told(name, file))).collect()
}

fn ignored(name: &str, file: &TlsFile, other: &str) -> String {
    format!("{} is ignored: without {other} it is of no use, and our own pair is used", told(name, file))
}

fn told(name: &str, file: &TlsFile) -> String {
    format!("{name}={}", file.named.as_deref().unwrap_or(&file.own).display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Evaluated;
    use crate::tls::When;

    const OWN: &str = "/var/lib/boot2docker/tls/ca.pem";

    fn told_of(variables: &[&str], absent: &[&str], foreign_server: Pair) -> Vec<String> {
        let path = |name: &str| format!("/b/{name}");
        let evaluated = Evaluated {
            variables: variables.iter().map(|name| ((*name).to_owned(), path(name))).collect(),
            ..Evaluated::default()
        };
        let existing = variables.iter().filter(|name| !absent.contains(name)).map(|name| path(name).into());
        let facts = TlsFacts {
            now: 0,
            image_time: 0,
            when: When::Start,
            host: String::new(),
            addresses: vec![],
            advertised: vec![],
            existing: existing.collect(),
            foreign: vec![],
            foreign_server,
            authority: Pair::Missing,
            server: Pair::Missing,
            client: Pair::Missing,
        };
        notes(&Profile::new(&evaluated), &facts)
    }

    #[test]
    fn half_of_what_belongs_together_is_told() {
        let ignored = |name: &str, other: &str| {
            format!("{name}=/b/{name} is ignored: without {other} it is of no use, and our own pair is used")
        };
        let absent = |name: &str| format!("{name}=/b/{name} does not exist: our own is used");
        let only_clients = format!(
            "CACERT=/b/CACERT only decides who may connect: the server shows our own certificate, signed by {OWN}, \
             unless SERVERCERT and SERVERKEY name another"
        );
        let only_server = format!(
            "SERVERCERT=/b/SERVERCERT is shown to clients, but only certificates signed by {OWN} are let in, unless \
             CACERT names another authority"
        );
        let all: &[&str] = &["CACERT", "SERVERCERT", "SERVERKEY"];
        let rows: &[(&[&str], &[&str], Vec<String>)] = &[
            (&[], &[], vec![]),
            (all, &[], vec![]),
            (&["CACERT"], &[], vec![only_clients.clone()]),
            (&["CACERT"], &["CACERT"], vec![absent("CACERT")]),
            (&["SERVERCERT", "SERVERKEY"], &[], vec![only_server]),
            (&["SERVERCERT"], &[], vec![ignored("SERVERCERT", "SERVERKEY")]),
            (
                all,
                &["SERVERKEY"],
                vec![absent("SERVERKEY"), ignored("SERVERCERT", "SERVERKEY"), only_clients],
            ),
            (&["KEY"], &[], vec![ignored("KEY", "CERT")]),
            (
                &["CAKEY"],
                &[],
                vec!["CAKEY=/b/CAKEY is ignored: certificates are signed by our own authority only".into()],
            ),
        ];
        for (variables, absent, expected) in rows {
            assert_eq!(
                told_of(variables, absent, Pair::Missing),
                *expected,
                "{variables:?} without {absent:?}"
            );
        }
        let broken = Pair::Broken("key does not belong to certificate".into());
        let expected = "SERVERCERT and SERVERKEY: key does not belong to certificate; docker will not start before that \
            is mended";
        assert_eq!(told_of(all, &[], broken.clone()), [expected]);
        assert_eq!(told_of(&[], &[], broken), [""; 0]);
    }
}
