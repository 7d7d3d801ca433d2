//! The command line.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::build::Build;
use crate::enter::{self, Bind, Spec};
use crate::inspect::{self, InspectOptions};
use crate::mirror::MirrorOptions;
use crate::packages::{LockOptions, Update};
use crate::project::Project;
use crate::qemu::run::{RunOptions, run as run_machine};
use crate::summary::{self, SummaryOptions};
use crate::tools::ToolsTree;
use crate::write::{self, Places, WriteOptions};
use crate::{clean, customize, verify};

/// Builds the boot2docker ISO from source and tries it out
///
/// Without a sub-command it builds target/boot2docker.iso. Packages come from the Debian mirror in the host's
/// apt sources; nothing on the host is installed or changed.
#[derive(Debug, Parser)]
#[command(name = "iso-builder", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Action>,
    /// TOML file laid over the built-in defaults
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    mirror: MirrorOptions,
    #[command(flatten)]
    lock: LockOptions,
    /// Where to write the ISO [default: target/boot2docker.iso]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build everything and write the ISO (the default)
    #[command(visible_alias = "iso")]
    Build {
        /// Where to write the ISO [default: target/boot2docker.iso]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Download the packages and unpack the tools tree
    Fetch,
    /// Compile the kernel, and what it needs first
    Kernel,
    /// Compile the guest programs and pack the root layers, and what they need first
    Rootfs,
    /// Boot the ISO in QEMU: data disk under target/, SSH and Docker on loopback, console on the terminal
    ///
    /// The exit code is 0 when the guest switched itself off, 1 when the machine ended otherwise.
    Run {
        /// The ISO to boot [default: target/boot2docker.iso]
        iso: Option<PathBuf>,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Write the ISO to a USB stick or disk, safely
    Write {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        options: WriteOptions,
    },
    /// Bake keys, settings, certificates and files into an ISO that exists, without building anything
    ///
    /// Needs neither root nor tools nor network. docs/custom-iso.md explains the keys of --config FILE.
    Customize {
        /// The ISO: a build's, or a downloaded one
        iso: PathBuf,
        /// Where to write the new ISO
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Show what is in an ISO: versions, boot entries, kernel options, packages, files
    Inspect {
        /// The ISO [default: target/boot2docker.iso]
        iso: Option<PathBuf>,
        #[command(flatten)]
        options: InspectOptions,
    },
    /// Show what an ISO's size is made of, and what changed against another one
    Summary {
        /// The ISO [default: target/boot2docker.iso]
        iso: Option<PathBuf>,
        #[command(flatten)]
        options: SummaryOptions,
    },
    /// Pin packages in boot2docker.lock anew, telling which versions changed
    Lock {
        /// Take the mirror's newest version of PACKAGE, or of every package when none is named
        #[arg(long, value_name = "PACKAGE", num_args = 0..=1)]
        update: Option<Option<String>>,
    },
    /// Build a second time elsewhere, as another user with other settings, and compare with the ISO
    Verify {
        /// Compile the kernel a second time as well, which takes long, instead of taking it from the cache
        #[arg(long)]
        kernel: bool,
    },
    /// Open a shell inside the tools tree; the sources are at /src
    Shell,
    /// Remove what was built in target/
    Clean {
        /// Remove from the cache, too, what no build has used for some days: packages, tools trees, kernels, layers
        #[arg(long)]
        cache: bool,
        /// How many days; 0 empties the cache
        #[arg(long, value_name = "N", default_value_t = 30, requires = "cache")]
        days: u32,
    },
}

/// Carries out a command line. Returns the exit code: that of the shell or machine, where one was run.
///
/// # Errors
/// Those of the steps, each naming what it was about.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { command, config, mirror, lock, output } = arguments;
    let start = || Build::start(config.as_deref(), lock.offline);
    match command.unwrap_or(Action::Build { output: None }) {
        Action::Build { output: named } => {
            let build = start()?;
            let out = named.or(output).unwrap_or_else(|| build.project().iso());
            build.project().target_folder("")?;
            build.iso(&mirror, &lock, &out)?;
        }
        Action::Fetch => drop(start()?.fetch(&mirror, &lock)?),
        Action::Kernel => {
            let build = start()?;
            let (packages, tools) = build.fetch(&mirror, &lock)?;
            println!("{}", build.kernel(&packages, &tools)?.image().display());
        }
        Action::Rootfs => {
            let build = start()?;
            let (packages, tools) = build.fetch(&mirror, &lock)?;
            let kernel = build.kernel(&packages, &tools)?;
            let (_, layers, _) = build.rootfs(&packages, &tools, &kernel)?;
            layers.iter().for_each(|layer| println!("{}", layer.file.display()));
        }
        Action::Lock { update } => {
            let update = match update {
                None => Update::Nothing,
                Some(None) => Update::All,
                Some(Some(name)) => Update::Package(name),
            };
            let changes = start()?.update_lock(&mirror, &update)?;
            println!("{}", if changes.is_empty() { "nothing changed".into() } else { changes.join("\n") });
        }
        Action::Verify { kernel } => {
            let build = start()?;
            let iso = output.unwrap_or_else(|| build.project().iso());
            build.iso(&mirror, &lock, &iso)?;
            let project = build.project().clone();
            drop(build);
            println!("{}", verify::run(&project, config.as_deref(), &iso, kernel)?);
        }
        Action::Shell => {
            let build = start()?;
            let (_, tools) = build.fetch(&mirror, &lock)?;
            let shell = Spec::new(&tools, "/src", &["/usr/bin/bash", "-i"])
                .bind(Bind::read_only(build.project().root(), "/src"))
                .env("TERM", &std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()))
                .env("PS1", "tools:\\w\\$ ");
            drop(build); // Others may build while the shell is open.
            return Ok(exit_code(shell.command()?.status()?));
        }
        Action::Run { iso, options } => {
            let project = Project::find()?;
            let iso = iso.unwrap_or_else(|| project.iso());
            return run_machine(&project, &ToolsTree::open(&project)?, &iso, &options);
        }
        Action::Write { places, options } => {
            let tools = || ToolsTree::open(&Project::find()?);
            write::run(&places.iso, &places.disk, &options, tools)?;
        }
        Action::Customize { iso, output } => {
            let config = config.context("customizing needs --config FILE, which says what to bake in")?;
            print_all(&customize::run(&iso, &config, &output)?)?;
        }
        Action::Inspect { iso, options } => {
            let iso = iso.map_or_else(|| Project::find().map(|project| project.iso()), Ok)?;
            print_all(&inspect::run(&iso, options)?)?;
        }
        Action::Summary { iso, options } => {
            let project = Project::find()?;
            let iso = iso.unwrap_or_else(|| project.iso());
            print_all(&summary::run(&project, &iso, &options)?)?;
        }
        Action::Clean { cache, days } => {
            let project = Project::find()?;
            clean::target(&project)?;
            if cache {
                let removed = clean::cache(&project, days)?;
                print_all(&removed.iter().map(|name| format!("removed {name}\n")).collect::<String>())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a long text; a reader that has seen enough, such as `head`, is fine.
fn print_all(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(enter::exit_code(status))
}
