//! A custom image's own defaults for dockerd, which give way to what the user has decided. Pure.
//!
//! dockerd refuses to start when an argument and its configuration file set the same thing, so one of two must go.

use serde_json::{Map, Value};

use crate::profile::Profile;

/// Flags that may be given several times, and what the configuration file calls them; all others have one name.
/// Source: moby cmd/dockerd/config.go, NewNamedListOptsRef and NewNamedMapOpts.
const PLURALS: &[(&str, &str)] = &[
    ("add-runtime", "runtimes"),
    ("authorization-plugin", "authorization-plugins"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
    ("default-address-pool", "default-address-pools"),
    ("default-network-opt", "default-network-opts"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("feature", "features"),
    ("host", "hosts"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("registry-mirror", "registry-mirrors"),
    ("storage-opt", "storage-opts"),
];

/// Returns the custom image's configuration file without what an argument sets: the user's profile, Docker Machine's
/// for instance, has decided about that.
pub fn effective(mut file: Map<String, Value>, arguments: &[String]) -> Map<String, Value> {
    for setting in arguments.iter().filter_map(|argument| setting_of(argument)) {
        file.remove(setting);
    }
    file
}

/// Takes out of the profile those arguments of a custom image about which the user's configuration file has decided.
pub fn give_way(profile: &mut Profile, file: &Map<String, Value>) {
    let own = profile.extra_args.split_off(profile.image_args);
    let mut is_decided = false;
    profile.extra_args.retain(|argument| {
        // What follows a flag without `=` is its value, and shares its fate.
        if argument.starts_with('-') {
            is_decided = setting_of(argument).is_some_and(|setting| file.contains_key(setting));
        }
        !is_decided
    });
    profile.image_args = profile.extra_args.len();
    profile.extra_args.extend(own);
}

/// Returns the configuration file's word for what an argument sets.
fn setting_of(argument: &str) -> Option<&str> {
    let flag = argument.strip_prefix("--")?.split('=').next()?;
    Some(PLURALS.iter().find(|(single, _)| *single == flag).map_or(flag, |(_, plural)| plural))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Evaluated;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn arguments_come_before_the_images_configuration_file() {
        let file = r#"{"insecure-registries": ["a"], "debug": true, "mtu": 1400}"#;
        let left = effective(object(file), &words("--insecure-registry b --mtu=1500 -D --label x=y"));
        assert_eq!(left, object(r#"{"debug": true}"#));
    }

    #[test]
    fn the_users_configuration_file_comes_before_the_images_arguments() {
        let words_of = |name: &str, line| (name.to_owned(), words(line));
        let mut profile = Profile::new(&Evaluated {
            words: [
                words_of("DOCKER_OPTS", "--insecure-registry=a --mtu 1400 --bip=10.0.0.1/8"),
                words_of("EXTRA_ARGS", "--mtu 1500"),
            ]
            .into(),
            ..Evaluated::default()
        });
        give_way(&mut profile, &object(r#"{"insecure-registries": [], "mtu": 9000}"#));
        // EXTRA_ARGS are the user's own business, as they always were.
        assert_eq!(profile.extra_args, words("--bip=10.0.0.1/8 --mtu 1500"));
        assert_eq!(profile.image_args, 1);
    }
}
