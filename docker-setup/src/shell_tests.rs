//! Profiles as Docker Machine and people write them, run by this machine's own shell.

use super::*;

fn run(profile: &str) -> Result<Evaluated> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile");
    std::fs::write(&path, profile).unwrap();
    evaluate(&dir.path().join("defaults"), &path)
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn profile_of_docker_machine() {
    let profile = "\nEXTRA_ARGS='\n--label provider=virtualbox\n--insecure-registry r:5000\n\n'\n\
        CACERT=/var/lib/boot2docker/ca.pem\nDOCKER_HOST='-H tcp://0.0.0.0:2376'\nDOCKER_STORAGE=overlay2\n\
        DOCKER_TLS=auto\nexport \"HTTP_PROXY=http://p:3128\"\nexport \"NO_PROXY=a, b\"\n";
    let evaluated = run(profile).unwrap();
    let args = ["--label", "provider=virtualbox", "--insecure-registry", "r:5000"];
    assert_eq!(evaluated.words["EXTRA_ARGS"], args);
    assert_eq!(evaluated.words["DOCKER_HOST"], ["-H", "tcp://0.0.0.0:2376"]);
    assert_eq!(evaluated.words["DOCKER_TLS"], ["auto"]);
    assert_eq!(evaluated.variables["CACERT"], "/var/lib/boot2docker/ca.pem");
    assert_eq!(pairs(&evaluated.exported), [("HTTP_PROXY", "http://p:3128"), ("NO_PROXY", "a, b")]);
}

#[test]
fn defaults_of_a_custom_image_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = dir.path().join("defaults");
    std::fs::write(&defaults, "DOCKER_OPTS='--dns 1.1.1.1'\nORG=Image\n").unwrap();
    let path = dir.path().join("profile");
    std::fs::write(&path, "ORG=\"$ORG and mine\"\n").unwrap();
    let evaluated = evaluate(&defaults, &path).unwrap();
    assert_eq!(evaluated.words["DOCKER_OPTS"], ["--dns", "1.1.1.1"]);
    assert_eq!(evaluated.variables["ORG"], "Image and mine");
}

#[test]
fn code_runs_and_its_output_does_not_disturb() {
    let profile = "echo hello\nprintf 'e\\0'\ncd /tmp\nif [ -d / ]; then EXTRA_ARGS=\"$EXTRA_ARGS --dns 1.1.1.1\"; fi\n\
        EXTRA_ARGS=\"$EXTRA_ARGS --dns /*\"\nIFS=:\nset -a -u\nORG=\nfalse\n";
    let evaluated = run(profile).unwrap();
    assert_eq!(evaluated.words["EXTRA_ARGS"], ["--dns", "1.1.1.1", "--dns", "/*"]);
    assert_eq!(evaluated.variables["ORG"], "");
    assert_eq!(evaluated.printed, "hello\ne\0".trim_end());
    assert_eq!(evaluated.variables.len(), 2);
}

#[test]
fn quotes_newlines_and_equal_signs_stay_in_values() {
    let evaluated = run("export A='x=\"1\"\n2'\nDOCKER_DIR='/mnt/my disk'").unwrap();
    assert_eq!(pairs(&evaluated.exported), [("A", "x=\"1\"\n2")]);
    assert_eq!(evaluated.variables["DOCKER_DIR"], "/mnt/my disk");
}

#[test]
fn broken_profiles_say_where() {
    let rows = [
        ("syntax", "A=1\nif\n", "3: ", "line 3: "),
        ("open quote", "A='\n", "Unterminated quoted string", "unterminated quoted string"),
        ("exit", "DOCKER_TLS=no\nexit 0\n", "ended the shell", "ended the shell"),
    ];
    for (name, profile, dash, ash) in rows {
        let error = format!("{:#}", run(profile).unwrap_err());
        assert!(error.starts_with("evaluating /") && !error.contains("b2d_name"), "{name}: {error}");
        assert!(error.contains(dash) || error.contains(ash), "{name}: {error}");
    }
}

#[test]
fn place_of_an_endless_loop_is_the_last_line_traced() {
    assert_eq!(last_traced_line("+1: A=1\n+3: true\n+3: tr"), Some(3));
    assert_eq!(last_traced_line("++2: x\n"), Some(2));
    assert_eq!(last_traced_line("sh: not found\n"), None);
}

#[test]
fn empty_profile_sets_nothing() {
    assert_eq!(run("").unwrap(), Evaluated::default());
}

#[test]
fn unknown_records_are_refused() {
    assert_eq!(decode(b""), Err(AnswerError::Ended));
    assert_eq!(decode(b"vA=1\0"), Err(AnswerError::Ended));
    assert_eq!(decode(b"xA=1\0e\0"), Err(AnswerError::Record { record: "xA=1".into() }));
    assert_eq!(decode(b"vA\0e\0"), Err(AnswerError::Record { record: "vA".into() }));
}
