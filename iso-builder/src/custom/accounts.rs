//! Who may log in and how: the image's own files, changed. Pure.

/// Matches no password. Not `!`, with which sshd takes the whole account for locked, keys included.
/// Source: OpenSSH platform.c, platform_locked_account(); shadow(5).
const NO_PASSWORD: &str = "*";

/// The user that people log in as.
const USER: &str = "docker";

/// sshd's word for it.
const PASSWORD_LOGIN: &str = "PasswordAuthentication";

/// Returns `/etc/shadow` with another hash for user docker, or none that any password has.
pub(super) fn shadow_with(shadow: &str, hash: Option<&str>) -> String {
    let changed = shadow.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let [USER, old, ..] = &mut fields[..] {
            *old = hash.unwrap_or(NO_PASSWORD);
        }
        fields.join(":") + "\n"
    });
    changed.collect()
}

/// Returns `sshd_config` with password logins on or off.
pub(super) fn sshd_config_with(config: &str, is_on: bool) -> String {
    let is_it = |line: &&str| {
        line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(PASSWORD_LOGIN))
    };
    let line = format!("{PASSWORD_LOGIN} {}\n", if is_on { "yes" } else { "no" });
    // sshd takes the first value it meets.
    let others = config.lines().filter(|line| !is_it(line)).flat_map(|line| [line, "\n"]);
    std::iter::once(line.as_str()).chain(others).collect()
}

/// Returns a list of keys with those of `more` that it does not have.
pub(super) fn keys_with<'a>(keys: &str, more: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<&str> = keys.lines().collect();
    for key in more.map(str::trim) {
        if !lines.contains(&key) {
            lines.push(key);
        }
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// Returns the numbers of `USER:GROUP`, each a name or a number. None if one is unknown.
pub(super) fn owner(text: &str, passwd: &str, group: &str) -> Option<(u32, u32)> {
    let (user, group_name) = text.split_once(':')?;
    Some((number_of(user, passwd)?, number_of(group_name, group)?))
}

/// Returns the names in `passwd` or `group`.
pub(super) fn names(table: &str) -> String {
    let names: Vec<&str> = table.lines().filter_map(|line| line.split(':').next()).collect();
    names.join(", ")
}

/// Source: passwd(5), group(5): in both the third field is the number.
fn number_of(name: &str, table: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let line = table.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_changed_and_nothing_else() {
        let shadow = "root:*:17524:0:99999:7:::\ndocker:$6$x$y:17524:0:99999:7:::\n";
        for (hash, expected) in [(Some("$6$a$b"), "$6$a$b"), (None, "*")] {
            let changed = shadow.replace("$6$x$y", expected);
            assert_eq!(shadow_with(shadow, hash), changed);
        }
    }

    #[test]
    fn password_logins_are_switched_before_any_match_block() {
        let config = "UsePAM no\n  passwordauthentication yes\nMatch User x\n";
        assert_eq!(sshd_config_with(config, false), "PasswordAuthentication no\nUsePAM no\nMatch User x\n");
        assert_eq!(sshd_config_with("", true), "PasswordAuthentication yes\n");
    }

    #[test]
    fn owners_are_names_or_numbers() {
        let (passwd, group) = ("root:x:0:0::/:\ndocker:x:1000:50::/:\n", "root:x:0:\nstaff:x:50:\n");
        for (text, expected) in [
            ("docker:staff", Some((1000, 50))),
            ("0:staff", Some((0, 50))),
            ("7:8", Some((7, 8))),
            ("staff:docker", None),
            ("docker", None),
        ] {
            assert_eq!(owner(text, passwd, group), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_added_once() {
        assert_eq!(keys_with("a\nb", ["b", "c ", "c"].into_iter()), "a\nb\nc\n");
    }
}
