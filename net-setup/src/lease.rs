//! A DHCP lease: from udhcpc's environment, and to and from our state file. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Address; of a host in a lease, of a network in a route.
    pub address: Ipv4Addr,
    /// Bits of the network part, 0 to 32.
    pub prefix: u8,
}

/// A route to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub to: Network,
    /// Through whom; None: directly.
    pub via: Option<Ipv4Addr>,
}

/// What a DHCP server has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Our address.
    pub own: Network,
    /// Broadcast address, if told.
    pub broadcast: Option<Ipv4Addr>,
    /// Routers, the preferred one first.
    pub routers: Vec<Ipv4Addr>,
    /// Routes that replace the routers if there are any. Source: RFC 3442.
    pub routes: Vec<Route>,
    /// Name servers, the preferred one first.
    pub dns: Vec<Ipv4Addr>,
    /// Domains to look names up in.
    pub search: Vec<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Largest packet, bytes.
    pub mtu: Option<u16>,
}

/// What is wrong with a lease.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// A variable that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A variable cannot be understood.
    #[error("{key}: {value:?} cannot be understood")]
    Bad {
        /// Its name.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

/// A lease as variables, the way udhcpc hands it over and our state file keeps it.
pub type Variables = BTreeMap<String, String>;

impl Lease {
    /// Returns the lease in udhcpc's variables. Empty ones count as absent.
    ///
    /// Source: busybox `networking/udhcp/dhcpc.c`, `fill_envp`; `mask` is a prefix length, `subnet` a mask.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be understood.
    pub fn parse(variables: &Variables) -> Result<Self, LeaseError> {
        let address = one(variables, "ip")?.ok_or(LeaseError::Missing("ip"))?;
        let search = text(variables, "search").or_else(|| text(variables, "domain")).unwrap_or_default();
        Ok(Self {
            own: Network { address, prefix: prefix(variables)? },
            broadcast: one(variables, "broadcast")?,
            routers: list(variables, "router")?,
            routes: routes(variables)?,
            dns: list(variables, "dns")?,
            search: search.split_whitespace().filter(|name| is_domain(name)).map(str::to_owned).collect(),
            ntp: list(variables, "ntpsrv")?,
            mtu: one(variables, "mtu")?,
        })
    }

    /// Returns every route of the lease, each with its place among those to the same network.
    pub fn all_routes(&self) -> Vec<Route> {
        if !self.routes.is_empty() {
            return self.routes.clone();
        }
        let everywhere = Network { address: Ipv4Addr::UNSPECIFIED, prefix: 0 };
        self.routers.iter().map(|router| Route { to: everywhere, via: Some(*router) }).collect()
    }

    /// Tells whether the lease leads to the rest of the world.
    pub fn has_way_out(&self) -> bool {
        self.all_routes().iter().any(|route| route.to.prefix == 0)
    }
}

impl Network {
    /// Tells whether an address lies in this network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(address) & mask
    }
}

/// Returns the lease's variables as text; [`read_state`] reads it.
pub fn write_state(variables: &Variables) -> String {
    let kept =
        ["ip", "mask", "broadcast", "router", "staticroutes", "dns", "search", "domain", "ntpsrv", "mtu"];
    let line = |key: &&str| Some(format!("{key}={}\n", text(variables, key)?));
    kept.iter().filter_map(line).collect()
}

/// Returns the variables in a state file.
pub fn read_state(text: &str) -> Variables {
    text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn text<'a>(variables: &'a Variables, key: &str) -> Option<&'a str> {
    variables.get(key).map(|value| value.trim()).filter(|value| !value.is_empty() && !value.contains('\n'))
}

fn one<T: FromStr>(variables: &Variables, key: &'static str) -> Result<Option<T>, LeaseError> {
    let parse = |value: &str| value.parse().map_err(|_| LeaseError::Bad { key, value: value.to_owned() });
    text(variables, key).map(parse).transpose()
}

fn list(variables: &Variables, key: &'static str) -> Result<Vec<Ipv4Addr>, LeaseError> {
    let value = text(variables, key).unwrap_or_default();
    let parsed: Result<Vec<_>, _> = value.split_whitespace().map(str::parse).collect();
    parsed.map_err(|_| LeaseError::Bad { key, value: value.to_owned() })
}

fn prefix(variables: &Variables) -> Result<u8, LeaseError> {
    if let Some(prefix) = one::<u8>(variables, "mask")?.filter(|prefix| *prefix <= 32) {
        return Ok(prefix);
    }
    let mask: Ipv4Addr = one(variables, "subnet")?.ok_or(LeaseError::Missing("mask"))?;
    Ok(u8::try_from(u32::from(mask).leading_ones()).unwrap_or(32))
}

/// Reads `10.0.0.0/8 10.1.1.1 0.0.0.0/0 10.1.1.2`; a router of 0.0.0.0 means directly.
fn routes(variables: &Variables) -> Result<Vec<Route>, LeaseError> {
    let key = "staticroutes";
    let value = text(variables, key).unwrap_or_default();
    let words: Vec<&str> = value.split_whitespace().collect();
    let route = |pair: &[&str]| {
        let (address, prefix) = pair.first()?.split_once('/')?;
        let to = Network {
            address: address.parse().ok()?,
            prefix: prefix.parse().ok().filter(|bits| *bits <= 32)?,
        };
        let via: Ipv4Addr = pair.get(1)?.parse().ok()?;
        Some(Route { to, via: (!via.is_unspecified()).then_some(via) })
    };
    let parsed: Option<Vec<_>> = words.chunks(2).map(route).collect();
    parsed.ok_or_else(|| LeaseError::Bad { key, value: value.to_owned() })
}

/// Tells whether a server's word is fit for a configuration file.
fn is_domain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_is_read_and_kept() {
        let told = variables(&[
            ("interface", "eth0"),
            ("ip", "10.0.2.15"),
            ("mask", "24"),
            ("subnet", "255.255.255.0"),
            ("router", "10.0.2.2 10.0.2.3"),
            ("dns", "10.0.2.3"),
            ("domain", "example.org bad;name"),
            ("ntpsrv", ""),
            ("mtu", "1400"),
        ]);
        let lease = Lease::parse(&told).unwrap();
        let expected = Lease {
            own: Network { address: ip("10.0.2.15"), prefix: 24 },
            broadcast: None,
            routers: vec![ip("10.0.2.2"), ip("10.0.2.3")],
            routes: vec![],
            dns: vec![ip("10.0.2.3")],
            search: vec!["example.org".into()],
            ntp: vec![],
            mtu: Some(1400),
        };
        assert_eq!(lease, expected);
        assert!(lease.has_way_out());
        assert_eq!(Lease::parse(&read_state(&write_state(&told))), Ok(lease));
    }

    #[test]
    fn static_routes_replace_routers() {
        let base = [("ip", "10.1.1.9"), ("subnet", "255.255.0.0"), ("router", "10.1.1.1")];
        let with =
            |routes| Lease::parse(&variables(&[base.as_slice(), &[("staticroutes", routes)]].concat()));
        let lease = with("10.2.0.0/16 10.1.1.7 192.168.0.0/24 0.0.0.0").unwrap();
        let to = |text: &str, prefix| Network { address: ip(text), prefix };
        let expected = [
            Route { to: to("10.2.0.0", 16), via: Some(ip("10.1.1.7")) },
            Route { to: to("192.168.0.0", 24), via: None },
        ];
        assert_eq!((lease.own.prefix, lease.all_routes().as_slice()), (16, expected.as_slice()));
        assert!(!lease.has_way_out());
        for bad in ["10.2.0.0/16", "10.2.0.0/33 10.1.1.1", "x y"] {
            let value = bad.to_owned();
            assert_eq!(with(bad), Err(LeaseError::Bad { key: "staticroutes", value }));
        }
    }

    #[test]
    fn a_bad_lease_is_told_by_name() {
        let rows = [
            (vec![], LeaseError::Missing("ip")),
            (vec![("ip", "10.0.0.1")], LeaseError::Missing("mask")),
            (vec![("ip", "ten")], LeaseError::Bad { key: "ip", value: "ten".into() }),
            (
                vec![("ip", "10.0.0.1"), ("mask", "8"), ("dns", "a b")],
                LeaseError::Bad { key: "dns", value: "a b".into() },
            ),
        ];
        for (pairs, expected) in rows {
            assert_eq!(Lease::parse(&variables(&pairs)), Err(expected));
        }
    }

    #[test]
    fn networks_know_their_own() {
        let rows = [("10.0.2.15", 24, "10.0.2.2", true), ("10.0.2.15", 24, "10.0.3.2", false)];
        let edge = [("10.0.2.15", 32, "10.0.2.2", false), ("10.0.2.15", 0, "1.1.1.1", true)];
        for (own, prefix, other, is_in) in rows.into_iter().chain(edge) {
            assert_eq!(
                Network { address: ip(own), prefix }.contains(ip(other)),
                is_in,
                "{own}/{prefix} {other}"
            );
        }
    }
}
