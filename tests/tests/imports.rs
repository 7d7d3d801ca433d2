//! Who may import whom. The graph is the architecture: one crate below all guest programs, which never import each
//! other, and one above that puts them into one file; the builder stands alone; the tests use the builder and the contract.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// Crates of this workspace and the crates of it that they may import.
const EDGES: [(&str, &[&str]); 9] = [
    ("automount", &["b2d-sys"]),
    ("b2d-sys", &[]),
    ("boot-programs", &["automount", "docker-setup", "net-setup", "sshd-setup"]),
    ("docker-setup", &["b2d-sys"]),
    ("init", &["b2d-sys"]),
    ("iso-builder", &[]),
    ("net-setup", &["b2d-sys"]),
    ("sshd-setup", &["b2d-sys"]),
    ("tests", &["b2d-sys", "iso-builder"]),
];

/// Returns the top of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace")
}

/// Returns the names of the workspace's crates with those of the workspace they depend on.
fn edges() -> Result<BTreeMap<String, Vec<String>>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let imports = |dependencies: Vec<Dependency>| {
        let mut names: Vec<_> =
            dependencies.into_iter().filter(|it| it.path.is_some()).map(|it| it.name).collect();
        names.sort();
        names
    };
    Ok(metadata.packages.into_iter().map(|package| (package.name, imports(package.dependencies))).collect())
}

/// What is needed of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Only crates of the workspace have one.
    path: Option<String>,
}

#[test]
fn crates_import_only_what_lies_below_them() -> Result<()> {
    let edges = edges()?;
    assert_eq!(
        edges.keys().map(String::as_str).collect::<Vec<_>>(),
        EDGES.map(|(name, _)| name),
        "a new crate needs its line in EDGES"
    );
    for (name, allowed) in EDGES {
        for import in &edges[name] {
            assert!(allowed.contains(&import.as_str()), "{name} imports {import}; allowed: {allowed:?}");
        }
    }
    Ok(())
}

#[test]
fn plans_touch_nothing_but_their_arguments() {
    for (name, _) in EDGES {
        let plan = root().join(name.trim_start_matches("b2d-")).join("src/plan.rs");
        let Ok(text) = fs::read_to_string(&plan) else { continue };
        for forbidden in ["b2d_sys::effects", "std::fs", "std::process", "std::env", "SystemTime::now"] {
            let code = text.split("#[cfg(test)]").next().unwrap();
            assert!(!code.contains(forbidden), "{} uses {forbidden}: a plan is pure", plan.display());
        }
    }
}
