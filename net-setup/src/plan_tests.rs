use super::*;
use crate::lease::read_state;

const NAT: &str = "interface=eth0\nip=10.0.2.15\nmask=24\nrouter=10.0.2.2\ndns=10.0.2.3\ndomain=lan\n";
const HOST_ONLY: &str = "interface=eth1\nip=192.168.99.100\nmask=24\n";

fn facts(leases: &[&str]) -> NetFacts {
    let leases = leases.iter().map(|text| read_state(text));
    let leases = leases.map(|told| (told["interface"].clone(), told)).collect();
    NetFacts { leases, fallback: Some("nameserver 9.9.9.9\n".into()) }
}

/// Returns the plan as lines; a written file's content follows its name.
fn lines(event: Event, told: &str, facts: &NetFacts) -> Vec<String> {
    let text = |action: &Action| match action {
        Action::Write { path, text } if path == &PathBuf::from(RESOLV_CONF) => text.replace('\n', ";"),
        Action::Run { argv, .. } => argv[1..].join(" "),
        other => other.to_string(),
    };
    plan(event, &read_state(told), facts).unwrap().iter().map(text).collect()
}

#[test]
fn events_change_what_they_should() {
    let state = |interface: &str| format!("write /run/boot2docker/net/{interface}.lease");
    let rows: Vec<(&str, Event, &str, NetFacts, Vec<String>)> = vec![
        (
            "start",
            Event::Deconfig,
            NAT,
            facts(&[]),
            vec!["-4 address flush dev eth0".into(), "link set dev eth0 up".into()],
        ),
        (
            "first lease",
            Event::Bound,
            NAT,
            facts(&[]),
            vec![
                "-4 address replace 10.0.2.15/24 broadcast + dev eth0".into(),
                "-4 route replace default via 10.0.2.2 dev eth0 metric 0".into(),
                state("eth0"),
                "search lan;nameserver 10.0.2.3;".into(),
            ],
        ),
        (
            "host-only lease keeps name servers",
            Event::Bound,
            HOST_ONLY,
            facts(&[NAT]),
            vec![
                "-4 address replace 192.168.99.100/24 broadcast + dev eth1".into(),
                state("eth1"),
                "search lan;nameserver 10.0.2.3;".into(),
            ],
        ),
        (
            "no name servers at all",
            Event::Bound,
            HOST_ONLY,
            facts(&[]),
            vec![
                "-4 address replace 192.168.99.100/24 broadcast + dev eth1".into(),
                state("eth1"),
                "nameserver 9.9.9.9;".into(),
            ],
        ),
        (
            "lost lease",
            Event::Deconfig,
            NAT,
            facts(&[NAT, HOST_ONLY]),
            vec![
                "-4 address flush dev eth0".into(),
                "link set dev eth0 up".into(),
                "remove /run/boot2docker/net/eth0.lease".into(),
                "nameserver 9.9.9.9;".into(),
            ],
        ),
        (
            "nobody answers",
            Event::LeaseFail,
            NAT,
            facts(&[]),
            vec!["warn: eth0: no DHCP server answers; asking on".into()],
        ),
        (
            "refused",
            Event::Nak,
            NAT,
            facts(&[]),
            vec!["warn: eth0: the DHCP server refuses the address: no reason given".into()],
        ),
    ];
    for (name, event, told, facts, expected) in rows {
        assert_eq!(lines(event, told, &facts), expected, "{name}");
    }
}

#[test]
fn a_changed_lease_takes_old_routes_along() {
    let new = "interface=eth0\nip=10.0.2.16\nmask=24\nrouter=10.0.9.1\nmtu=1400\nntpsrv=10.0.2.4\n";
    let expected = [
        "link set dev eth0 mtu 1400",
        "-4 address replace 10.0.2.16/24 broadcast + dev eth0",
        "-4 address del 10.0.2.15/24 dev eth0",
        "-4 route del default via 10.0.2.2 dev eth0 metric 0",
        "-4 route replace default via 10.0.9.1 dev eth0 metric 0 onlink",
        "write /run/boot2docker/net/eth0.lease",
        "nameserver 9.9.9.9;",
        "write /run/chrony-dhcp/eth0.sources",
        "reload sources",
    ];
    assert_eq!(lines(Event::Renew, new, &facts(&[NAT])), expected);
}

#[test]
fn several_ways_out_have_metrics_of_their_own() {
    let second = "interface=eth1\nip=10.1.0.5\nmask=16\nrouter=10.1.0.1 10.1.0.2\ndns=10.1.0.1 10.0.2.3\n";
    let lines = lines(Event::Bound, second, &facts(&[NAT]));
    assert_eq!(lines[1], "-4 route replace default via 10.1.0.1 dev eth1 metric 100");
    assert_eq!(lines[2], "-4 route replace default via 10.1.0.2 dev eth1 metric 101");
    assert_eq!(lines[4], "search lan;nameserver 10.0.2.3;nameserver 10.1.0.1;");
}

#[test]
fn bad_calls_are_told_by_name() {
    let call =
        |told: &str| plan(Event::Bound, &read_state(told), &NetFacts::default()).unwrap_err().to_string();
    assert_eq!(call(""), r#"interface: "" is no interface"#);
    assert_eq!(call("interface=../x"), r#"interface: "../x" is no interface"#);
    assert_eq!(call("interface=eth0"), "lease of eth0");
}
