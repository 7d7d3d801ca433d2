//! What the host's apt already knows: a Debian mirror, its keyring and the way through a proxy.
//!
//! No mirror is named in this project. On a host whose apt has no Debian source, `--mirror` names one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// Suites that mark an apt source as a Debian mirror, and not one of another distribution.
const DEBIAN_SUITES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "oldstable",
    "testing",
    "unstable",
    "oldoldstable",
    "experimental",
];

/// Where Debian and Ubuntu put Debian's keys.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// What the user said about mirrors on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct MirrorOptions {
    /// Debian mirror to use instead of the one in the host's apt sources
    #[arg(long, value_name = "URL", global = true)]
    pub mirror: Option<String>,
    /// Mirror of Debian's security archive [default: the host's, or --mirror with "-security" added]
    #[arg(long, value_name = "URL", global = true)]
    pub security_mirror: Option<String>,
    /// File with the keys that sign the mirror [default: the host's Debian keyring]
    #[arg(long, value_name = "FILE", global = true)]
    pub keyring: Option<PathBuf>,
}

/// Where packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Base URL of the archive, without a slash at the end.
    pub main: String,
    /// Base URL of the security archive, without a slash at the end.
    pub security: String,
    /// Keys that sign both; `None` leaves it to the host's trusted keys.
    pub keyring: Option<PathBuf>,
    /// Lines of the host's apt configuration that say how to reach a mirror (proxies, TLS).
    pub transport: Vec<String>,
}

impl Mirror {
    /// Asks the host's apt, and lets `options` override its answers.
    ///
    /// # Errors
    /// When neither names a Debian mirror, or the keyring is not there.
    pub fn discover(options: &MirrorOptions) -> Result<Self> {
        let mut indextargets = Command::new("apt-get");
        indextargets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)"]);
        let sources =
            run::text(&mut indextargets).context("asking apt-get for the host's package sources")?;
        let (main, security) = choose(&sources, options)?;
        let dump = run::text(Command::new("apt-config").args(["dump", "Acquire"]))
            .context("asking apt-config for the host's proxies")?;
        Ok(Self {
            main,
            security,
            keyring: keyring(options.keyring.as_deref())?,
            transport: transport(&dump),
        })
    }
}

/// Picks the mirrors from the lines `URI RELEASE` of `apt-get indextargets`.
fn choose(sources: &str, options: &MirrorOptions) -> Result<(String, String)> {
    let trimmed = |uri: &str| uri.trim_end_matches('/').to_owned();
    let with_release = |wanted: &dyn Fn(&str) -> bool| {
        sources
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, release)| wanted(release))
            .map(|(uri, _)| trimmed(uri))
    };
    let host_main = with_release(&|release| DEBIAN_SUITES.contains(&release));
    let host_security = with_release(&|release| {
        release.strip_suffix("-security").is_some_and(|suite| DEBIAN_SUITES.contains(&suite))
    });
    let Some(main) = options.mirror.as_deref().map(trimmed).or(host_main) else {
        bail!(
            "finding a Debian mirror: the host's apt sources name none; \
             give one with --mirror URL (and its keys with --keyring FILE)"
        );
    };
    // A mirror given by hand is not mixed with the host's security archive: it may be the only one reachable.
    let host_security = if options.mirror.is_some() { None } else { host_security };
    let security = options.security_mirror.as_deref().map(trimmed).or(host_security);
    Ok((main.clone(), security.unwrap_or_else(|| format!("{main}-security"))))
}

fn keyring(given: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = given {
        let path = std::path::absolute(path).with_context(|| format!("resolving {}", path.display()))?;
        if !path.is_file() {
            bail!("reading the keyring {}: no such file", path.display());
        }
        return Ok(Some(path));
    }
    Ok(KEYRINGS.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// Keeps the lines of `apt-config dump Acquire` that concern the way to the mirror.
fn transport(dump: &str) -> Vec<String> {
    let wanted = ["Acquire::http::", "Acquire::https::", "Acquire::socks::", "Acquire::ftp::"];
    dump.lines()
        .filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_among_other_sources() {
        let debian = "http://other.test/node nodistro\nhttp://a.test/debian-security/ bookworm-security\n\
                      http://a.test/debian/ bookworm-updates\nhttp://a.test/debian/ bookworm\n";
        let mirror = |url: &str| MirrorOptions { mirror: Some(url.into()), ..MirrorOptions::default() };
        let cases = [
            (
                "host",
                debian,
                MirrorOptions::default(),
                "http://a.test/debian",
                "http://a.test/debian-security",
            ),
            ("option", debian, mirror("http://b.test/d/"), "http://b.test/d", "http://b.test/d-security"),
            ("ubuntu", "http://u.test/ubuntu noble\n", mirror("file:/m"), "file:/m", "file:/m-security"),
            (
                "no security",
                "http://a.test/d sid\n",
                MirrorOptions::default(),
                "http://a.test/d",
                "http://a.test/d-security",
            ),
        ];
        for (name, sources, options, main, security) in cases {
            assert_eq!(choose(sources, &options).unwrap(), (main.into(), security.into()), "{name}");
        }
    }

    #[test]
    fn a_host_without_debian_is_told_about_the_option() {
        let error =
            choose("http://u.test/ubuntu noble\n", &MirrorOptions::default()).unwrap_err().to_string();
        assert!(error.contains("--mirror URL"), "{error}");
    }

    #[test]
    fn only_the_way_to_the_mirror_is_taken_from_the_host() {
        let dump =
            "Acquire \"\";\nAcquire::http::Proxy \"http://p.test:3128\";\nAcquire::Languages \"en\";\n";
        assert_eq!(transport(dump), ["Acquire::http::Proxy \"http://p.test:3128\";"]);
    }
}
