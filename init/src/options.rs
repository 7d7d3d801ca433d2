//! The options of the kernel command line that are ours, as a table: for warnings of misspelt ones and for the docs.

use b2d_sys::cmdline::KernelCmdline;

/// What all of them begin with.
const PREFIX: &str = "b2d.";

/// Name, value (empty for a switch), meaning.
type Row = (&'static str, &'static str, &'static str);

/// Every option, in the order of names.
pub const OPTIONS: [Row; 9] = [
    (
        "b2d.data",
        "`LABEL=`..., `UUID=`..., `/dev/`... or `none`",
        "The data disk, instead of the file system labelled `boot2docker-data`. `none`: everything stays in memory.",
    ),
    ("b2d.debug", "", "PID 1 and its helpers log every event and decision to `/boot.log`."),
    ("b2d.format", "`/dev/`...", "Formats the disk it names, for instance `/dev/sdb`, at this boot."),
    (
        "b2d.hostname",
        "name",
        "The machine's name, instead of the one in `/var/lib/boot2docker/etc/hostname`.",
    ),
    (
        "b2d.ip",
        "`CARD,ADDRESS/BITS[,KEY=VALUE]...`",
        "A fixed address for a card, instead of DHCP. May be given once for each card.",
    ),
    ("b2d.noautologin", "", "Consoles ask for name and password instead of logging user `docker` in."),
    ("b2d.nodhcp", "", "No DHCP on any card; `bootsync.sh` may give addresses."),
    ("b2d.rescue", "", "A root shell on every console before the data disk is touched."),
    (
        "b2d.root",
        "`ram` or `medium`",
        "`medium`: programs are read from CD, stick or disk, which has to stay in, and take no memory. `ram`: they stay in \
         memory even on machines that have less than 320 MiB of it (`MemTotal`).",
    ),
];

/// Returns the options on the command line that look like ours but are not.
pub fn unknown(cmdline: &KernelCmdline) -> Vec<&str> {
    let is_known = |key: &str| OPTIONS.iter().any(|(name, ..)| *name == key);
    cmdline.keys_with_prefix(PREFIX).filter(|key| !is_known(key)).collect()
}

/// Returns the names of all options in a line.
pub fn names() -> String {
    OPTIONS.map(|(name, ..)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs;

    #[test]
    fn misspelt_options_are_found_by_name() {
        let line = KernelCmdline::parse("quiet b2d.nodchp b2d.debug b2d.data=none b2d.");
        assert_eq!(unknown(&line), ["b2d.nodchp", "b2d."]);
        assert!(OPTIONS.is_sorted());
    }

    #[test]
    fn the_documentation_lists_them_all() {
        let rows = OPTIONS.map(|(name, value, meaning)| {
            let value = if value.is_empty() { "a switch" } else { value };
            format!("| `{name}` | {value} | {meaning} |\n")
        });
        let table = format!("| option | value | meaning |\n| --- | --- | --- |\n{}", rows.concat());
        docs::check("kernel-command-line.md", "options", &table);
    }
}
