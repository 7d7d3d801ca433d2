//! Kernel configuration fragments, and the proof that what they ask for is what the kernel has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Options that may be lost, each with a reason, below `kernel-config/`.
const ALLOW_MISSING: &str = "allow-missing.conf";

/// All fragments below `kernel-config/fragments/`, in name order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    texts: Vec<(PathBuf, String)>,
    allowed: BTreeMap<String, String>,
}

impl Fragments {
    /// Reads the fragments and the list of options that may be lost.
    ///
    /// # Errors
    /// When a file cannot be read, a line makes no sense, or a symbol is set twice.
    pub fn read(kernel_config: &Path) -> Result<Self> {
        let folder = kernel_config.join("fragments");
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry.with_context(|| format!("listing {}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "config") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut texts = Vec::new();
        for path in paths {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            texts.push((path, text));
        }
        let path = kernel_config.join(ALLOW_MISSING);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let fragments = Self { texts, allowed: parse_allowed(&path, &text)? };
        fragments.requested()?;
        Ok(fragments)
    }

    /// Adds the fragments `more`, which come before these: lines here that set what they set are left out.
    ///
    /// # Errors
    /// When a line of `more` makes no sense, or a symbol is set twice in it.
    pub fn override_by(&mut self, more: Vec<(PathBuf, String)>) -> Result<()> {
        let more = Self { texts: more, allowed: BTreeMap::new() };
        let theirs = more.requested()?;
        for (_, text) in &mut self.texts {
            let is_ours =
                |line: &&str| parse_line(line).is_none_or(|(symbol, _)| !theirs.contains_key(symbol));
            *text = text.split_inclusive('\n').filter(is_ours).collect();
        }
        self.allowed.retain(|symbol, _| !theirs.contains_key(symbol));
        self.texts.extend(more.texts);
        Ok(())
    }

    /// Returns all fragments as one text, as `KCONFIG_ALLCONFIG` wants it.
    #[must_use]
    pub fn concatenated(&self) -> String {
        self.texts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Returns every requested symbol with its value and the place that asks for it.
    fn requested(&self) -> Result<BTreeMap<String, (String, String)>> {
        let mut requested: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (path, text) in &self.texts {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            for (number, line) in text.lines().enumerate() {
                let place = format!("{name}:{}", number + 1);
                let Some((symbol, value)) = parse_line(line) else {
                    if line.trim().is_empty() || line.starts_with('#') {
                        continue;
                    }
                    bail!(
                        "{place}: `{line}` is neither CONFIG_X=value, nor `# CONFIG_X is not set`, nor a comment"
                    );
                };
                if let Some((_, first)) =
                    requested.insert(symbol.to_owned(), (value.to_owned(), place.clone()))
                {
                    bail!("{place}: {symbol} is set in {first} already");
                }
            }
        }
        Ok(requested)
    }

    /// Compares a finished `.config` with what was asked for.
    ///
    /// # Errors
    /// When an option is lost that is not on the list, or one on the list is not lost.
    pub fn check(&self, config: &str) -> Result<()> {
        let resulting: BTreeMap<_, _> = config.lines().filter_map(parse_line).collect();
        let mut lost = Vec::new();
        for (symbol, (value, place)) in self.requested()? {
            let found = resulting.get(symbol.as_str()).copied().unwrap_or("n");
            let is_allowed = self.allowed.contains_key(&symbol);
            match (found == value, is_allowed) {
                (false, false) => lost.push(format!("{symbol}={value} ({place}) became {found}")),
                (true, true) => lost.push(format!("{symbol} is in {ALLOW_MISSING} but not missing")),
                _ => {}
            }
        }
        if !lost.is_empty() {
            bail!("configuring the kernel: {} requested options are lost: {}", lost.len(), lost.join("; "));
        }
        Ok(())
    }
}

/// Parses `CONFIG_X=value` or `# CONFIG_X is not set`; the value of the latter is `n`.
fn parse_line(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(symbol) = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
        return symbol.starts_with("CONFIG_").then_some((symbol, "n"));
    }
    line.split_once('=').filter(|(symbol, _)| symbol.starts_with("CONFIG_"))
}

fn parse_allowed(path: &Path, text: &str) -> Result<BTreeMap<String, String>> {
    let mut allowed = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((symbol, reason)) if symbol.starts_with("CONFIG_") && !reason.trim().is_empty() => {
                allowed.insert(symbol.trim().to_owned(), reason.trim().to_owned());
            }
            _ => bail!("{}:{}: `{line}` is not of the form CONFIG_X: reason", path.display(), number + 1),
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments(texts: &[&str], allowed: &str) -> Result<Fragments> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("fragments")).unwrap();
        for (number, text) in texts.iter().enumerate() {
            fs::write(folder.path().join(format!("fragments/{number}.config")), text).unwrap();
        }
        fs::write(folder.path().join(ALLOW_MISSING), allowed).unwrap();
        Fragments::read(folder.path())
    }

    #[test]
    fn what_was_asked_for_and_is_there_passes() {
        let fragments =
            fragments(&["# why\nCONFIG_A=y\n# CONFIG_B is not set\n", "CONFIG_C=\"x\"\n"], "").unwrap();
        fragments.check("CONFIG_A=y\nCONFIG_C=\"x\"\nCONFIG_D=m\n").unwrap();
    }

    #[test]
    fn every_lost_option_is_named_with_its_place() {
        let fragments = fragments(&["CONFIG_A=y\nCONFIG_B=m\n"], "").unwrap();
        let error = fragments.check("CONFIG_B=y\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "configuring the kernel: 2 requested options are lost: \
             CONFIG_A=y (0.config:1) became n; CONFIG_B=m (0.config:2) became y"
        );
    }

    #[test]
    fn a_users_fragments_come_before_ours() {
        let mut fragments =
            fragments(&["# why\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n"], "").unwrap();
        let more = |texts: &[&str]| -> Vec<(PathBuf, String)> {
            texts.iter().map(|text| ("mine.config".into(), (*text).to_owned())).collect()
        };
        fragments.override_by(more(&["CONFIG_C=m\n# CONFIG_A is not set\n", "CONFIG_D=y\n"])).unwrap();
        let expected = "# why\nCONFIG_B=y\n\nCONFIG_C=m\n# CONFIG_A is not set\n\nCONFIG_D=y\n";
        assert_eq!(fragments.concatenated(), expected);
        let lost = fragments.check("CONFIG_B=y\nCONFIG_C=m\n").unwrap_err().to_string();
        assert!(lost.ends_with("CONFIG_D=y (mine.config:1) became n"), "{lost}");
        let twice = fragments.override_by(more(&["CONFIG_E=y\nCONFIG_E=m\n"])).unwrap_err().to_string();
        assert_eq!(twice, "mine.config:2: CONFIG_E is set in mine.config:1 already");
    }

    #[test]
    fn the_list_of_exceptions_cannot_grow_stale() {
        let fragments = fragments(&["CONFIG_A=y\n"], "CONFIG_A: needs hardware we lack\n").unwrap();
        fragments.check("").unwrap();
        let error = fragments.check("CONFIG_A=y\n").unwrap_err().to_string();
        assert!(error.contains("CONFIG_A is in allow-missing.conf but not missing"), "{error}");
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let twice = fragments(&["CONFIG_A=y\n", "\nCONFIG_A=m\n"], "").unwrap_err().to_string();
        assert_eq!(twice, "1.config:2: CONFIG_A is set in 0.config:1 already");
        let junk = fragments(&["CONFIG_A y\n"], "").unwrap_err().to_string();
        assert!(junk.starts_with("0.config:1: `CONFIG_A y` is neither"), "{junk}");
        let reason = fragments(&[], "CONFIG_A:\n").unwrap_err().to_string();
        assert!(
            reason.ends_with("allow-missing.conf:1: `CONFIG_A:` is not of the form CONFIG_X: reason"),
            "{reason}"
        );
    }
}
