//! What single values of a configuration may look like.

use std::net::{IpAddr, Ipv4Addr};

use toml::Spanned;

use super::raw::RawCard;
use crate::document::{Located, Mistake, Place, Source};

/// Beginnings of the types of public keys. Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
const KEY_TYPES: [&str; 3] = ["ssh-", "ecdsa-sha2-", "sk-"];

/// Longest host name. Source: hostname(7), HOST_NAME_MAX.
const NAME_BYTES: usize = 64;

/// Smallest MTU that IPv4 allows, and the largest there is. Source: RFC 791.
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;

pub(super) fn check_key(key: &Located<String>) -> Result<(), Mistake> {
    let words: Vec<&str> = key.value.split(' ').collect();
    let is_type = |word: &str| KEY_TYPES.iter().any(|kind| word.starts_with(kind));
    // Options may come first. Every type's name in base64, with its length before it, begins with AAAA.
    let is_key = words.windows(2).any(|pair| is_type(pair[0]) && pair[1].starts_with("AAAA"));
    if is_key && !key.value.contains(['\n', '\r']) {
        return Ok(());
    }
    Err(key.mistake(format!(
        "{:?} is no public key; allowed is one line as in ~/.ssh/id_ed25519.pub, such as `ssh-ed25519 AAAA... me`",
        key.value
    )))
}

pub(super) fn check_hash(hash: &Located<String>) -> Result<(), Mistake> {
    if hash.value.starts_with('$') && !hash.value.contains([':', '\n', ' ']) {
        return Ok(());
    }
    // Not the value: it may be the password itself.
    Err(hash
        .mistake("password is no hash; allowed is what `openssl passwd -6` prints, which begins with `$`"))
}

pub(super) fn check_argument(argument: &Located<String>) -> Result<(), Mistake> {
    let is_flag = argument.value.starts_with("--") && argument.value.len() > 2;
    if is_flag && !argument.value.contains(|c: char| c.is_whitespace() || c == '\'') {
        return Ok(());
    }
    Err(argument.mistake(format!(
        "{:?} is no argument; allowed is `--flag` or `--flag=value`, without blanks and quotes",
        argument.value
    )))
}

pub(super) fn check_registry(registry: &Located<String>) -> Result<(), Mistake> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '/' | '[' | ']' | '_');
    if !registry.value.is_empty() && registry.value.chars().all(is_fit) && !registry.value.contains("//") {
        return Ok(());
    }
    Err(registry.mistake(format!(
        "{:?} is no registry; allowed is HOST:PORT or a network such as 10.0.0.0/8, without http://",
        registry.value
    )))
}

pub(super) fn check_variable_name(name: &str, place: &Place) -> Result<(), Mistake> {
    let is_fit = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_fit && name.starts_with(|c: char| !c.is_ascii_digit()) {
        return Ok(());
    }
    Err(place
        .mistake(format!("{name:?} is no variable; allowed are letters, digits and `_`, no digit first")))
}

pub(super) fn check_variable(value: &Located<String>) -> Result<(), Mistake> {
    if value.value.contains(['\n', '\r', '\0']) {
        return Err(value.mistake("the value of a variable has more than one line; allowed is one"));
    }
    Ok(())
}

pub(super) fn check_pattern(pattern: &Located<String>) -> Result<(), Mistake> {
    let name = pattern.value.replace("{mac}", "000000000000").replace("{mac6}", "000000");
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_BYTES && name.chars().all(is_fit) {
        return Ok(());
    }
    Err(pattern.mistake(format!(
        "{:?} gives no host name; allowed are letters, digits, '-', '_', '.', {{mac}} and {{mac6}}, at most 64 in all, a \
         letter or digit first",
        pattern.value
    )))
}

pub(super) fn check_append(append: &Located<String>) -> Result<(), Mistake> {
    // What GRUB's shell would take for its own.
    const NOT_PLAIN: [char; 13] = ['\n', '\r', '"', '\'', '\\', '$', ';', '&', '|', '<', '>', '{', '}'];
    if append.value.contains(NOT_PLAIN) || append.value.trim().is_empty() {
        let message = format!(
            "append is {:?}; allowed is one line without any of \" ' \\ $ ; & | < > {{ }}",
            append.value
        );
        return Err(append.mistake(message));
    }
    Ok(())
}

/// Returns the card's name in small letters, and the lines of its file in the words of docs/network.md.
pub(super) fn card(name: String, card: RawCard, source: &Source<'_>) -> Result<(String, String), Mistake> {
    let address = source.locate(card.address);
    if !is_card(&name) {
        return Err(address.mistake(format!(
            "network.{name} is no card; allowed are eth0, eth1, ... and hardware addresses such as \"52:54:00:12:34:56\""
        )));
    }
    let mut text = format!("address={}\n", address.value);
    if !is_network(&address.value) {
        return Err(address.mistake(format!(
            "address is {:?}; allowed is an IPv4 address with the length of its prefix, such as 192.168.99.50/24",
            address.value
        )));
    }
    let mut add = |key: &str, values: Vec<Spanned<String>>, is_fit: fn(&str) -> bool, allowed: &str| {
        for value in source.locate_all(values) {
            if !is_fit(&value.value) {
                return Err(value.mistake(format!("{key} has {:?}; allowed is {allowed}", value.value)));
            }
            text += &format!("{key}={}\n", value.value);
        }
        Ok(())
    };
    add("gateway", card.gateway, |text| text.parse::<Ipv4Addr>().is_ok(), "an IPv4 address")?;
    add("dns", card.dns, |text| text.parse::<IpAddr>().is_ok(), "an IP address")?;
    add("search", card.search, is_name, "a domain")?;
    add("ntp", card.ntp, is_name, "a name or an IP address")?;
    add("routes", card.routes, is_route, "a network and its router, such as \"10.0.0.0/8 192.168.99.2\"")?;
    if let Some(mtu) = card.mtu.map(|mtu| source.locate(mtu)) {
        if !MTU.contains(&mtu.value) {
            return Err(mtu.mistake(format!(
                "mtu is {}; allowed is {} to {}",
                mtu.value,
                MTU.start(),
                MTU.end()
            )));
        }
        text += &format!("mtu={}\n", mtu.value);
    }
    Ok((name.to_ascii_lowercase(), text))
}

fn is_card(name: &str) -> bool {
    let bytes: Vec<&str> = name.split(':').collect();
    let is_byte = |byte: &&str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("eth").is_some_and(is_number) || bytes.len() == 6 && bytes.iter().all(is_byte)
}

fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    address.parse::<Ipv4Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| (1..=32).contains(&bits))
}

fn is_name(text: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    !text.is_empty() && text.chars().all(is_fit)
}

/// `0.0.0.0/0` is a network here: the way to everywhere.
fn is_route(text: &str) -> bool {
    let Some((network, router)) = text.split_once(' ') else { return false };
    (is_network(network) || network == "0.0.0.0/0") && router.parse::<Ipv4Addr>().is_ok()
}
