//! Whole plans, as people read them.

use super::*;
use crate::certificate::Pair;
use crate::profile::Profile;
use crate::shell::Evaluated;
use crate::tls::{Foreign, TlsFacts};

fn facts(evaluated: &Evaluated) -> Facts {
    Facts {
        profile: Profile::new(evaluated),
        profile_error: None,
        tls: TlsFacts {
            now: 1_760_000_000,
            image_time: 1_760_000_000,
            when: crate::tls::When::Start,
            host: "boot2docker".into(),
            addresses: vec![],
            advertised: vec![],
            existing: [].into(),
            foreign: vec![],
            foreign_server: Pair::Missing,
            authority: Pair::Missing,
            server: Pair::Missing,
            client: Pair::Missing,
        },
        usable_drivers: vec!["overlay2", "vfs"],
        bundle: Some("x\n".into()),
        extra_certificates: vec![],
        daemon_json: None,
        custom_daemon_json: None,
        driver_dirs: vec![],
        has_own_etc_docker: false,
        secrets: vec![],
    }
}

/// `UPDATE_GOLDEN=1 cargo test` rewrites the file instead; the diff is to be reviewed.
fn assert_golden(name: &str, plan: &Plan) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, plan.to_string()).unwrap();
    }
    assert_eq!(plan.to_string(), std::fs::read_to_string(&path).unwrap(), "{path}");
}

#[test]
fn first_boot_without_a_profile() {
    assert_golden("first-boot", &plan(&facts(&Evaluated::default())));
}

#[test]
fn open_listener_and_broken_profile_are_said_aloud() {
    let words = [("DOCKER_TLS".to_owned(), vec!["no".to_owned()])].into();
    let mut open = facts(&Evaluated { words, ..Evaluated::default() });
    open.extra_certificates = vec![("junk.pem".into(), "junk".into())];
    open.has_own_etc_docker = true;
    assert_golden("open", &plan(&open));
    let broken = Facts { profile_error: Some("line 3: syntax error".into()), ..facts(&Evaluated::default()) };
    assert_eq!(
        plan(&broken).settings.notes,
        ["line 3: syntax error", "docker starts as if there was no profile"]
    );
}

#[test]
fn secrets_of_older_disks_are_closed() {
    let secret = |path: &str, mode, is_dir| Secret { path: path.into(), mode, is_dir };
    let mut facts = facts(&Evaluated::default());
    facts.secrets = vec![
        secret("/var/lib/boot2docker/tls", 0o755, true),
        secret("/var/lib/boot2docker/tls/cakey.pem", 0o600, false),
        secret("/var/lib/boot2docker/tls/clientkey.pem", 0o644, false),
        secret("/somebody's", 0o755, true),
    ];
    let expected = [("/var/lib/boot2docker/tls", 0o700), ("/var/lib/boot2docker/tls/clientkey.pem", 0o600)];
    assert_eq!(plan(&facts).tighten, expected.map(|(path, mode)| (PathBuf::from(path), mode)));
}

#[test]
fn secrets_in_the_environment_are_not_printed() {
    let exported = [("HTTP_PROXY".to_owned(), "http://me:secret@proxy".to_owned())].into();
    let plan = plan(&facts(&Evaluated { exported, ..Evaluated::default() }));
    let line = "http_proxy=http://me:secret@proxy\n";
    assert_eq!(plan.settings.environment, format!("HTTP_PROXY=http://me:secret@proxy\n{line}"));
    let text = plan.to_string();
    assert!(text.contains("environment HTTP_PROXY http_proxy\n") && !text.contains("secret"));
}

#[test]
fn ending_certificates_of_others_are_warned_of() {
    let day = crate::tls::DAY;
    let rows = [
        (-3, Some("SERVERCERT=/b/server.pem has expired 3 days ago")),
        (29, Some("SERVERCERT=/b/server.pem expires in 29 days; who made it must renew it")),
        (30, None),
    ];
    for (days, expected) in rows {
        let mut facts = facts(&Evaluated::default());
        let not_after = facts.tls.now + days * day;
        facts.tls.foreign = vec![Foreign { variable: "SERVERCERT", path: "/b/server.pem".into(), not_after }];
        assert_eq!(plan(&facts).notes, Vec::from_iter(expected), "{days}");
    }
}

#[test]
fn configuration_and_data_that_docker_cannot_use_are_pointed_out() {
    let mut facts = facts(&Evaluated::default());
    facts.daemon_json = Some("{".into());
    facts.driver_dirs = vec!["aufs".into(), "overlay2".into()];
    let plan = plan(&facts);
    assert_eq!((plan.notes.len(), plan.has_daemon_json), (2, false));
    assert!(plan.notes[0].starts_with("/etc/docker/daemon.json: EOF"), "{:?}", plan.notes);
    assert!(plan.notes[1].contains("/var/lib/docker/aufs"), "{:?}", plan.notes);
}

#[test]
fn a_custom_images_configuration_counts_until_the_user_has_one() {
    let words = [("EXTRA_ARGS".to_owned(), vec!["--mtu=1500".to_owned()])].into();
    let mut facts = facts(&Evaluated { words, ..Evaluated::default() });
    facts.custom_daemon_json = Some(r#"{"mtu": 1400, "log-driver": "local"}"#.into());
    let custom = plan(&facts);
    assert_eq!(custom.daemon_json.as_deref(), Some(r#"{"log-driver":"local"}"#));
    assert!(custom.has_daemon_json);
    assert_eq!(custom.arguments[custom.arguments.len() - 3..], ["--mtu=1500", "--config-file", DAEMON_JSON]);
    assert!(
        !custom.arguments.iter().any(|argument| argument == "--log-opt"),
        "the image has decided about logs"
    );
    facts.daemon_json = Some("{}".into());
    let own = plan(&facts);
    assert_eq!(own.daemon_json, None);
    assert!(!own.arguments.iter().any(|argument| argument == "--config-file"));
}
