//! Reads `/etc/sysctl.conf`: kernel settings a custom image brings. Pure.

/// Where it lies, as in boot2docker 17.12.
pub const FILE: &str = "etc/sysctl.conf";
const TREE: &str = "/proc/sys";

/// A setting: file below `/proc/sys` and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file.
    pub path: String,
    /// Its content.
    pub value: String,
}

/// Returns the settings in the order of their lines, and what is wrong with lines that are none.
///
/// Source: sysctl.conf(5): `#` and `;` begin comments; a name's parts are separated by dots, in which a slash stands
/// for a dot, or the other way round; a `-` before a name was for settings a kernel may lack, which none of ours must
/// have anyway.
pub fn parse(text: &str) -> (Vec<Setting>, Vec<String>) {
    let (mut settings, mut complaints) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        match setting(line) {
            Some(setting) => settings.push(setting),
            None => complaints.push(format!("/{FILE}: line {}: {line:?} is no NAME = VALUE", number + 1)),
        }
    }
    (settings, complaints)
}

fn setting(line: &str) -> Option<Setting> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim().trim_start_matches('-').trim_start();
    let separator = name.find(['.', '/']).map(|at| &name[at..=at])?;
    let swap = |part: char| match part {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if separator == "." { name.chars().map(swap).collect() } else { name.to_owned() };
    let is_inside = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    let value = value.trim();
    (is_inside && !value.is_empty())
        .then(|| Setting { path: format!("{TREE}/{path}"), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let rows: &[(&str, Option<(&str, &str)>)] = &[
            ("net.ipv4.ip_forward=1", Some(("net/ipv4/ip_forward", "1"))),
            ("  vm.swappiness = 10  ", Some(("vm/swappiness", "10"))),
            ("net.ipv4.tcp_rmem = 4096 87380 6291456", Some(("net/ipv4/tcp_rmem", "4096 87380 6291456"))),
            ("net.ipv4.conf.eth0/1.rp_filter=2", Some(("net/ipv4/conf/eth0.1/rp_filter", "2"))),
            ("net/ipv4/conf/eth0.1/rp_filter=2", Some(("net/ipv4/conf/eth0.1/rp_filter", "2"))),
            ("-fs.no_such = 1", Some(("fs/no_such", "1"))),
            ("kernel.core_pattern = |/bin/x a=b", Some(("kernel/core_pattern", "|/bin/x a=b"))),
            ("net.ipv4.ip_forward", None),
            ("hostname=x", None),
            ("kernel.x =", None),
            ("kernel/../../etc/passwd=x", None),
            ("kernel.//.x=1", None),
        ];
        for (line, expected) in rows {
            let (settings, complaints) = parse(line);
            let expected = expected
                .map(|(path, value)| Setting { path: format!("/proc/sys/{path}"), value: value.to_owned() });
            assert_eq!(complaints.len(), usize::from(expected.is_none()), "{line}");
            assert_eq!(settings, Vec::from_iter(expected), "{line}");
        }
    }

    #[test]
    fn comments_are_skipped_and_nonsense_is_told_with_its_line() {
        let (settings, complaints) = parse("# a\n; b\n\nvm.swappiness=1\nwhat\n");
        assert_eq!(settings, [Setting { path: "/proc/sys/vm/swappiness".into(), value: "1".into() }]);
        assert_eq!(complaints, ["/etc/sysctl.conf: line 5: \"what\" is no NAME = VALUE"]);
    }
}
