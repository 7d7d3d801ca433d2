//! What moby's `check-config.sh` asks of a kernel, against the configuration of the running one.

use std::collections::BTreeMap;

/// Docker does not work without these.
const NECESSARY: &str = "NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER \
    CGROUP_SCHED CPUSETS MEMCG KEYS VETH BRIDGE BRIDGE_NETFILTER IP_NF_FILTER IP_NF_MANGLE IP_NF_TARGET_MASQUERADE \
    IP6_NF_FILTER IP6_NF_MANGLE IP6_NF_TARGET_MASQUERADE NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK \
    NETFILTER_XT_MATCH_IPVS NETFILTER_XT_MARK IP_NF_RAW IP_NF_NAT NF_NAT IP6_NF_RAW IP6_NF_NAT POSIX_MQUEUE \
    CGROUP_BPF";
/// Some of Docker's features need these.
const OPTIONAL: &str = "USER_NS SECCOMP SECCOMP_FILTER CGROUP_PIDS MEMCG_SWAP BLK_CGROUP BLK_DEV_THROTTLING \
    CGROUP_PERF CGROUP_HUGETLB NET_CLS_CGROUP CGROUP_NET_PRIO CFS_BANDWIDTH FAIR_GROUP_SCHED \
    IP_NF_TARGET_REDIRECT IP_VS IP_VS_NFCT IP_VS_PROTO_TCP IP_VS_PROTO_UDP IP_VS_RR SECURITY_SELINUX \
    SECURITY_APPARMOR EXT3_FS EXT3_FS_POSIX_ACL EXT3_FS_SECURITY EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY VXLAN \
    BRIDGE_VLAN_FILTERING CRYPTO CRYPTO_AEAD CRYPTO_GCM CRYPTO_SEQIV CRYPTO_GHASH XFRM XFRM_USER XFRM_ALGO INET_ESP \
    NETFILTER_XT_MATCH_BPF IPVLAN MACVLAN DUMMY NF_NAT_FTP NF_CONNTRACK_FTP NF_NAT_TFTP NF_CONNTRACK_TFTP BTRFS_FS \
    BTRFS_FS_POSIX_ACL OVERLAY_FS";
/// Optional ones we do without, each with the reason.
const LEFT_OUT: &[(&str, &str)] =
    &[("MEMCG_SWAP", "part of MEMCG since Linux 6.1"), ("SECURITY_SELINUX", "AppArmor is the one in use")];

/// Images with a C library of before 2012 call the kernel at a fixed address. One of these must answer there: the former as
/// moby asks, the latter without letting anybody read what lies there.
const VSYSCALL: &[&str] = &["LEGACY_VSYSCALL_EMULATE", "LEGACY_VSYSCALL_XONLY"];

/// Returns what is missing from a configuration: `CONFIG_NAME=y` and `=m` lines as in `/proc/config.gz`. An option that
/// was left out with a reason but is there counts too: its reason is stale.
#[must_use]
pub fn complaints(config: &str) -> Vec<String> {
    let options: BTreeMap<&str, &str> =
        config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect();
    let is_on = |name: &str| matches!(options.get(name), Some(&("y" | "m")));
    let is_excused = |name: &str| LEFT_OUT.iter().any(|(other, _)| *other == name);
    let missing = NECESSARY.split_whitespace().filter(|name| !is_on(name));
    let necessary = missing.map(|name| format!("{name} is necessary"));
    let missing = OPTIONAL.split_whitespace().filter(|name| !is_on(name) && !is_excused(name));
    let optional = missing.map(|name| format!("{name} is optional, but no reason says why it is missing"));
    let stale = LEFT_OUT.iter().filter(|(name, _)| is_on(name));
    let stale = stale.map(|(name, reason)| format!("{name} is there, though left out because {reason:?}"));
    let vsyscall =
        (!VSYSCALL.iter().any(|name| is_on(name))).then(|| format!("none of {VSYSCALL:?} is there"));
    necessary.chain(optional).chain(stale).chain(vsyscall).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_stale_options_are_named() {
        let excused: Vec<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
        let all = NECESSARY.split_whitespace().chain(OPTIONAL.split_whitespace());
        let wanted: Vec<&str> = all.filter(|name| !excused.contains(name)).collect();
        let config =
            |names: &[&str]| names.iter().map(|name| format!("CONFIG_{name}=y\n")).collect::<String>();
        for vsyscall in VSYSCALL {
            assert_eq!(complaints(&config(&[&wanted[..], &[vsyscall]].concat())), [""; 0]);
        }
        let few: Vec<&str> =
            wanted.iter().copied().filter(|name| !["VETH", "VXLAN"].contains(name)).collect();
        let config = config(&few) + "CONFIG_SECURITY_SELINUX=m\n# CONFIG_VETH is not set\n";
        let expected = [
            "VETH is necessary",
            "VXLAN is optional, but no reason says why it is missing",
            "SECURITY_SELINUX is there, though left out because \"AppArmor is the one in use\"",
            "none of [\"LEGACY_VSYSCALL_EMULATE\", \"LEGACY_VSYSCALL_XONLY\"] is there",
        ];
        assert_eq!(complaints(&config), expected);
    }
}
