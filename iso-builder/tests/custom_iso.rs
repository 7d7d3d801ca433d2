//! docs/custom-iso.md and the examples against the types.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use iso_builder::config::{Config, Custom};
use iso_builder::image::Recipe;
use iso_builder::kernel;
use iso_builder::project::Project;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// Returns the keys that a table may have, or the tables that a file may have: an unknown one is answered with them.
fn keys(table: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, format!("{table}\nno-such-key = 1\n")).unwrap();
    let error = Config::load(Some(&file)).unwrap_err().to_string();
    let (_, known) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the documented keys by table: the first column of the rows below each heading `## [table]`.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(here("docs/custom-iso.md")).unwrap();
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.split('`').nth(1).map(|name| name.trim_matches(['[', ']']).to_owned());
        } else if let (Some(table), Some(row)) = (&table, line.strip_prefix("| `")) {
            let key = row.split('`').next().unwrap().to_owned();
            assert!(
                tables.entry(table.clone()).or_default().insert(key.clone()),
                "{table}.{key} is there twice"
            );
        }
    }
    tables
}

#[test]
fn every_key_is_documented_and_nothing_else_is() {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for table in keys("") {
        let (name, head) = match table.as_str() {
            "network" => ("network.CARD".to_owned(), "[network.eth0]\naddress = \"10.0.0.1/8\"".to_owned()),
            "files" => ("files".to_owned(), "[[files]]\nto = \"/x\"".to_owned()),
            _ => (table.clone(), format!("[{table}]")),
        };
        known.insert(name, keys(&head).into_iter().collect());
    }
    known.insert("kernel.source".to_owned(), keys("[kernel.source]\nsha256 = \"\"").into_iter().collect());
    let engine = "[engine.archive]\nsha256 = \"\"\nversion = \"\"";
    known.insert("engine.archive".to_owned(), keys(engine).into_iter().collect());
    assert_eq!(documented(), known);
}

#[test]
fn the_examples_are_valid_and_do_what_they_say() {
    let project = Project::find().unwrap();
    let recipe = Recipe::read(&here("rootfs/image.toml")).unwrap();
    let load = |name: &str| Config::load(Some(&here(name))).unwrap();
    let default = Config::load(None).unwrap();

    let fleet = load("examples/fleet.toml");
    assert_eq!(fleet.custom, Custom::load(&here("examples/fleet.toml")).unwrap());
    assert_eq!(fleet.command_line(), format!("{} panic=30", default.append));

    let small = load("examples/small.toml");
    assert_eq!((small.uefi, recipe.with_groups(&small.groups).unwrap().groups().len()), (false, 0));
    assert_eq!(Config { uefi: true, groups: default.groups.clone(), ..small }, default);

    let mine = load("examples/kernel.toml");
    kernel::check(&project, &mine.kernel).unwrap();
    let modules: Vec<_> = mine.kernel.modules.iter().map(|module| module.value.as_str()).collect();
    assert_eq!(modules, ["CONFIG_USB_SERIAL_MCT_U232"]);
    assert!(!mine.custom.has_layer());
}
