//! One row per state the certificate directory may be in.

use super::*;
use crate::shell::Evaluated;

const IMAGE_TIME: i64 = 1_760_000_000;
const NOW: i64 = IMAGE_TIME + 10 * DAY;

fn pair(names: BTreeSet<Name>) -> Certificate {
    let (not_before, not_after) = (IMAGE_TIME - DAY, NOW + 700 * DAY);
    Certificate { not_before, not_after, names, is_of_authority: true, can_sign: true }
}

/// Returns a machine whose material is all in order.
fn settled() -> TlsFacts {
    let mut facts = TlsFacts {
        now: NOW,
        image_time: IMAGE_TIME,
        when: When::Start,
        host: "boot2docker".into(),
        addresses: vec!["10.0.2.15".parse().unwrap()],
        advertised: vec![],
        existing: BTreeSet::new(),
        foreign: vec![],
        foreign_server: Pair::Missing,
        authority: Pair::Whole(pair(BTreeSet::new())),
        server: Pair::Missing,
        client: Pair::Whole(pair(BTreeSet::new())),
    };
    facts.server = Pair::Whole(pair(server_names(&facts)));
    facts
}

fn profile(named: &[(&str, &str)]) -> Profile {
    let variables = named.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Profile::new(&Evaluated { variables, ..Evaluated::default() })
}

fn made(profile: &Profile, facts: &TlsFacts) -> Vec<(String, String)> {
    let name = |issue: &Issue| issue.certificate.file_name().unwrap().to_str().unwrap().to_owned();
    plan(profile, facts).orders.iter().map(|issue| (name(issue), issue.reason.clone())).collect()
}

fn with(change: impl FnOnce(&mut Certificate)) -> Pair {
    let mut certificate = pair(server_names(&settled()));
    change(&mut certificate);
    Pair::Whole(certificate)
}

#[test]
fn only_what_must_be_made_is_made() {
    let all = |reason: &str| {
        vec![
            ("ca.pem", reason.to_owned()),
            ("server.pem", "new authority".into()),
            ("cert.pem", "new authority".into()),
        ]
    };
    let server = |reason: &str| vec![("server.pem", reason.to_owned())];
    let missing =
        TlsFacts { authority: Pair::Missing, server: Pair::Missing, client: Pair::Missing, ..settled() };
    let nothing: Vec<(&str, String)> = vec![];
    let rows = [
        ("settled", settled(), nothing.clone()),
        ("first boot", missing, all("missing")),
        ("no lease now", TlsFacts { addresses: vec![], ..settled() }, nothing.clone()),
        (
            "new address",
            TlsFacts { addresses: vec!["192.168.99.100".parse().unwrap()], ..settled() },
            server("not valid for 192.168.99.100"),
        ),
        ("new host name", TlsFacts { host: "default".into(), ..settled() }, server("not valid for default")),
        (
            "server expires",
            TlsFacts { server: with(|c| c.not_after = NOW + 179 * DAY), ..settled() },
            server("179 days left"),
        ),
        (
            "server expires, while docker runs",
            TlsFacts { server: with(|c| c.not_after = NOW + 29 * DAY), when: When::Running, ..settled() },
            server("29 days left"),
        ),
        (
            "server expires later, while docker runs",
            TlsFacts { server: with(|c| c.not_after = NOW + 30 * DAY), when: When::Running, ..settled() },
            nothing.clone(),
        ),
        (
            "server expired",
            TlsFacts { server: with(|c| c.not_after = NOW - DAY), ..settled() },
            server("-1 days left"),
        ),
        (
            "server of another",
            TlsFacts { server: with(|c| c.is_of_authority = false), ..settled() },
            server("signed by another authority"),
        ),
        ("half a pair", TlsFacts { server: Pair::Broken("no key".into()), ..settled() }, server("no key")),
        (
            "authority expires",
            TlsFacts { authority: with(|c| c.not_after = NOW), ..settled() },
            all("0 days left"),
        ),
        (
            "made with a clock ahead",
            TlsFacts { authority: with(|c| c.not_before = NOW + DAY), ..settled() },
            all("not valid yet"),
        ),
        ("clock at 1970", TlsFacts { now: 0, ..settled() }, nothing.clone()),
        (
            "old key format, nothing to sign",
            TlsFacts { authority: with(|c| c.can_sign = false), ..settled() },
            nothing,
        ),
        (
            "old key format, client to sign",
            TlsFacts { authority: with(|c| c.can_sign = false), client: Pair::Missing, ..settled() },
            all("its key cannot sign"),
        ),
    ];
    for (name, facts, expected) in rows {
        let expected: Vec<(String, String)> =
            expected.into_iter().map(|(file, why)| (file.to_owned(), why)).collect();
        assert_eq!(made(&profile(&[]), &facts), expected, "{name}");
    }
}

#[test]
fn foreign_files_are_used_and_nothing_is_made() {
    let named =
        [("CACERT", "/b/ca.pem"), ("SERVERCERT", "/b/server.pem"), ("SERVERKEY", "/b/server-key.pem")];
    let existing = named.iter().map(|(_, path)| PathBuf::from(path)).collect();
    let missing =
        TlsFacts { authority: Pair::Missing, server: Pair::Missing, client: Pair::Missing, ..settled() };
    let plan = plan(&profile(&named), &TlsFacts { existing, ..missing.clone() });
    let expected = TlsPlan {
        orders: vec![],
        names_file: None,
        authority: ("/var/lib/boot2docker/tls/ca.pem".into(), "/var/lib/boot2docker/tls/cakey.pem".into()),
        ca_cert: "/b/ca.pem".into(),
        server_cert: "/b/server.pem".into(),
        server_key: "/b/server-key.pem".into(),
        for_user: vec![("/b/ca.pem".into(), "ca.pem")],
    };
    assert_eq!(plan, expected);
    assert_eq!(
        made(&profile(&named), &missing).len(),
        3,
        "named files that do not exist are made under our names"
    );
}

#[test]
fn user_gets_the_authority_that_signed_the_servers_certificate() {
    let own = "/var/lib/boot2docker/tls";
    let given = |named: &[(&str, &str)]| {
        let existing = named.iter().map(|(_, path)| PathBuf::from(path)).collect();
        let files = plan(&profile(named), &TlsFacts { existing, ..settled() }).for_user;
        files.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>()
    };
    let ca = ("CACERT", "/b/ca.pem");
    let server = [("SERVERCERT", "/b/server.pem"), ("SERVERKEY", "/b/key.pem")];
    let ours = ["ca.pem", "cert.pem", "key.pem"].map(|name| format!("{own}/{name}"));
    assert_eq!(given(&[]), ours);
    assert_eq!(given(&[ca]), ours[..1]);
    assert_eq!(given(&server), ours);
    assert_eq!(given(&[ca, server[0]]), ours[..1]);
    assert_eq!(given(&[ca, server[0], server[1]]), ["/b/ca.pem"]);
}

#[test]
fn everything_made_lies_in_the_certificate_directory() {
    let facts = TlsFacts { authority: Pair::Missing, ..settled() };
    let named =
        [("CACERT", "/b/ca.pem"), ("CAKEY", "/b/cakey.pem"), ("CERT", "/b/cert.pem"), ("CERTDIR", "/c")];
    let plan = plan(&profile(&named), &facts);
    assert_eq!(plan.orders.len(), 3);
    for issue in &plan.orders {
        assert!(issue.certificate.starts_with("/c") && issue.key.starts_with("/c"), "{issue}");
    }
    assert_eq!(plan.names_file.unwrap().0, Path::new("/c/hostnames"));
}

#[test]
fn validity_holds_under_any_clock() {
    for now in [0, IMAGE_TIME - 400 * DAY, NOW, NOW + 9000 * DAY] {
        let Validity { not_before, not_after } = validity(&TlsFacts { now, ..settled() }, LEAF_DAYS);
        assert!(not_before <= IMAGE_TIME - DAY && not_before < now, "{now}");
        assert!(not_after >= IMAGE_TIME + LEAF_DAYS * DAY && not_after > now, "{now}");
    }
}

#[test]
fn server_names_are_host_loopback_and_addresses() {
    let names: Vec<String> = server_names(&settled()).iter().map(ToString::to_string).collect();
    let expected = [
        "boot2docker",
        "ip6-localhost",
        "ip6-loopback",
        "localhost",
        "localhost.local",
        "10.0.2.15",
        "127.0.0.1",
        "::1",
    ];
    assert_eq!(names, expected);
    let odd = TlsFacts { host: "bücher".into(), ..settled() };
    assert_eq!(server_names(&odd).len(), names.len() - 1);
}

#[test]
fn an_advertised_address_alone_is_worth_no_restart() {
    let lease: IpAddr = "192.168.99.100".parse().unwrap();
    let advertised: IpAddr = "fec0::15".parse().unwrap();
    let with = |addresses: Vec<IpAddr>, when| {
        let facts = TlsFacts { addresses, advertised: vec![advertised], when, ..settled() };
        plan(&profile(&[]), &facts).orders.iter().map(|issue| issue.can_wait).collect::<Vec<_>>()
    };
    for (addresses, when, expected) in [
        (vec![advertised], When::Start, vec![]),
        (vec![advertised], When::Running, vec![true]),
        (vec![advertised, lease], When::Start, vec![false]),
        (vec![advertised, lease], When::Running, vec![false]),
    ] {
        assert_eq!(with(addresses.clone(), when), expected, "{addresses:?} {when:?}");
    }
    // It is named all the same.
    let facts = TlsFacts { addresses: vec![lease, advertised], advertised: vec![advertised], ..settled() };
    assert!(server_names(&facts).contains(&Name::Ip(advertised)));
}
