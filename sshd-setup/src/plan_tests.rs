//! First boot, later boots, and what a disk may bring along.

use super::*;

const COMPLETE: &str = config::SHIPPED;
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";

fn file(name: &str, content: &str) -> SshFile {
    SshFile { name: name.to_owned(), content: content.as_bytes().to_vec() }
}

fn image() -> Vec<SshFile> {
    vec![file(CONFIG, COMPLETE)]
}

fn group<'a>(plan: &'a Plan, name: &str) -> &'a [Step] {
    &plan.groups.iter().find(|group| group.name == name).unwrap().steps
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
fn first_boot_moves_the_directory_and_makes_keys() {
    let extra_keys = Some("ssh-ed25519 AAAA me\r\n".to_owned());
    assert_golden("first-boot", &plan(&Facts { image_files: image(), extra_keys, ..Facts::default() }));
}

#[test]
fn later_boot_only_links() {
    let stored_files = ["ecdsa", "ed25519"].map(|kind| file(&format!("ssh_host_{kind}_key"), KEY));
    let stored_files = Some([stored_files.to_vec(), image(), vec![file(CONFIG_OF_IMAGE, COMPLETE)]].concat());
    assert_golden("later-boot", &plan(&Facts { image_files: image(), stored_files, ..Facts::default() }));
}

#[test]
fn empty_host_key_is_made_again() {
    let stored_files = Some(vec![file("ssh_host_ecdsa_key", "key"), file("ssh_host_ed25519_key", "")]);
    let facts = Facts { stored_files, ..Facts::default() };
    assert_eq!(group(&plan(&facts), "host keys"), [Step::MakeKeys(vec![KeyKind::Ed25519])]);
    assert_eq!(group(&plan_slow_keys(&facts), "host keys"), [Step::MakeKeys(vec![KeyKind::Rsa])]);
}

#[test]
fn keys_of_a_custom_image_are_kept() {
    let facts = Facts { image_files: vec![file("ssh_host_rsa_key", "key")], ..Facts::default() };
    assert_eq!(group(&plan_slow_keys(&facts), "host keys"), []);
    let moved = Step::Write {
        path: "/var/lib/boot2docker/ssh/ssh_host_rsa_key".into(),
        mode: 0o600,
        content: b"key".to_vec(),
    };
    assert!(group(&plan(&facts), "configuration").contains(&moved));
}

#[test]
fn lost_configuration_is_replaced_and_an_old_one_completed() {
    let write = |content: &[u8]| Step::Write {
        path: "/var/lib/boot2docker/ssh/sshd_config".into(),
        mode: 0o644,
        content: content.to_vec(),
    };
    let with = |stored: SshFile| {
        let facts = Facts { image_files: image(), stored_files: Some(vec![stored]), ..Facts::default() };
        group(&plan(&facts), "configuration").to_vec()
    };
    assert!(with(file("other", "x")).contains(&write(COMPLETE.as_bytes())));
    assert!(with(file(CONFIG, "")).contains(&write(COMPLETE.as_bytes())));
    let old = "Port 22\n";
    let completed = config::complete(old).unwrap();
    assert!(with(file(CONFIG, old)).contains(&write(completed.as_bytes())));
}

#[test]
fn changed_configuration_stays_and_the_images_is_put_beside_it() {
    let write = |name: &str, content: &str| Step::Write {
        path: Path::new("/var/lib/boot2docker/ssh").join(name),
        mode: 0o644,
        content: content.as_bytes().to_vec(),
    };
    let mine = COMPLETE.replace("PasswordAuthentication yes", "PasswordAuthentication no");
    let old = COMPLETE.replace("LoginGraceTime 60", "LoginGraceTime 90");
    let beside = || write(CONFIG_OF_IMAGE, COMPLETE);
    let told = "/var/lib/boot2docker/ssh/sshd_config was changed and stays; this image's is sshd_config.image beside it";
    let rows = [
        ("same image", COMPLETE, Some(COMPLETE), vec![], None),
        ("changed", &mine, Some(COMPLETE), vec![], None),
        ("another image", &old, Some(&*old), vec![write(CONFIG, COMPLETE), beside()], None),
        ("changed, another image", &mine, Some(&*old), vec![beside()], Some(told)),
        ("from before it was kept", &old, None, vec![beside()], Some(told)),
    ];
    for (name, stored, former, expected, note) in rows {
        let former = former.map(|former| file(CONFIG_OF_IMAGE, former));
        let stored_files = Some([file(CONFIG, stored)].into_iter().chain(former).collect());
        let plan = plan(&Facts { image_files: image(), stored_files, ..Facts::default() });
        let steps = group(&plan, "configuration").iter();
        let in_store: Vec<Step> = steps
            .filter(|step| matches!(step, Step::Write { path, .. } if path.starts_with("/var/lib")))
            .cloned()
            .collect();
        assert_eq!(in_store, expected, "{name}");
        assert_eq!(plan.notes, Vec::from_iter(note), "{name}");
    }
}

#[test]
fn short_configuration_of_a_custom_image_is_completed_before_its_first_use() {
    let short = "PasswordAuthentication no\n";
    let facts = Facts { image_files: vec![file(CONFIG, short)], ..Facts::default() };
    let plan = plan(&facts);
    let completed = config::complete(short).unwrap().into_bytes();
    let written: Vec<&[u8]> = group(&plan, "configuration")
        .iter()
        .filter_map(|step| if let Step::Write { content, .. } = step { Some(&**content) } else { None })
        .collect();
    assert_eq!(written, [&*completed; 3], "for this boot, in use, and for comparison");
}

#[test]
fn rejected_configuration_gets_a_free_name_and_the_images_as_fallback() {
    let stored_files = Some(vec![file("sshd_config.rejected-1", "x")]);
    let kept_config = Some(b"kept".to_vec());
    let facts = Facts { stored_files, kept_config, ..Facts::default() };
    let expected = Step::CheckConfig {
        rejected: "/usr/local/etc/ssh/sshd_config.rejected-2".into(),
        fallback: Some(b"kept".to_vec()),
    };
    assert_eq!(check_config(&facts), expected);
}

#[test]
fn bad_userdata_is_named_and_the_other_keys_still_count() {
    let facts = Facts {
        userdata: Some(vec![b'x'; 1024]),
        home_keys: Some("a\n".into()),
        extra_keys: Some("b".into()),
        ..Facts::default()
    };
    let plan = plan(&facts);
    assert_eq!(plan.notes.len(), 1);
    assert!(plan.notes[0].starts_with("/var/lib/boot2docker/userdata.tar is not used: not a tar archive"));
    let keys = Step::UserFile { path: HOME_KEYS.into(), mode: 0o600, content: b"a\nb\n".to_vec() };
    assert!(group(&plan, "home").contains(&keys));
}

#[test]
fn any_configuration_but_the_shipped_one_is_checked() {
    let mine = COMPLETE.replace("PasswordAuthentication yes", "PasswordAuthentication no");
    let former = COMPLETE.replace("LoginGraceTime 60", "LoginGraceTime 90");
    let rows = [
        ("first boot", COMPLETE, None, None, false),
        ("later boot", COMPLETE, Some(COMPLETE), Some(COMPLETE), false),
        ("replaced by the image's", COMPLETE, Some(&*former), Some(&*former), false),
        ("changed", COMPLETE, Some(&*mine), Some(COMPLETE), true),
        ("completed", COMPLETE, Some("Port 22\n"), None, true),
        ("custom image", &mine, None, None, true),
        ("custom image, shipped one stored", &mine, Some(COMPLETE), Some(&*mine), false),
    ];
    for (name, of_image, stored, former, expected) in rows {
        let stored_files = stored.map(|stored| {
            let former = former.map(|former| file(CONFIG_OF_IMAGE, former));
            [file(CONFIG, stored)].into_iter().chain(former).collect()
        });
        let facts = Facts { image_files: vec![file(CONFIG, of_image)], stored_files, ..Facts::default() };
        let is_checked =
            group(&plan(&facts), "sshd").iter().any(|step| matches!(step, Step::CheckConfig { .. }));
        assert_eq!(is_checked, expected, "{name}");
    }
    for (key, expected) in
        [(KEY, false), ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", true), ("\0\0\0", true), ("", false)]
    {
        let stored_files = Some(vec![file(CONFIG, COMPLETE), file("ssh_host_ed25519_key", key)]);
        let steps = sshd(&Facts { image_files: image(), stored_files, ..Facts::default() });
        assert_eq!(steps.len() == 2, expected, "{key:?}");
    }
}
