//! Decides how an interface gets its address: fixed by the user, or by DHCP. Pure.

use std::fmt::Display;
use std::net::Ipv4Addr;

use thiserror::Error;

use crate::facts::{InterfaceFacts, NetFacts};
use crate::lease::Variables;
use crate::model::Action;
use crate::plan::{self, Event};

/// Keys of a fixed address, and the variable of a lease that each stands for.
const KEYS: [(&str, &str); 6] = [
    ("gateway", "router"),
    ("dns", "dns"),
    ("search", "search"),
    ("ntp", "ntpsrv"),
    ("mtu", "mtu"),
    ("routes", "staticroutes"),
];

/// What is wrong with a fixed address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FixedError {
    /// A word is not of the form `key=value`, or its key is unknown.
    #[error("{place}: {word:?} is not understood; known are address, gateway, dns, search, ntp, mtu, routes")]
    Word {
        /// File and line, or kernel option.
        place: String,
        /// The word.
        word: String,
    },
    /// There is no usable address.
    #[error("{place}: {address:?} is no address such as 192.168.99.50/24")]
    Address {
        /// File, or kernel option.
        place: String,
        /// What is there instead.
        address: String,
    },
}

/// Returns what gives the interface its address. A fixed address that is not understood, or that another machine has, is
/// said, and DHCP asked instead: a machine that can be reached can be repaired.
pub fn plan(interface: &str, facts: &InterfaceFacts, net: &NetFacts) -> Vec<Action> {
    let fixed = fixed(interface, facts).and_then(|told| match told {
        Some(told) => {
            plan::plan(Event::Bound, &told, net).map(|actions| Some((told, actions))).map_err(|error| {
                FixedError::Address {
                    place: facts.in_file.as_ref().map_or("b2d.ip", |(place, _)| place).to_owned(),
                    address: format!("{:#}", anyhow::Error::from(error)),
                }
            })
        }
        None => Ok(None),
    });
    let instead = |why: &dyn Display| {
        let warning = Action::Warn { text: format!("{why}; asking DHCP instead") };
        [vec![warning], dhcp(interface, facts)].concat()
    };
    match fixed {
        Ok(Some((told, actions))) => {
            let is_set = net.leases.get(interface).is_some_and(|lease| lease.get("ip") == told.get("ip"));
            let address = told.get("ip").filter(|_| !is_set).and_then(|ip| ip.parse().ok());
            let ask = address.map(|address| Action::UnlessTaken {
                interface: interface.to_owned(),
                address,
                otherwise: instead(&format!("{interface}: another machine has the address {address}")),
            });
            ask.into_iter().chain(actions).collect()
        }
        Ok(None) => dhcp(interface, facts),
        Err(error) => instead(&error),
    }
}

fn dhcp(interface: &str, facts: &InterfaceFacts) -> Vec<Action> {
    if facts.is_dhcp_off {
        return vec![];
    }
    let pid_file = format!("/var/run/udhcpc.{interface}.pid");
    let hostname = format!("hostname:{}", facts.hostname);
    // A try a second at first, then rounds for ever. An address is asked for on the wire before it is taken.
    let mut argv = vec!["/sbin/udhcpc", "-f", "-i", interface, "-p", &pid_file];
    argv.extend(["-s", "/usr/sbin/net-setup", "-x", &hostname]);
    argv.extend(["-O", "staticroutes", "-O", "search", "-O", "ntpsrv", "-O", "mtu"]);
    argv.extend(["-t", "8", "-T", "1", "-A", "5", "-a100"]);
    vec![Action::Become { argv: argv.into_iter().map(str::to_owned).collect() }]
}

/// Returns the fixed address as the variables of a lease; the kernel command line's comes before the file's.
fn fixed(interface: &str, facts: &InterfaceFacts) -> Result<Option<Variables>, FixedError> {
    let on_cmdline = facts.on_cmdline.iter().rev().find_map(|value| {
        let (name, rest) = value.split_once(',')?;
        (name == interface).then_some(rest)
    });
    if let Some(rest) = on_cmdline {
        let words = rest.split(',').map(|word| {
            let word = if word.contains('=') { word.to_owned() } else { format!("address={word}") };
            ("b2d.ip".to_owned(), word)
        });
        return variables(interface, "b2d.ip", words).map(Some);
    }
    let Some((file, text)) = &facts.in_file else { return Ok(None) };
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let lines = lines.map(|(number, line)| (number + 1, line.split('#').next().unwrap_or_default().trim()));
    let words = lines.filter(|(_, line)| !line.is_empty());
    variables(interface, file, words.map(|(number, line)| (format!("{file}:{number}"), line.to_owned())))
        .map(Some)
}

/// Repeated keys add up: two `dns` are two name servers.
fn variables(
    interface: &str,
    place: &str,
    words: impl Iterator<Item = (String, String)>,
) -> Result<Variables, FixedError> {
    let mut told = Variables::from([("interface".to_owned(), interface.to_owned())]);
    let mut address = String::new();
    for (place, word) in words {
        let bad = || FixedError::Word { place: place.clone(), word: word.clone() };
        let (key, value) =
            word.split_once('=').map(|(key, value)| (key.trim(), value.trim())).ok_or_else(bad)?;
        let value = value.trim_matches(['"', '\'']).replace(',', " ");
        if key == "address" {
            address = value;
            continue;
        }
        let (_, variable) = KEYS.into_iter().find(|(known, _)| *known == key).ok_or_else(bad)?;
        let entry = told.entry(variable.to_owned()).or_default();
        if !entry.is_empty() {
            entry.push(' ');
        }
        entry.push_str(&value);
    }
    let bad = || FixedError::Address { place: place.to_owned(), address: address.clone() };
    let (ip, prefix) = address.split_once('/').ok_or_else(bad)?;
    ip.parse::<Ipv4Addr>().map_err(|_| bad())?;
    prefix.parse::<u8>().ok().filter(|bits| (1..=32).contains(bits)).ok_or_else(bad)?;
    told.insert("ip".to_owned(), ip.to_owned());
    told.insert("mask".to_owned(), prefix.to_owned());
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(on_cmdline: &[&str], on_disk: Option<&str>) -> InterfaceFacts {
        InterfaceFacts {
            on_cmdline: on_cmdline.iter().map(|&value| value.to_owned()).collect(),
            in_file: on_disk
                .map(|text| ("/var/lib/boot2docker/etc/network/eth1".to_owned(), text.to_owned())),
            is_dhcp_off: false,
            hostname: "dev".into(),
        }
    }

    fn lines(facts: &InterfaceFacts) -> Vec<String> {
        let net = NetFacts { fallback: Some("nameserver 9.9.9.9\n".into()), ..NetFacts::default() };
        plan("eth1", facts, &net).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_fixed_address_is_set_like_a_lease() {
        let file = "\u{feff}# office\r\naddress = 192.168.99.50/24\r\ngateway=192.168.99.1 # router\r\n\
                    dns=192.168.99.1\r\ndns=\"1.1.1.1\"\r\nmtu=1400\r\n";
        let option = "eth1,192.168.99.50/24,gateway=192.168.99.1,dns=192.168.99.1,dns=1.1.1.1,mtu=1400";
        let expected = [
            "unless 192.168.99.50 is taken on eth1; then warn: eth1: another machine has the address 192.168.99.50; \
             asking DHCP instead, become /sbin/udhcpc -f -i eth1 -p /var/run/udhcpc.eth1.pid -s /usr/sbin/net-setup \
             -x hostname:dev -O staticroutes -O search -O ntpsrv -O mtu -t 8 -T 1 -A 5 -a100, and no more",
            "run /sbin/ip link set dev eth1 mtu 1400",
            "run /sbin/ip -4 address replace 192.168.99.50/24 broadcast + dev eth1 metric 100",
            "run /sbin/ip -4 route replace default via 192.168.99.1 dev eth1 metric 100",
            "write /run/boot2docker/net/eth1.lease",
            "write /etc/resolv.conf",
            "note: eth1: address 192.168.99.50/24",
            "start /usr/sbin/docker-setup addresses-changed",
        ];
        assert_eq!(lines(&facts(&[], Some(file))), expected);
        assert_eq!(lines(&facts(&["eth0,10.0.0.1/8", option], Some("address=10.0.0.9/8"))), expected);
    }

    #[test]
    fn an_address_that_is_set_already_is_not_asked_for_again() {
        let rows = [("192.168.99.50", false), ("192.168.99.51", true)];
        for (former, is_asked) in rows {
            let lease =
                Variables::from([("ip".to_owned(), former.to_owned()), ("mask".to_owned(), "24".to_owned())]);
            let net = NetFacts { leases: [("eth1".to_owned(), lease)].into(), ..NetFacts::default() };
            let actions = plan("eth1", &facts(&["eth1,192.168.99.50/24"], None), &net);
            assert_eq!(matches!(actions[0], Action::UnlessTaken { .. }), is_asked, "{former}");
        }
    }

    #[test]
    fn without_one_dhcp_is_asked_unless_it_is_off() {
        let udhcpc = "become /sbin/udhcpc -f -i eth1 -p /var/run/udhcpc.eth1.pid -s /usr/sbin/net-setup \
                      -x hostname:dev -O staticroutes -O search -O ntpsrv -O mtu -t 8 -T 1 -A 5 -a100";
        assert_eq!(lines(&facts(&["eth0,10.0.0.1/8"], None)), [udhcpc]);
        let off = InterfaceFacts { is_dhcp_off: true, ..facts(&[], None) };
        assert_eq!(lines(&off), [] as [&str; 0]);
    }

    #[test]
    fn mistakes_are_named_and_dhcp_is_asked() {
        let place = "/var/lib/boot2docker/etc/network/eth1";
        let known = "is not understood; known are address, gateway, dns, search, ntp, mtu, routes";
        let rows = [
            ("address=10.0.0.1/8\nadress=x\n", format!("{place}:2: \"adress=x\" {known}")),
            ("10.0.0.1/8\n", format!("{place}:1: \"10.0.0.1/8\" {known}")),
            ("", format!("{place}: \"\" is no address such as 192.168.99.50/24")),
            ("address=10.0.0.1\n", format!("{place}: \"10.0.0.1\" is no address such as 192.168.99.50/24")),
            (
                "address=10.0.0.1/33\n",
                format!("{place}: \"10.0.0.1/33\" is no address such as 192.168.99.50/24"),
            ),
            (
                "address=10.0.0.1/8\ngateway=there\n",
                format!(
                    "{place}: \"lease of eth1: router: \\\"there\\\" cannot be understood\" is no address such as \
                     192.168.99.50/24"
                ),
            ),
        ];
        for (text, error) in rows {
            let lines = lines(&facts(&[], Some(text)));
            assert_eq!(lines[0], format!("warn: {error}; asking DHCP instead"), "{text}");
            assert!(lines[1].starts_with("become /sbin/udhcpc"), "{text}");
        }
    }
}
