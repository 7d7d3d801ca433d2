//! Decides what a DHCP event changes: addresses, routes, name servers, time servers. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use b2d_sys::contract::NET_STATE_DIR;
use thiserror::Error;

use crate::facts::{KEPT, LEASE, NetFacts, UNANSWERED};
use crate::lease::{Lease, LeaseError, Network, Route, Variables, write_state};
use crate::model::{Action, addresses_changed};

const IP: &str = "/sbin/ip";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where chronyd looks for servers that DHCP brought.
const TIME_SOURCES_DIR: &str = "/run/boot2docker/ntp";
/// Room for the routers of one interface before the next interface's begin.
const METRICS_PER_INTERFACE: u32 = 100;
/// Name servers when even the fallback file is missing; as boot2docker had them.
const LAST_RESOLV_CONF: &str =
    "nameserver 1.1.1.1\nnameserver 1.0.0.1\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// What udhcpc tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is no lease: begin afresh.
    Deconfig,
    /// There is a new lease.
    Bound,
    /// The lease goes on.
    Renew,
    /// Nobody answers; udhcpc goes on asking.
    LeaseFail,
    /// The server has refused; deconfig follows.
    Nak,
}

impl Event {
    /// Returns the event of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "deconfig" => Some(Self::Deconfig),
            "bound" => Some(Self::Bound),
            "renew" => Some(Self::Renew),
            "leasefail" => Some(Self::LeaseFail),
            "nak" => Some(Self::Nak),
            _ => None,
        }
    }
}

/// Why an event cannot be acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The environment does not name a usable interface.
    #[error("interface: {0:?} is no interface")]
    Interface(String),
    /// The lease is not complete.
    #[error("lease of {interface}")]
    Lease {
        /// Of which interface.
        interface: String,
        /// What is wrong.
        source: LeaseError,
    },
}

/// Returns what an event changes; `told` is udhcpc's environment.
///
/// # Errors
/// When udhcpc does not tell what is needed.
pub fn plan(event: Event, told: &Variables, facts: &NetFacts) -> Result<Vec<Action>, PlanError> {
    let interface = told.get("interface").map(String::as_str).unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if interface.is_empty() || interface.starts_with(['.', '-']) || !interface.chars().all(is_name) {
        return Err(PlanError::Interface(interface.to_owned()));
    }
    match event {
        Event::Deconfig => Ok(deconfigure(interface, facts)),
        Event::Bound | Event::Renew => {
            let lease = Lease::parse(told);
            let lease =
                lease.map_err(|source| PlanError::Lease { interface: interface.to_owned(), source })?;
            Ok(configure(interface, &lease, told, facts))
        }
        Event::LeaseFail => Ok(unanswered(interface, facts)),
        Event::Nak => {
            let why = told.get("message").map_or("no reason given", String::as_str);
            Ok(vec![warn(format!("{interface}: the DHCP server refuses the address: {why}"))])
        }
    }
}

/// Said once, not every few seconds for ever.
fn unanswered(interface: &str, facts: &NetFacts) -> Vec<Action> {
    if facts.unanswered.contains(interface) {
        return vec![];
    }
    let path = state_path(interface, UNANSWERED);
    let text = String::new();
    vec![warn(format!("{interface}: no DHCP server answers; asking on")), Action::Write { path, text }]
}

fn deconfigure(interface: &str, facts: &NetFacts) -> Vec<Action> {
    if facts.kept.contains(interface) {
        return vec![Action::Remove { path: state_path(interface, KEPT) }];
    }
    let mut leases = facts.leases.clone();
    let mut actions =
        vec![ip(&["-4", "address", "flush", "dev", interface]), ip(&["link", "set", "dev", interface, "up"])];
    // Name servers are touched only if this interface had brought some.
    if let Some(told) = leases.remove(interface) {
        let old = Lease::parse(&told).ok();
        actions.push(Action::Note { text: format!("{interface}: the lease is lost") });
        actions.push(Action::Remove { path: state_path(interface, LEASE) });
        actions.extend(resolv_conf(&leases, facts));
        actions.extend(time_sources(interface, &[], old.as_ref()));
        actions.push(addresses_changed());
    }
    actions
}

fn configure(interface: &str, lease: &Lease, told: &Variables, facts: &NetFacts) -> Vec<Action> {
    let old = facts.leases.get(interface).and_then(|variables| Lease::parse(variables).ok());
    let mut leases = facts.leases.clone();
    leases.insert(interface.to_owned(), told.clone());
    let mut actions = Vec::new();
    if let Some(mtu) = lease.mtu {
        actions.push(ip(&["link", "set", "dev", interface, "mtu", &mtu.to_string()]));
    }
    // First: the kernel lets the later addresses of a network go with the earliest one.
    // Source: Linux net/ipv4/devinet.c, __inet_del_ifa() without promote_secondaries.
    let stale = old.iter().filter(|old| old.own != lease.own);
    actions
        .extend(stale.map(|old| may_fail(ip(&["-4", "address", "del", &show(old.own), "dev", interface]))));
    actions.push(address(interface, lease));
    actions.extend(route_changes(interface, lease, old.as_ref()));
    actions.push(Action::Write { path: state_path(interface, LEASE), text: write_state(told) });
    actions.extend(resolv_conf(&leases, facts));
    actions.extend(time_sources(interface, &lease.ntp, old.as_ref()));
    for (marked, kind) in [(&facts.unanswered, UNANSWERED), (&facts.kept, KEPT)] {
        if marked.contains(interface) {
            actions.push(Action::Remove { path: state_path(interface, kind) });
        }
    }
    if old.is_none_or(|old| old.own != lease.own) {
        actions.push(Action::Note { text: format!("{interface}: address {}", show(lease.own)) });
        actions.push(addresses_changed());
    }
    actions
}

/// The metric decides who leads to a network that two interfaces claim, were it by mistake: the first one.
fn address(interface: &str, lease: &Lease) -> Action {
    let broadcast = lease.broadcast.map_or("+".to_owned(), |address| address.to_string());
    let (own, metric) = (show(lease.own), base_metric(interface).to_string());
    let mut argv = vec!["-4", "address", "replace", &own, "broadcast", &broadcast, "dev", interface];
    if metric != "0" {
        argv.extend(["metric", &metric]);
    }
    ip(&argv)
}

/// Sets the lease's routes and removes those that only the old lease had.
fn route_changes(interface: &str, lease: &Lease, old: Option<&Lease>) -> Vec<Action> {
    let new = routes_with_metric(interface, lease);
    let gone = old.map(|old| routes_with_metric(interface, old)).unwrap_or_default();
    let gone = gone.into_iter().filter(|route| !new.contains(route));
    let del = gone.map(|(route, metric)| may_fail(ip_route("del", interface, &route, metric, false)));
    let set = new.iter().map(|(route, metric)| {
        // A router outside our network is reached directly all the same.
        let is_outside = route.via.is_some_and(|via| !lease.own.contains(via));
        ip_route("replace", interface, route, *metric, is_outside)
    });
    let set: Vec<Action> = set.collect();
    del.chain(set).collect()
}

/// Gives each route a metric of its own, so that several may lead to the same place: first interfaces first.
fn routes_with_metric(interface: &str, lease: &Lease) -> Vec<(Route, u32)> {
    let base = base_metric(interface);
    let metric = |place: usize| base.saturating_add(u32::try_from(place).unwrap_or(u32::MAX));
    lease.all_routes().into_iter().enumerate().map(|(place, route)| (route, metric(place))).collect()
}

fn ip_route(verb: &str, interface: &str, route: &Route, metric: u32, is_outside: bool) -> Action {
    let to = if route.to.prefix == 0 { "default".to_owned() } else { show(route.to) };
    let (via, metric) = (route.via.map(|via| via.to_string()), metric.to_string());
    let mut argv = vec!["-4", "route", verb, &to];
    argv.extend(via.iter().flat_map(|via| ["via", via]));
    argv.extend(["dev", interface, "metric", &metric]);
    if is_outside {
        argv.push("onlink");
    }
    ip(&argv)
}

/// Merges the name servers of all leases: interfaces that lead out first, then in their order. Never empty.
fn resolv_conf(leases: &BTreeMap<String, Variables>, facts: &NetFacts) -> Vec<Action> {
    let mut parsed: Vec<(&String, Lease)> =
        leases.iter().filter_map(|(interface, told)| Some((interface, Lease::parse(told).ok()?))).collect();
    parsed.sort_by_key(|(interface, lease)| (!lease.has_way_out(), number(interface), (*interface).clone()));
    let servers =
        without_repeats(parsed.iter().flat_map(|(_, lease)| lease.dns.iter().map(Ipv4Addr::to_string)));
    let search = without_repeats(parsed.iter().flat_map(|(_, lease)| lease.search.iter().cloned()));
    let mut text = String::new();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    for server in &servers {
        text += &format!("nameserver {server}\n");
    }
    if servers.is_empty() {
        let fallback = facts.fallback.as_deref().filter(|text| !text.trim().is_empty());
        text += fallback.unwrap_or(LAST_RESOLV_CONF);
    }
    let aside = Action::SetAside { path: RESOLV_CONF.into() };
    let mut actions = Vec::from_iter(facts.is_resolv_conf_in_the_way.then_some(aside));
    actions.push(Action::Write { path: RESOLV_CONF.into(), text });
    actions
}

/// Tells chronyd of time servers; it may not run yet, and reads the files when it starts.
fn time_sources(interface: &str, servers: &[Ipv4Addr], old: Option<&Lease>) -> Vec<Action> {
    if servers == old.map_or([].as_slice(), |old| &old.ntp) {
        return vec![];
    }
    let path = PathBuf::from(TIME_SOURCES_DIR).join(format!("{interface}.sources"));
    let text: String = servers.iter().map(|server| format!("server {server} iburst\n")).collect();
    let argv = ["/usr/bin/chronyc", "reload", "sources"].map(str::to_owned).into();
    vec![Action::Write { path, text }, Action::Detach { argv }]
}

fn base_metric(interface: &str) -> u32 {
    number(interface).saturating_mul(METRICS_PER_INTERFACE)
}

/// Returns the number at an interface name's end: 1 for `eth1`.
fn number(interface: &str) -> u32 {
    let digits = interface.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or(0)
}

fn without_repeats(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

fn state_path(interface: &str, kind: &str) -> PathBuf {
    PathBuf::from(NET_STATE_DIR).join(format!("{interface}.{kind}"))
}

fn show(network: Network) -> String {
    format!("{}/{}", network.address, network.prefix)
}

fn ip(args: &[&str]) -> Action {
    let argv = std::iter::once(IP).chain(args.iter().copied()).map(str::to_owned).collect();
    Action::Run { argv, may_fail: false }
}

fn may_fail(action: Action) -> Action {
    match action {
        Action::Run { argv, .. } => Action::Run { argv, may_fail: true },
        other => other,
    }
}

fn warn(text: String) -> Action {
    Action::Warn { text }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
