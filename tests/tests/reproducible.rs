//! Two builds give the same bytes. The kernel comes from the cache; `iso-builder verify --kernel` compiles it twice.

use std::process::Command;

use anyhow::Result;
use iso_builder::project::Project;
use tests::Lab;

/// Other folder, user, umask, time zone, locale, host name, number of processors and clock.
#[test]
fn a_build_elsewhere_gives_the_same_iso() -> Result<()> {
    Lab::new("reproducible")?; // The ISO is built and the crates are there.
    let project = Project::find()?;
    let output = Command::new(env!("CARGO"))
        .args(["run", "-q", "-p", "iso-builder", "--", "verify", "--locked"])
        .current_dir(project.root())
        .output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.ends_with("  two builds gave the same bytes\n"), "{printed}");
    assert_eq!(printed.split(' ').next().map(str::len), Some(64), "{printed}");
    Ok(())
}
