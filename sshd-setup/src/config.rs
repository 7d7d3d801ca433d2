//! Decides between the `sshd_config` of the image and that on the data disk, and brings one that an older release left
//! there up to what this sshd needs. Pure.

/// The configuration that our images have, if nobody has put another one there. sshd is known to accept it, and to ask it again
/// would be a third of the time until it listens.
pub const SHIPPED: &str = include_str!("../../rootfs/files/usr/local/etc/ssh/sshd_config");

/// Where a configuration without HostKey lines would not look: this sshd was built for `/etc/ssh`.
const HOST_KEYS: &str = "/usr/local/etc/ssh/ssh_host_ed25519_key
HostKey /usr/local/etc/ssh/ssh_host_ecdsa_key
HostKey /usr/local/etc/ssh/ssh_host_rsa_key";
/// Settings without which Docker Machine or drivers fail. A configuration that has the keyword keeps its own value.
const NEEDED: &[(&str, &str)] = &[
    ("HostKey", HOST_KEYS),
    ("HostKeyAlgorithms", "+ssh-rsa"),
    ("PubkeyAcceptedAlgorithms", "+ssh-rsa"),
    ("PerSourcePenalties", "no"),
    ("MaxStartups", "200:30:400"),
    ("UseDNS", "no"),
    ("PermitUserEnvironment", "yes"),
    ("Subsystem", "sftp internal-sftp"),
];
/// Older spelling of a keyword. Source: OpenSSH `servconf.c`.
const ALIASES: &[(&str, &str)] = &[("PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms")];
/// The one external sftp server there is; older releases had it elsewhere.
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";
const HEADING: &str = "# Added by boot2docker because the lines below did not say:";

/// Whose configuration sshd gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The image's, which is stored from now on.
    Image,
    /// The stored one.
    Stored {
        /// The image has another one than the image before it, which somebody has to be told.
        is_image_new: bool,
    },
}

/// Returns whose configuration sshd gets: that on the data disk, once somebody has changed it.
///
/// `former` is what the image had that `stored` comes from or was last compared with; a disk of a release that did not keep
/// it has None, and then whoever wrote `stored` may have meant it.
pub fn choose(image: &[u8], stored: Option<&[u8]>, former: Option<&[u8]>) -> Choice {
    match stored {
        None => Choice::Image,
        Some(stored) if stored == image || former == Some(image) => Choice::Stored { is_image_new: false },
        Some(stored) if former == Some(stored) => Choice::Image,
        Some(_) => Choice::Stored { is_image_new: true },
    }
}

/// Returns the configuration with what is missing put before it, or None if nothing is missing.
///
/// Before, because sshd takes the first value it meets, and lines at the end may belong to a Match block.
pub fn complete(text: &str) -> Option<String> {
    let body: String = text.split_inclusive('\n').map(with_known_sftp_server).collect();
    let missing: Vec<&(&str, &str)> = NEEDED.iter().filter(|(keyword, _)| !has(&body, keyword)).collect();
    if missing.is_empty() {
        return (body != text).then_some(body);
    }
    let added: String = missing.iter().map(|(keyword, value)| format!("{keyword} {value}\n")).collect();
    Some(format!("{HEADING}\n{added}\n{body}"))
}

fn with_known_sftp_server(line: &str) -> String {
    let mut words = line.split_whitespace();
    let is_sftp = words.next().is_some_and(|word| word.eq_ignore_ascii_case("Subsystem"))
        && words.next().is_some_and(|word| word.eq_ignore_ascii_case("sftp"));
    match words.next() {
        Some(path) if is_sftp && path.starts_with('/') && path != SFTP_SERVER => {
            line.replace(path, "internal-sftp")
        }
        _ => line.to_owned(),
    }
}

/// Tells whether a keyword is set outside Match blocks.
fn has(text: &str, keyword: &str) -> bool {
    text.lines()
        .map(keyword_of)
        .take_while(|word| !word.eq_ignore_ascii_case("Match"))
        .any(|word| word.eq_ignore_ascii_case(keyword))
}

fn keyword_of(line: &str) -> &str {
    let word = line.trim_start().split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
    let alias = ALIASES.iter().find(|(old, _)| old.eq_ignore_ascii_case(word));
    alias.map_or(word, |(_, keyword)| keyword)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_configuration_is_complete() {
        assert_eq!(complete(SHIPPED), None);
    }

    /// Name, stored configuration, the former image's, whose is used.
    type Row = (&'static str, Option<&'static str>, Option<&'static str>, Choice);

    #[test]
    fn only_a_changed_configuration_outlives_its_image() {
        let stored = |is_image_new| Choice::Stored { is_image_new };
        let rows: [Row; 9] = [
            ("first boot", None, None, Choice::Image),
            ("lost", None, Some("new"), Choice::Image),
            ("same image", Some("new"), Some("new"), stored(false)),
            ("same image, changed by somebody", Some("mine"), Some("new"), stored(false)),
            ("new image, never changed", Some("old"), Some("old"), Choice::Image),
            ("new image, changed by somebody", Some("mine"), Some("old"), stored(true)),
            ("of a release that remembers nothing", Some("old"), None, stored(true)),
            ("brought up to date by hand", Some("new"), Some("old"), stored(false)),
            ("nothing remembered, but the same", Some("new"), None, stored(false)),
        ];
        for (name, kept, former, expected) in rows {
            assert_eq!(
                choose(b"new", kept.map(str::as_bytes), former.map(str::as_bytes)),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn missing_settings_come_first() {
        let old = "# old\nusedns=yes\nPubkeyAcceptedKeyTypes *\nSubsystem sftp /usr/local/libexec/sftp-server -u 2\n\
                   Match User x\nMaxStartups 1\n";
        let expected = format!(
            "{HEADING}\nHostKey {HOST_KEYS}\nHostKeyAlgorithms +ssh-rsa\nPerSourcePenalties no\n\
             MaxStartups 200:30:400\nPermitUserEnvironment yes\n\n# old\nusedns=yes\nPubkeyAcceptedKeyTypes *\n\
             Subsystem sftp internal-sftp -u 2\nMatch User x\nMaxStartups 1\n"
        );
        let completed = complete(old).unwrap();
        assert_eq!(completed, expected);
        assert_eq!(complete(&completed), None);
    }

    #[test]
    fn only_the_sftp_server_is_replaced_when_nothing_else_is_missing() {
        let old = SHIPPED.replace("internal-sftp", "/usr/local/lib/openssh/sftp-server");
        assert_eq!(complete(&old).unwrap(), SHIPPED);
        assert_eq!(complete(&SHIPPED.replace("internal-sftp", SFTP_SERVER)), None);
    }
}
