//! Decides the machine's name and the files that repeat it. Pure.

use std::path::Path;

use b2d_sys::contract::{CUSTOM_HOSTNAME, DEFAULT_HOSTNAME, HOSTNAME_FILE, NET_STATE_DIR};
use thiserror::Error;

use crate::facts::{KEPT, NameFacts};
use crate::model::{Action, addresses_changed};
use crate::pattern;

/// The kernel's limit. Source: hostname(7), HOST_NAME_MAX.
const NAME_BYTES: usize = 64;

/// Why a name cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name:?} is no host name: letters, digits, '-', '_' and '.', at most 64, a letter or digit first")]
pub struct NameError {
    name: String,
}

/// Returns what to do at boot: the kernel command line's name, else the persistent one, else the one that a custom image's
/// pattern gives, else the default, which is then made persistent. Where there is a pattern, a persistent default counts
/// as none: nobody chose it.
pub fn at_boot(facts: &NameFacts) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut usable = |source: &str, name: Option<&str>| {
        let name = name.map(str::trim).filter(|name| !name.is_empty())?;
        let checked = check(name);
        if let Err(error) = &checked {
            actions.push(Action::Warn { text: format!("{source}: {error}; ignored") });
        }
        checked.is_ok().then(|| name.to_owned())
    };
    let pattern = facts.pattern.as_deref().map(str::trim);
    let by_pattern = pattern.and_then(|pattern| pattern::expand(pattern, facts.card.as_deref()));
    let is_chosen = |name: &&str| pattern.is_none() || name.trim() != DEFAULT_HOSTNAME;
    let chosen = usable("b2d.hostname", facts.on_cmdline.as_deref())
        .or_else(|| usable(HOSTNAME_FILE, facts.on_disk.as_deref().filter(is_chosen)))
        .or_else(|| usable(CUSTOM_HOSTNAME, by_pattern.as_deref()));
    if let (None, Some(pattern)) = (&by_pattern, pattern) {
        let text = format!("{CUSTOM_HOSTNAME}: {pattern:?} needs a network card, and there is none; ignored");
        actions.push(Action::Warn { text });
    }
    if facts.on_disk.is_none() && chosen.is_none() && pattern.is_none() {
        actions.push(Action::Write { path: HOSTNAME_FILE.into(), text: format!("{DEFAULT_HOSTNAME}\n") });
    }
    actions.extend(set(chosen.as_deref().unwrap_or(DEFAULT_HOSTNAME), &facts.hosts));
    actions
}

/// Returns what to do when somebody names the machine; making that last is up to them.
///
/// # Errors
/// When it is no name.
pub fn by_hand(name: &str, facts: &NameFacts) -> Result<Vec<Action>, NameError> {
    check(name)?;
    let mut actions = set(name, &facts.hosts);
    if name != facts.current {
        actions.extend(facts.clients.iter().flat_map(|interface| tell_server(interface)));
        actions.push(addresses_changed());
    }
    Ok(actions)
}

/// A client tells its server the name with which it was started. The address stays while it starts again.
fn tell_server(interface: &str) -> [Action; 2] {
    let client = format!("udhcpc-{interface}");
    let argv = ["/usr/sbin/service", &client, "restart"].map(str::to_owned).into();
    let kept = Path::new(NET_STATE_DIR).join(format!("{interface}.{KEPT}"));
    [Action::Write { path: kept, text: String::new() }, Action::Run { argv, may_fail: true }]
}

fn check(name: &str) -> Result<(), NameError> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_BYTES && name.chars().all(is_fit) {
        Ok(())
    } else {
        Err(NameError { name: name.to_owned() })
    }
}

fn set(name: &str, hosts: &str) -> Vec<Action> {
    vec![
        Action::SetHostname { name: name.to_owned() },
        Action::Write { path: "/etc/hostname".into(), text: format!("{name}\n") },
        Action::Write { path: "/etc/hosts".into(), text: hosts_with(name, hosts) },
    ]
}

/// Returns `/etc/hosts` with our two lines first and the lines of others after them.
fn hosts_with(name: &str, old: &str) -> String {
    let short = name.split('.').next().unwrap_or(name);
    let names = if short == name { name.to_owned() } else { format!("{name} {short}") };
    let mut text = format!("127.0.0.1\t{names} localhost.local localhost\n");
    text += "::1\tlocalhost ip6-localhost ip6-loopback\n";
    let is_ours = |line: &&str| {
        let address = line.split_whitespace().next();
        matches!(address, Some("127.0.0.1" | "::1"))
            && line.split_whitespace().any(|word| word == "localhost")
    };
    for line in old.lines().filter(|line| !is_ours(line)) {
        text += line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(on_cmdline: Option<&str>, on_disk: Option<&str>) -> NameFacts {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        NameFacts { on_cmdline: owned(on_cmdline), on_disk: owned(on_disk), ..NameFacts::default() }
    }

    #[test]
    fn the_most_particular_name_wins() {
        let rows = [
            ("nothing", None, None, "boot2docker", 1, 0),
            ("disk", None, Some("dev\n"), "dev", 0, 0),
            ("empty file", None, Some("\n"), "boot2docker", 0, 0),
            ("command line", Some("alpha"), Some("dev"), "alpha", 0, 0),
            ("command line, no file", Some("alpha"), None, "alpha", 0, 0),
            ("bad command line", Some("-x"), Some("dev"), "dev", 0, 1),
            ("bad file", None, Some("two words"), "boot2docker", 0, 1),
        ];
        for (row, on_cmdline, on_disk, name, seeds, warnings) in rows {
            let actions = at_boot(&facts(on_cmdline, on_disk));
            assert!(actions.contains(&Action::SetHostname { name: name.into() }), "{row}: {actions:?}");
            let seed = Action::Write { path: HOSTNAME_FILE.into(), text: "boot2docker\n".into() };
            assert_eq!(actions.iter().filter(|action| **action == seed).count(), seeds, "{row}");
            let is_warning = |action: &&Action| matches!(action, Action::Warn { .. });
            assert_eq!(actions.iter().filter(is_warning).count(), warnings, "{row}");
        }
    }

    #[test]
    fn a_pattern_names_machines_that_nobody_named() {
        let card = Some("52:54:00:12:34:56");
        let rows = [
            ("nobody named it", None, None, card, "node-123456", 0),
            ("the default of another image", None, Some("boot2docker\n"), card, "node-123456", 0),
            ("disk", None, Some("dev\n"), card, "dev", 0),
            ("command line", Some("alpha"), None, card, "alpha", 0),
            ("no card", None, None, None, "boot2docker", 1),
        ];
        for (row, on_cmdline, on_disk, card, name, warnings) in rows {
            let pattern = Some("node-{mac6}".to_owned());
            let facts = NameFacts { pattern, card: card.map(str::to_owned), ..facts(on_cmdline, on_disk) };
            let actions = at_boot(&facts);
            assert!(actions.contains(&Action::SetHostname { name: name.into() }), "{row}: {actions:?}");
            let is_seed = |action: &Action| matches!(action, Action::Write { path, .. } if path == Path::new(HOSTNAME_FILE));
            assert!(!actions.iter().any(is_seed), "{row}: a later image may bring another pattern");
            let is_warning = |action: &&Action| matches!(action, Action::Warn { .. });
            assert_eq!(actions.iter().filter(is_warning).count(), warnings, "{row}");
        }
    }

    #[test]
    fn a_new_name_is_told_to_dhcp_servers_and_docker() {
        let facts = NameFacts { current: "old".into(), clients: vec!["eth0".into()], ..NameFacts::default() };
        let lines = |name: &str| -> Vec<String> {
            by_hand(name, &facts).unwrap().iter().map(ToString::to_string).collect()
        };
        let same = ["set the host name old", "write /etc/hostname", "write /etc/hosts"];
        assert_eq!(lines("old"), same);
        let told = [
            "write /run/boot2docker/net/eth0.kept",
            "run /usr/sbin/service udhcpc-eth0 restart",
            "start /usr/sbin/docker-setup addresses-changed",
        ];
        assert_eq!(lines("new")[3..], told);
    }

    #[test]
    fn hosts_of_others_are_kept() {
        let old = "127.0.0.1\told localhost.local localhost\n::1 localhost\n10.0.0.5 db\n# note\n";
        let new = "127.0.0.1\ta.b a localhost.local localhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                   10.0.0.5 db\n# note\n";
        assert_eq!(hosts_with("a.b", old), new);
        assert_eq!(hosts_with("a.b", new), new);
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "default", "swarm-1.example.org", "1st", "a_b", &"x".repeat(64)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a\n", "ä", "a/b", &"x".repeat(65)] {
            assert_eq!(check(bad), Err(NameError { name: bad.into() }), "{bad}");
        }
    }
}
