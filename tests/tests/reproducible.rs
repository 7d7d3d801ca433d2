//! Two builds give the same bytes. The kernel comes from the cache; `iso-builder verify --kernel` compiles it twice.

use std::fs;
use std::process::Command;

use anyhow::Result;
use iso_builder::customize;
use iso_builder::project::Project;
use tests::Lab;

/// Other folder, user, umask, time zone, locale, host name, number of jobs and clock.
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

/// Whether the files are baked in by a build or into its result makes no difference. Here both begin with the ISO that the
/// checkout builds, whatever ISO the other tests are told to test.
#[test]
fn a_build_and_customizing_give_the_same_iso() -> Result<()> {
    let lab = Lab::new("customized-build")?;
    let project = Project::find()?;
    let config = project.root().join("examples/fleet.toml");
    let at = |name: &str| lab.folder().join(name);
    for (arguments, name) in [(&[][..], "plain.iso"), (&["--config", "examples/fleet.toml"][..], "built.iso")]
    {
        let mut build = Command::new(env!("CARGO"));
        build.args(["run", "-q", "-p", "iso-builder", "--", "build", "--locked"]).args(arguments);
        let output = build.arg("-o").arg(at(name)).current_dir(project.root()).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    customize::run(&at("plain.iso"), &config, &at("customized.iso"))?;
    assert!(fs::read(at("built.iso"))? == fs::read(at("customized.iso"))?, "{}", lab.folder().display());
    Ok(())
}
