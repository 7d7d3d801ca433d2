//! `iso-builder summary`: what an ISO's size is made of, the versions in it, and what changed against another one.

mod chart;
mod groups;
mod needs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::Config;
use crate::image::Recipe;
use crate::lock::Lock;
use crate::project::Project;
use crate::sbom::spdx::Document;
use crate::squashfs::{self, Entry, Layer};
use crate::{compare, compiled, initrd, inspect, layers, step};
use needs::Needs;

/// Path of the lock in the image.
const LOCK: &str = "/usr/share/boot2docker/boot2docker.lock";

/// Versions that people ask for first, by their names in the bill of materials.
const VERSIONS: [&str; 6] =
    ["boot2docker", "linux", "containerd", "runc", "openssh-server", "busybox-static"];

/// Options of `iso-builder summary`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SummaryOptions {
    /// Tell what changed since FILE: another ISO, or a boot2docker.lock
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Write the sizes as a bar chart, in SVG
    #[arg(long, value_name = "FILE")]
    pub chart: Option<PathBuf>,
    /// Only tell what each group of the image costs, as a Markdown table
    #[arg(long)]
    pub groups: bool,
}

/// A part of the ISO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    /// The group that it belongs to, if it can be left out.
    group: Option<String>,
    files: u64,
    unpacked_bytes: u64,
    packed_bytes: u64,
}

/// The parts of an ISO, by name; together they have its size.
type Parts = BTreeMap<String, Part>;

/// Returns the summary of the ISO at `path`.
///
/// # Errors
/// When a file cannot be read or is neither an ISO of ours nor a lock.
pub fn run(project: &Project, path: &Path, options: &SummaryOptions) -> Result<String> {
    inspect::open(path)?;
    let recipe = Recipe::of(project)?;
    let parts = parts(path, &recipe)?;
    if options.groups {
        return Ok(groups::markdown(&parts, recipe.groups(), &Config::load(None)?.groups));
    }
    let bill = inspect::bill(path)?;
    let mut text = table(&parts);
    text.push_str(&groups::lines(&parts));
    text.push_str(&versions(&bill));
    if let Some(chart) = &options.chart {
        let rows = by_size(&parts).into_iter().map(|(name, part)| (label(name, part), part.packed_bytes));
        step::write_atomically(chart, chart::svg(&bill.name, &rows.collect::<Vec<_>>()).as_bytes())?;
    }
    if let Some(other) = &options.against {
        text.push_str(&changes(path, &parts, &bill, other, &recipe)?);
    }
    Ok(text)
}

/// Divides an ISO into parts.
fn parts(path: &Path, recipe: &Recipe) -> Result<Parts> {
    let mut parts = Parts::new();
    let iso = inspect::open(path)?;
    let total = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    let kernel = iso.read("/boot/vmlinuz64")?.len() as u64;
    add(&mut parts, "kernel", None, kernel, kernel);
    let initrd = compare::initrd_of(path)?;
    let stage0 = initrd::first_archive_bytes(&initrd)? as u64;
    let unpacked = compare::archive_files(&initrd)?.get("init").map_or(0, Vec::len) as u64;
    add(&mut parts, "init in the initramfs", None, unpacked, stage0);
    let layers = squashfs::layers_of(path)?;
    let in_layers: u64 = layers.iter().map(|layer| layer.packed_bytes).sum();
    let is_ours = |layer: &&Layer| !layers::OF_PACKAGES.contains(&layer.name.as_str());
    let (ours, of_packages): (Vec<_>, Vec<_>) = layers.iter().partition(is_ours);
    let needs = needs::of(&of_packages, recipe)?;
    for layer in of_packages {
        add_layer(&mut parts, layer, |entry| part_of(entry, recipe, &needs));
    }
    for layer in ours {
        add_layer(&mut parts, layer, |entry| (own_part(entry), None));
    }
    let rest = total.saturating_sub(kernel + stage0 + in_layers);
    add(&mut parts, "boot loaders, ISO and initramfs structure", None, rest, rest);
    Ok(parts)
}

fn add(parts: &mut Parts, name: &str, group: Option<&str>, unpacked_bytes: u64, packed_bytes: u64) {
    let part = parts.entry(name.to_owned()).or_default();
    part.group = group.map(str::to_owned);
    part.files += 1;
    part.unpacked_bytes += unpacked_bytes;
    part.packed_bytes += packed_bytes;
}

fn add_layer(parts: &mut Parts, layer: &Layer, part_of: impl Fn(&Entry) -> (String, Option<String>)) {
    let mut rest = layer.packed_bytes;
    for entry in layer.entries().iter().filter(|entry| entry.mode.starts_with('-')) {
        let (name, group) = part_of(entry);
        add(parts, &name, group.as_deref(), entry.size_bytes, entry.packed_bytes);
        rest = rest.saturating_sub(entry.packed_bytes);
    }
    add(parts, "names, links and tables of the layers", None, 0, rest);
}

/// Returns the name of the part that a file of ours belongs to.
fn own_part(entry: &Entry) -> String {
    let name = if entry.path.starts_with("/usr/share/boot2docker/") {
        "lock and bill of materials"
    } else if entry.path.starts_with("/usr/sbin/") {
        "programs of ours"
    } else {
        "files of ours"
    };
    name.to_owned()
}

/// Returns the name of the part that a file of a package belongs to, and the group of that.
fn part_of(entry: &Entry, recipe: &Recipe, needs: &Needs) -> (String, Option<String>) {
    // A star of a component may stand for its name as well.
    if let Some(program) = compiled::program_at(&recipe.programs, &entry.path) {
        return (program.name.clone(), program.group.clone());
    }
    if let Some((name, group)) = recipe.component_of(Path::new(&entry.path)) {
        return (name.to_owned(), group.map(str::to_owned));
    }
    if let Some(group) = needs::group_of(needs, &entry.path) {
        return (format!("what {group} needs"), Some(group));
    }
    let name = if entry.path.starts_with("/usr/lib/modules/") {
        "kernel modules"
    } else if entry.path.contains(".so") {
        "shared libraries"
    } else {
        "other files of packages"
    };
    (name.to_owned(), None)
}

fn by_size(parts: &Parts) -> Vec<(&String, &Part)> {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by(|one, other| (other.1.packed_bytes, one.0).cmp(&(one.1.packed_bytes, other.0)));
    sorted
}

fn label(name: &str, part: &Part) -> String {
    part.group.as_ref().map_or_else(|| name.to_owned(), |group| format!("{name} [{group}]"))
}

fn table(parts: &Parts) -> String {
    let total: u64 = parts.values().map(|part| part.packed_bytes).sum();
    let mut text =
        format!("{:>10} {:>6} {:>10} {:>6}  part [group]\n", "KiB in ISO", "%", "unpacked", "files");
    let mut row = |packed: u64, unpacked: u64, files: u64, name: &str| {
        let percent = 100.0 * packed as f64 / total.max(1) as f64;
        let (packed, unpacked) = (packed.div_ceil(1024), unpacked.div_ceil(1024));
        writeln!(text, "{packed:>10} {percent:>6.1} {unpacked:>10} {files:>6}  {name}")
            .expect("writing to a String cannot fail");
    };
    for (name, part) in by_size(parts) {
        row(part.packed_bytes, part.unpacked_bytes, part.files, &label(name, part));
    }
    let unpacked = parts.values().map(|part| part.unpacked_bytes).sum();
    row(total, unpacked, parts.values().map(|part| part.files).sum(), "all");
    text
}

fn versions(bill: &Document) -> String {
    let mut text = String::from("\n");
    for name in VERSIONS {
        if let Some(package) = bill.packages.iter().find(|package| package.name == name) {
            writeln!(text, "{name:<20}{}", package.version_info).expect("writing to a String cannot fail");
        }
    }
    text
}

/// Tells what changed since `other`, an ISO or a lock.
fn changes(path: &Path, parts: &Parts, bill: &Document, other: &Path, recipe: &Recipe) -> Result<String> {
    let mut text = format!("\nchanged since {}:\n", other.display());
    let lines = if inspect::open(other).is_ok() {
        let mut lines = version_changes(&inspect::bill(other)?, bill);
        lines.extend(size_changes(&self::parts(other, recipe)?, parts));
        lines
    } else {
        let old = Lock::read(other)?
            .with_context(|| format!("reading {}: there is no such file", other.display()))?;
        lock_of(path)?.changes_since(&old)
    };
    if lines.is_empty() {
        text.push_str("  nothing\n");
    }
    for line in lines {
        writeln!(text, "  {line}").expect("writing to a String cannot fail");
    }
    Ok(text)
}

/// Returns the lock that the ISO at `path` was built with.
fn lock_of(path: &Path) -> Result<Lock> {
    for layer in squashfs::layers_of(path)?.iter().rev() {
        if let Some(bytes) = layer.read(LOCK)? {
            let file = tempfile::NamedTempFile::new().context("creating a scratch file")?;
            fs::write(file.path(), bytes).context("writing a scratch file")?;
            return Lock::read(file.path())?.with_context(|| format!("reading {LOCK} of {}", path.display()));
        }
    }
    anyhow::bail!("reading {}: there is no {LOCK} in its image", path.display())
}

fn version_changes(old: &Document, new: &Document) -> Vec<String> {
    let versions = |bill: &Document| -> BTreeMap<String, Vec<String>> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for package in &bill.packages {
            let kind = package.id.trim_start_matches("SPDXRef-").split('-').next().unwrap_or_default();
            let name =
                if kind == package.name { kind.to_owned() } else { format!("{kind} {}", package.name) };
            versions.entry(name).or_default().push(package.version_info.clone());
        }
        versions
    };
    let (old, new) = (versions(old), versions(new));
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(format!("{name}: {} -> {}", old.join(", "), new.join(", "))),
            (None, Some(new)) => Some(format!("{name}: new, {}", new.join(", "))),
            (Some(old), None) => Some(format!("{name}: gone, was {}", old.join(", "))),
            (None, None) => None,
        })
        .collect()
}

fn size_changes(old: &Parts, new: &Parts) -> Vec<String> {
    let kib = |parts: &Parts, name: &str| parts.get(name).map_or(0, |part| part.packed_bytes.div_ceil(1024));
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (old, new) = (kib(old, name), kib(new, name));
            (old != new)
                .then(|| format!("size of {name}: {old} -> {new} KiB ({:+})", new as i64 - old as i64))
        })
        .collect()
}

#[cfg(test)]
mod tests;
