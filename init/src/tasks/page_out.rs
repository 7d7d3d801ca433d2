//! Moves memory of services into swap: what they have of their own, not their programs, which would be read and unpacked anew.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use b2d_sys::contract::SERVICES_CGROUP;
use b2d_sys::effects::process::Pid;
use b2d_sys::effects::swap;

/// Moves the memory of all processes of these services.
///
/// # Errors
/// When a service has no cgroup, or the kernel refuses.
pub fn run(root: &Path, services: &[&str]) -> Result<()> {
    services.iter().try_for_each(|service| {
        let list = root.join(SERVICES_CGROUP.trim_start_matches('/')).join(service).join("cgroup.procs");
        let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        text.lines()
            .try_for_each(|line| page_out(root, line).with_context(|| format!("process {line} of {service}")))
    })
}

fn page_out(root: &Path, pid: &str) -> Result<()> {
    let number = pid.parse().ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("is no number"))?;
    // One that has ended has none.
    let maps = fs::read_to_string(root.join("proc").join(pid).join("maps")).unwrap_or_default();
    Ok(swap::page_out(number, &own_memory(&maps))?)
}

/// Returns the addresses of what a process may write to and shares with nobody, of which nothing lies in a file.
/// Source: `proc_pid_maps(5)`.
fn own_memory(maps: &str) -> Vec<Range<usize>> {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let is_own = matches!(words.next()?, "rw-p" | "rwxp") && words.nth(2)? == "0";
        let is_plain = matches!(words.next(), None | Some("[heap]" | "[stack]"));
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        Some(address(begin)?..address(end)?).filter(|_| is_own && is_plain)
    };
    maps.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00400000-01f0c000 r-xp 00000000 07:02 57                                 /usr/bin/dockerd
03e1c000-03f10000 rw-p 03a1b000 07:02 57                                 /usr/bin/dockerd
03f10000-03f96000 rw-p 00000000 00:00 0 
0553d000-0555e000 rw-p 00000000 00:00 0                                  [heap]
c000000000-c000c00000 rw-p 00000000 00:00 0 
c000c00000-c004000000 ---p 00000000 00:00 0 
7f0f2c000000-7f0f2c021000 rw-s 00000000 00:01 9                          /dev/zero (deleted)
7ffe65a3d000-7ffe65a41000 r--p 00000000 00:00 0                          [vvar]
";

    #[test]
    fn memory_of_its_own_is_what_it_may_write_and_is_in_no_file() {
        let expected = [0x03f1_0000..0x03f9_6000, 0x0553_d000..0x0555_e000, 0xc0_0000_0000..0xc0_00c0_0000];
        assert_eq!(own_memory(MAPS), expected);
    }

    #[test]
    fn a_service_without_a_cgroup_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = format!("{:#}", run(root.path(), &["docker"]).unwrap_err());
        assert!(error.contains("b2d/docker/cgroup.procs"), "{error}");
        let dir = root.path().join("sys/fs/cgroup/b2d/docker");
        fs::create_dir_all(&dir).unwrap();
        // Nobody has the largest number.
        fs::write(dir.join("cgroup.procs"), "2147483647\n").unwrap();
        run(root.path(), &["docker"]).unwrap();
    }
}
