use super::*;
use crate::lease::read_state;

const NAT: &str = "interface=eth0\nip=10.0.2.15\nmask=24\nrouter=10.0.2.2\ndns=10.0.2.3\ndomain=lan\n";
const HOST_ONLY: &str = "interface=eth1\nip=192.168.99.100\nmask=24\n";

fn facts(leases: &[&str]) -> NetFacts {
    let leases = leases.iter().map(|text| read_state(text));
    let leases = leases.map(|told| (told["interface"].clone(), told)).collect();
    NetFacts { leases, fallback: Some("nameserver 9.9.9.9\n".into()), ..NetFacts::default() }
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
    let changed = "start /usr/sbin/docker-setup addresses-changed";
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
                "note: eth0: address 10.0.2.15/24".into(),
                changed.into(),
            ],
        ),
        (
            "host-only lease keeps name servers",
            Event::Bound,
            HOST_ONLY,
            facts(&[NAT]),
            vec![
                "-4 address replace 192.168.99.100/24 broadcast + dev eth1 metric 100".into(),
                state("eth1"),
                "search lan;nameserver 10.0.2.3;".into(),
                "note: eth1: address 192.168.99.100/24".into(),
                changed.into(),
            ],
        ),
        (
            "no name servers at all",
            Event::Bound,
            HOST_ONLY,
            facts(&[]),
            vec![
                "-4 address replace 192.168.99.100/24 broadcast + dev eth1 metric 100".into(),
                state("eth1"),
                "nameserver 9.9.9.9;".into(),
                "note: eth1: address 192.168.99.100/24".into(),
                changed.into(),
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
                "note: eth0: the lease is lost".into(),
                "remove /run/boot2docker/net/eth0.lease".into(),
                "nameserver 9.9.9.9;".into(),
                changed.into(),
            ],
        ),
        (
            "nobody answers",
            Event::LeaseFail,
            NAT,
            facts(&[]),
            vec![
                "warn: eth0: no DHCP server answers; asking on".into(),
                "write /run/boot2docker/net/eth0.unanswered".into(),
            ],
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
        "-4 address del 10.0.2.15/24 dev eth0",
        "-4 address replace 10.0.2.16/24 broadcast + dev eth0",
        "-4 route del default via 10.0.2.2 dev eth0 metric 0",
        "-4 route replace default via 10.0.9.1 dev eth0 metric 0 onlink",
        "write /run/boot2docker/net/eth0.lease",
        "nameserver 9.9.9.9;",
        "write /run/boot2docker/ntp/eth0.sources",
        "start /usr/bin/chronyc reload sources",
        "note: eth0: address 10.0.2.16/24",
        "start /usr/sbin/docker-setup addresses-changed",
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

#[test]
fn a_renewed_lease_changes_nothing_and_nobody_is_told() {
    let expected = [
        "-4 address replace 10.0.2.15/24 broadcast + dev eth0",
        "-4 route replace default via 10.0.2.2 dev eth0 metric 0",
        "write /run/boot2docker/net/eth0.lease",
        "search lan;nameserver 10.0.2.3;",
    ];
    assert_eq!(lines(Event::Renew, NAT, &facts(&[NAT])), expected);
}

#[test]
fn a_client_that_begins_afresh_for_a_name_keeps_its_address() {
    let kept = NetFacts { kept: ["eth0".to_owned()].into(), ..facts(&[NAT]) };
    assert_eq!(lines(Event::Deconfig, NAT, &kept), ["remove /run/boot2docker/net/eth0.kept"]);
    assert_eq!(lines(Event::Deconfig, HOST_ONLY, &kept).len(), 2, "another interface does not");
}

#[test]
fn silence_is_told_once_and_an_answer_ends_it() {
    let silent = NetFacts { unanswered: ["eth0".to_owned()].into(), ..facts(&[]) };
    assert_eq!(lines(Event::LeaseFail, NAT, &silent), [] as [&str; 0]);
    let bound = lines(Event::Bound, NAT, &silent);
    assert!(bound.contains(&"remove /run/boot2docker/net/eth0.unanswered".to_owned()), "{bound:?}");
}

#[test]
fn a_directory_in_the_place_of_resolv_conf_makes_room() {
    let facts = NetFacts { is_resolv_conf_in_the_way: true, ..facts(&[]) };
    let lines = lines(Event::Bound, NAT, &facts);
    assert_eq!(lines[3..5], ["set /etc/resolv.conf aside", "search lan;nameserver 10.0.2.3;"]);
}
