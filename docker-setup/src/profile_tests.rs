//! Defaults, and what each variable changes.

use super::*;

fn evaluated(variables: &[(&str, &str)]) -> Evaluated {
    let variables: BTreeMap<_, _> =
        variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let split = |value: &String| value.split_whitespace().map(str::to_owned).collect();
    let words = variables.iter().map(|(name, value)| (name.clone(), split(value))).collect();
    Evaluated { variables, words, ..Evaluated::default() }
}

#[test]
fn without_a_profile_docker_listens_with_tls() {
    let profile = Profile::new(&Evaluated::default());
    assert_eq!(
        (profile.hosts.as_slice(), profile.tls),
        (&["tcp://0.0.0.0:2376".to_owned()][..], Tls::Verify)
    );
    assert_eq!(profile.data_root, Path::new("/var/lib/docker"));
    assert_eq!(profile.server_key.own, Path::new("/var/lib/boot2docker/tls/serverkey.pem"));
    assert_eq!(profile.cert_interfaces, ["eth0", "eth1"]);
    assert_eq!((profile.org.as_str(), profile.ca_org.as_str()), ("Boot2Docker", "Boot2DockerCA"));
    assert_eq!((profile.storage, profile.ntp_server), (None, None));
}

#[test]
fn listener_is_open_only_when_asked_for() {
    let rows: &[(&str, &str, Tls, &[&str])] = &[
        ("auto", "-H tcp://0.0.0.0:2375", Tls::Verify, &["tcp://0.0.0.0:2376"]),
        ("auto", "-H tcp://10.0.0.1:4243", Tls::Verify, &["tcp://0.0.0.0:2376"]),
        ("", "-H=unix:///x.sock", Tls::Verify, &["unix:///x.sock", "tcp://0.0.0.0:2376"]),
        ("yes", "", Tls::Verify, &["tcp://0.0.0.0:2376"]),
        ("--tlsverify", "", Tls::Verify, &["tcp://0.0.0.0:2376"]),
        ("--tls=false", "-H tcp://0.0.0.0:2375", Tls::Verify, &["tcp://0.0.0.0:2376"]),
        ("--tls", "", Tls::Verify, &["tcp://0.0.0.0:2376"]),
        ("no", "", Tls::Off, &["tcp://0.0.0.0:2375"]),
        ("no", "-H tcp://10.0.0.1:4243", Tls::Off, &["tcp://10.0.0.1:4243"]),
        ("no", "--host=unix:///x.sock", Tls::Off, &["unix:///x.sock"]),
    ];
    for (tls, host, expected, hosts) in rows {
        let profile = Profile::new(&evaluated(&[("DOCKER_TLS", tls), ("DOCKER_HOST", host)]));
        assert_eq!(
            (profile.tls, profile.hosts),
            (*expected, hosts.iter().map(ToString::to_string).collect()),
            "{tls} {host}"
        );
    }
}

#[test]
fn nothing_listens_on_the_network_if_the_profile_forbids_it() {
    let rows = [("no", "", vec![]), ("yes", "", vec!["tcp://0.0.0.0:2376".to_owned()])];
    for (remote, tls, hosts) in rows {
        let profile = Profile::new(&evaluated(&[("DOCKER_REMOTE", remote), ("DOCKER_TLS", tls)]));
        assert_eq!(profile.hosts, hosts, "{remote}");
    }
    let local = Profile::new(&evaluated(&[("DOCKER_REMOTE", "no"), ("DOCKER_HOST", "-H unix:///x.sock")]));
    assert_eq!(local.hosts, ["unix:///x.sock"]);
}

#[test]
fn variables_override_defaults() {
    let rows = [
        ("CERTDIR", "/x/"),
        ("CACERT", "/y/ca.pem"),
        ("ORG", "Me"),
        ("DOCKER_STORAGE", "auto"),
        ("DOCKER_DIR", "/d"),
    ];
    let profile = Profile::new(&evaluated(&rows));
    assert_eq!(profile.ca_cert, TlsFile { own: "/x/ca.pem".into(), named: Some("/y/ca.pem".into()) });
    assert_eq!((profile.server_org.as_str(), profile.ca_org.as_str()), ("Me", "MeCA"));
    assert_eq!((profile.storage, profile.data_root), (None, "/d".into()));
}

#[test]
fn our_own_place_spelt_out_is_still_our_own() {
    let rows = [
        ("/var/lib/boot2docker/tls/", "/var/lib/boot2docker/tls//server.pem", None),
        ("", "/var/lib/boot2docker/tls/server.pem", None),
        ("/x", "/var/lib/boot2docker/tls/server.pem", Some("/var/lib/boot2docker/tls/server.pem".into())),
    ];
    for (dir, file, expected) in rows {
        let profile = Profile::new(&evaluated(&[("CERTDIR", dir), ("SERVERCERT", file)]));
        assert_eq!(profile.server_cert.named, expected, "{file} with {dir:?}");
    }
}

#[test]
fn named_file_is_used_only_if_it_is_there() {
    let file = TlsFile { own: "/own".into(), named: Some("/named".into()) };
    assert_eq!(file.path(|_| true), Path::new("/named"));
    assert_eq!(file.path(|_| false), Path::new("/own"));
}
