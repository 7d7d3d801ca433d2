//! Two builds give the same bytes. The kernel comes from the cache; `iso-builder verify --kernel` compiles it twice.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use iso_builder::customize;
use iso_builder::project::Project;
use iso_builder::verify::Elsewhere;
use rustix::process::Pid;
use tests::random::Random;
use tests::{Deadline, Lab, child};

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

/// What goes on while layers are in the cache: configuration, our layer, bill of materials, initramfs and ISO.
#[test]
fn a_killed_build_is_taken_up_again() -> Result<()> {
    kill_builds("killed-build", &["debs", "guest", "compiled", "kernel", "layers", "tools"], 3)
}

#[test]
#[ignore = "compiles all programs of the image and packs all layers twice, and is killed ten times while it does"]
fn a_build_killed_again_and_again_is_taken_up_again() -> Result<()> {
    kill_builds("killed-builds", &["debs", "kernel", "tools"], 10)
}

/// Kills builds at random moments. Nothing of them may go on or lie under the ISO's name, and the build that is let go on
/// to its end must give the ISO of an undisturbed one.
fn kill_builds(name: &str, shared: &[&str], kills: u32) -> Result<()> {
    let lab = Lab::new(name)?;
    let project = Project::find()?;
    let cargo = ["build", "-q", "-p", "iso-builder", "--locked"];
    ensure!(
        Command::new(env!("CARGO")).args(cargo).current_dir(project.root()).status()?.success(),
        "compiling"
    );
    let build = |side: &str| -> Result<Command> {
        let folder = lab.folder().join(side);
        let elsewhere = Elsewhere::make(&project, &folder, shared)?;
        let config = folder.join("quick.toml");
        // Makes one more layer.
        fs::write(&config, "[[files]]\nto = \"/etc/b\"\ncontent = \"b\"\n")?;
        let mut command = Command::new(project.target().join("debug/iso-builder"));
        command.args(["build", "--locked", "--offline", "--config"]).arg(config);
        command.arg("-o").arg(folder.join("out.iso")).current_dir(elsewhere.checkout);
        command.env("BOOT2DOCKER_CACHE", elsewhere.cache);
        Ok(command)
    };
    let finish = |mut command: Command| -> Result<Duration> {
        let start = Instant::now();
        let output = command.output().context("starting iso-builder")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(start.elapsed())
    };
    let whole = finish(build("undisturbed")?)?;

    let seed = std::process::id();
    let mut random = Random::new(seed.into());
    let folder = lab.folder().join("killed");
    let mut command = build("killed")?;
    for _ in 0..kills {
        let moment = whole * u32::try_from(random.below(1000))? / 1000;
        let mut builder = command.spawn().context("starting iso-builder")?;
        if child::wait(&mut builder, Deadline::host(moment)).is_err() {
            child::kill(&mut builder);
            println!("killed after {moment:?} of {whole:?}, seed {seed}");
        }
        let deadline = Deadline::host(Duration::from_secs(5));
        while let Some(pid) = working_in(&folder)? {
            child::wait_for(pid, deadline).context("waiting for what a killed builder had started")?;
        }
        let out = folder.join("out.iso");
        if out.exists() {
            assert!(fs::read(&out)? == fs::read(lab.folder().join("undisturbed/out.iso"))?, "half an ISO");
        }
    }
    finish(command)?;
    let iso = |side: &str| fs::read(lab.folder().join(side).join("out.iso"));
    assert!(iso("undisturbed")? == iso("killed")?, "{}", lab.folder().display());
    Ok(())
}

/// Returns a process that has something of `folder` mounted or opened.
fn working_in(folder: &Path) -> Result<Option<Pid>> {
    let wanted = folder.as_os_str().as_bytes();
    let is_mounted = |mounts: &[u8]| mounts.windows(wanted.len()).any(|part| part == wanted);
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let process = entry.path();
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
            continue;
        };
        let mounts = fs::read(process.join("mountinfo")).unwrap_or_default();
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut files = files.filter_map(|file| fs::read_link(file.path()).ok());
        if is_mounted(&mounts) || files.any(|file| file.starts_with(folder)) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}
