//! The programs of the image, compiled by the host's Rust inside the tools tree.
//!
//! Compiler paths, linker and C library are the same in every build: the sources appear at `/src`, Rust at
//! `/rust`, the crates at `/cargo`. So two hosts with the same Rust make the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::digest::KeyBuilder;
use crate::enter::{Bind, Spec};
use crate::progress::Progress;
use crate::project::Project;
use crate::tools::ToolsTree;
use crate::{host, run, step};

/// Raised when the code below changes the result.
const REVISION: u32 = 2;

/// PID 1's program.
pub const INIT: &str = "init";

/// The program that is all those of the boot that PID 1 starts.
pub const BOOT: &str = "boot-programs";

/// Packages of the workspace that hold a program of the image, named like it.
pub const PROGRAMS: [&str; 2] = [INIT, BOOT];

/// Names that [`BOOT`] is called by, each a link to it.
pub const BOOT_PROGRAMS: [&str; 4] = ["automount", "docker-setup", "net-setup", "sshd-setup"];

/// Folders of the workspace with the crates that the programs are made of.
pub(crate) const CRATES: [&str; 7] =
    ["sys", "init", "automount", "docker-setup", "net-setup", "sshd-setup", "boot-programs"];

/// Files of the workspace that say how they are compiled, and what they include of the image.
const MORE: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rootfs/files/usr/local/etc/ssh/sshd_config"];

/// The only target: the host's own, so that nothing but the stock toolchain is needed.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The host's Rust, as far as the guest build needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rust {
    version: String,
    sysroot: PathBuf,
    cargo_home: PathBuf,
}

impl Rust {
    fn find() -> Result<Self> {
        let version = run::text(Command::new("rustc").arg("-vV")).context("asking rustc for its version")?;
        let sysroot =
            run::text(Command::new("rustc").args(["--print", "sysroot"])).context("finding Rust's folder")?;
        let sysroot = PathBuf::from(sysroot.trim());
        if !sysroot.join("bin/cargo").is_file() {
            bail!(
                "finding cargo in {}: the guest programs are compiled with a toolchain that lies in one folder; \
                 install Rust with rustup",
                sysroot.display()
            );
        }
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        let cargo_home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or(home)
            .context("finding cargo's folder: neither CARGO_HOME nor HOME is set")?;
        Ok(Self { version, sysroot, cargo_home })
    }
}

/// Returns the folder with the compiled programs.
///
/// # Errors
/// When they do not compile; the text has the compiler's last words and the path of its whole output.
pub fn build(
    project: &Project,
    tools: &ToolsTree,
    epoch: u64,
    offline: bool,
    ui: Progress,
) -> Result<PathBuf> {
    let rust = Rust::find()?;
    let mut key = KeyBuilder::new("guest", REVISION).text(&rust.version).text(&tools.key());
    key = key.text(&epoch.to_string());
    for source in CRATES.iter().chain(&MORE) {
        key = key.tree(&project.root().join(source))?;
    }
    // A checkout of the same sources compiles the same bytes, so all share them.
    step::shared(&project.cache_folder("guest")?, &key.finish(), "compiling these programs", |part| {
        let bar = ui.spinner("compiling the guest programs");
        fetch_crates(project, offline)?;
        let spec = spec(project, tools, &rust, epoch)?;
        let log = project.target_folder("logs")?.join("guest.log");
        step::remove(&log)?;
        run::logged(&mut spec.command()?, &log, |line| bar.detail(line.trim()))?;
        let made = project.target().join("guest/cargo").join(TARGET).join("guest");
        for program in PROGRAMS {
            fs::copy(made.join(program), part.join(program))
                .with_context(|| format!("copying the guest program {program}"))?;
        }
        Ok(())
    })
}

/// Downloads the crates of `Cargo.lock`; inside the tools tree there is no network.
pub(crate) fn fetch_crates(project: &Project, offline: bool) -> Result<()> {
    let mut cargo = Command::new("cargo");
    if offline {
        cargo.arg("--offline");
    }
    cargo.args(["fetch", "--locked", "--target", TARGET]).current_dir(project.root());
    run::output(&mut cargo).map(drop).context("downloading the crates of Cargo.lock")
}

fn spec(project: &Project, tools: &ToolsTree, rust: &Rust, epoch: u64) -> Result<Spec> {
    let out = project.target_folder("guest/cargo")?;
    let cargo_home = project.target_folder("guest/cargo-home")?;
    // Cargo writes its locks beside the registry; the registry itself is the host's and stays untouched.
    fs::create_dir_all(cargo_home.join("registry")).context("creating a folder for cargo")?;
    let jobs = host::jobs().to_string();
    let mut arguments = vec![
        "/rust/bin/cargo",
        "build",
        "--frozen",
        "--profile",
        "guest",
        "--target",
        TARGET,
        "--jobs",
        &jobs,
    ];
    for program in PROGRAMS {
        arguments.extend(["-p", program]);
    }
    Ok(Spec::new(tools, "/src", &arguments)
        .bind(Bind::read_only(project.root(), "/src"))
        .bind(Bind::read_only(&rust.sysroot, "/rust"))
        .bind(Bind::writable(cargo_home, "/cargo"))
        .bind(Bind::read_only(rust.cargo_home.join("registry"), "/cargo/registry"))
        .bind(Bind::writable(out, "/out"))
        .env("PATH", "/rust/bin:/usr/sbin:/usr/bin")
        .env("CARGO_HOME", "/cargo")
        .env("CARGO_TARGET_DIR", "/out")
        .env("CARGO_TERM_COLOR", "never")
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static")
        .env("SOURCE_DATE_EPOCH", &epoch.to_string()))
}
