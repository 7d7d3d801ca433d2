//! Docker's settings: shell code that is evaluated before the user's profile, and a configuration file. Pure.

use serde_json::{Map, Value};

use crate::config::Custom;

/// Flags that may be given several times, and what the configuration file calls them; all others have one name.
/// Source: moby cmd/dockerd/config.go.
const PLURALS: [(&str, &str); 8] = [
    ("default-address-pool", "default-address-pools"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("registry-mirror", "registry-mirrors"),
];

/// Returns `/etc/default/docker` with what `custom` adds; none if it adds nothing. `below` is what the image has.
pub(super) fn defaults(custom: &Custom, profile: Option<&str>, below: Option<&str>) -> Option<String> {
    let arguments = arguments(custom);
    if profile.is_none() && custom.environment.is_empty() && arguments.is_empty() {
        return None;
    }
    let mut text = below.unwrap_or_default().to_owned();
    for (name, value) in &custom.environment {
        text += &format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
    }
    if !arguments.is_empty() {
        // No argument has a single quote in it.
        text += &format!("DOCKER_OPTS=\"$DOCKER_OPTS \"'{}'\n", arguments.join(" "));
    }
    if let Some(profile) = profile {
        text += &profile.replace('\r', "");
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Some(text)
}

/// Checks that dockerd will take the configuration file beside the arguments of `custom`.
///
/// # Errors
/// Says in words what is wrong and what is allowed.
pub(super) fn check_daemon_json(text: &str, custom: &Custom) -> Result<(), String> {
    let settings: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| format!("{error}; allowed is a JSON object, as dockerd's manual describes it"))?;
    for argument in arguments(custom) {
        let flag = argument.trim_start_matches("--").split('=').next().unwrap_or_default();
        let setting = PLURALS.iter().find(|(single, _)| *single == flag).map_or(flag, |(_, plural)| plural);
        if settings.contains_key(setting) {
            return Err(format!("it sets {setting}, as {argument} does; dockerd allows one of the two"));
        }
    }
    Ok(())
}

fn arguments(custom: &Custom) -> Vec<String> {
    let registries = custom.insecure_registries.iter();
    registries
        .map(|registry| format!("--insecure-registry={registry}"))
        .chain(custom.extra_args.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_shell_code_behind_what_the_image_has() {
        let custom = Custom {
            environment: vec![("HTTP_PROXY".into(), "http://it's:1".into())],
            extra_args: vec!["--label=a=b".into()],
            insecure_registries: vec!["r:5000".into()],
            ..Custom::default()
        };
        let expected = "A=1\nexport HTTP_PROXY='http://it'\\''s:1'\n\
            DOCKER_OPTS=\"$DOCKER_OPTS \"'--insecure-registry=r:5000 --label=a=b'\nDOCKER_TLS=no\nB=2\n";
        assert_eq!(defaults(&custom, Some("DOCKER_TLS=no\r\nB=2"), Some("A=1\n")).as_deref(), Some(expected));
        assert_eq!(defaults(&Custom::default(), None, Some("A=1\n")), None);
    }

    #[test]
    fn a_configuration_file_that_dockerd_would_refuse_is_told() {
        let custom = Custom { insecure_registries: vec!["r".into()], ..Custom::default() };
        for (text, expected) in [
            (r#"{"debug": true}"#, Ok(())),
            (
                r#"{"insecure-registries": []}"#,
                Err(
                    "it sets insecure-registries, as --insecure-registry=r does; dockerd allows one of the two",
                ),
            ),
            (
                "{\n  debug",
                Err(
                    "key must be a string at line 2 column 3; allowed is a JSON object, as dockerd's manual describes it",
                ),
            ),
        ] {
            assert_eq!(check_daemon_json(text, &custom), expected.map_err(str::to_owned), "{text}");
        }
    }
}
