//! `bench` from its options to its results.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use iso_builder::project::Project;
use iso_builder::qemu::{Accelerator, Boot, accelerator};
use iso_builder::step;

use super::guest::GuestFiles;
use super::machine::Running;
use super::measure::{OURS, PEER, Samples};
use super::peer::Peer;
use super::report::{self, Circumstances};
use super::series::Series;
use super::subject::{self, Ours, Size, State, Subject};
use super::{chart, floor};
use crate::slot::Slot;
use crate::{Deadline, Lab};

/// Measures our ISO beside a Debian with systemd and the same engine, made on the spot, and shows the result
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "bench")]
pub struct Options {
    /// Rounds: in each, every system is started in each of its ways
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub pairs: usize,
    /// Rounds of what takes long: memory, `docker run`, `docker load`, fifty containers
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub work: usize,
    /// One round, without boot loaders, loading images, fifty containers and the least memory
    #[arg(long)]
    pub quick: bool,
    /// Only boot both once, each for the first time, and print the ratio of the times from kernel start to API
    #[arg(long, conflicts_with = "quick")]
    pub budget: bool,
    /// Only count the instructions of one boot each until the API answers, as processor time: no load on the host moves that
    #[arg(long, conflicts_with_all = ["quick", "budget"])]
    pub counted: bool,
    /// Memory of each machine, in MiB
    #[arg(long, value_name = "MIB", default_value_t = subject::DEFAULT_SIZE.memory_mib)]
    pub memory: u32,
    /// Number of virtual CPUs of each machine
    #[arg(long, value_name = "N", default_value_t = subject::DEFAULT_SIZE.cpus)]
    pub cpus: u32,
    /// Leave out the search for the least memory
    #[arg(long)]
    pub no_least: bool,
    /// Kernel of a third system
    #[arg(long, value_name = "FILE", requires = "initrd")]
    pub kernel: Option<PathBuf>,
    /// Initramfs of the third system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line of the third system
    #[arg(long, value_name = "ARGUMENTS", default_value = "console=ttyS0")]
    pub append: String,
    /// Disk of the third system; it is not changed
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// Text on the third system's console that ends its boot; without it the system must start target/bench/guest/*/probe
    #[arg(long, value_name = "TEXT")]
    pub ready: Option<String>,
}

/// Measures what `options` ask for, prints the table, and writes `bench.json`, `bench.md` and `bench.svg` into `target/`.
///
/// # Errors
/// When a system cannot be made, does not come up, or a result cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let lab = Lab::new("bench")?;
    let project = Project::find()?;
    let _slot = Slot::acquire(&lab.slots())?;
    let size = Size { memory_mib: options.memory, cpus: options.cpus };
    let files = GuestFiles::prepare(&project, lab.tools())?;
    let ours = Ours::extract(&project, &lab)?;
    let peer = Peer::prepare(&lab, &project, &files, State::Settled)?;
    let disk = subject::data_disk(&project, &lab, &ours, &files, State::Settled)?;
    let floor = ours.floor(&floor::initrd(&project, lab.tools(), &ours)?, &disk, size);
    let both = [ours.subject(&disk, size), subject::of_peer(&peer, size)];
    let mut series = Series { lab: &lab, samples: Samples::default() };
    sizes(&mut series.samples, &ours, &peer)?;
    if options.counted {
        for subject in both.iter().chain([&floor]) {
            series.count(subject)?;
        }
        println!("{}", report::table(&series.samples));
        return Ok(());
    }
    let third = third(options, size)?;
    let all: Vec<_> = both.iter().cloned().chain([floor]).chain(third).collect();
    let (pairs, work) = if options.quick { (1, 1) } else { (options.pairs, options.work) };
    // What was measured is written after each round: a run that is cut short is not for nothing.
    let told =
        |samples: &Samples, rounds| write(&project, samples, &circumstances(options, rounds, &ours, &peer));
    for round in 0..pairs.max(work) {
        if round < pairs {
            series.boot_all(&all, options.quick)?;
        }
        if round < work {
            for subject in &both {
                series.work(subject, options.quick).with_context(|| format!("measuring {}", subject.name))?;
            }
        }
        told(&series.samples, pairs.min(round + 1))?;
    }
    if !options.quick && !options.no_least {
        for subject in &both {
            series.least(subject).with_context(|| format!("measuring {}", subject.name))?;
        }
    }
    told(&series.samples, pairs)?;
    println!("\n{}\n{}", report::table(&series.samples), report::targets(&series.samples));
    Ok(())
}

/// Boots our system and the peer once each, for the first time, and returns our time from kernel start to API by its.
///
/// # Errors
/// As [`run`].
pub fn budget(options: &Options) -> Result<f64> {
    let lab = Lab::new("budget")?;
    let project = Project::find()?;
    let _slot = Slot::acquire(&lab.slots())?;
    let size = Size { memory_mib: options.memory, cpus: options.cpus };
    let files = GuestFiles::prepare(&project, lab.tools())?;
    let peer = Peer::prepare(&lab, &project, &files, State::New)?;
    let ours = Ours::extract(&project, &lab)?;
    let disk = subject::data_disk(&project, &lab, &ours, &files, State::New)?;
    let mut times = [0.0; 2];
    for (subject, time) in [ours.subject(&disk, size), subject::of_peer(&peer, size)].iter().zip(&mut times) {
        let mut machine = Running::start(&lab, subject.direct())?;
        *time = machine.event("api", Deadline::boot())?.since_kernel;
        eprintln!("bench: {}: {time:.2} s from kernel start to API, at its first boot", subject.name);
    }
    Ok(times[0] / times[1])
}

fn third(options: &Options, size: Size) -> Result<Option<Subject>> {
    let Some((kernel, initrd)) = options.kernel.clone().zip(options.initrd.clone()) else { return Ok(None) };
    for file in [&kernel, &initrd].into_iter().chain(&options.disk) {
        ensure!(file.is_file(), "starting the third system: {} does not exist", file.display());
    }
    let boot = Boot::Kernel { kernel, initrd, append: options.append.clone() };
    let start = subject::start(boot, false, options.disk.as_deref(), size);
    Ok(Some(Subject {
        name: "third".to_owned(),
        ways: vec![("power-on-kernel", start)],
        ready: options.ready.clone(),
    }))
}

/// Adds what needs no machine: sizes of files.
fn sizes(samples: &mut Samples, ours: &Ours, peer: &Peer) -> Result<()> {
    let mib = |files: &[&PathBuf]| -> Result<f64> {
        let mut bytes = 0;
        for file in files {
            bytes += fs::metadata(file).with_context(|| format!("reading {}", file.display()))?.len();
        }
        Ok(bytes as f64 / f64::from(1 << 20))
    };
    samples.add("read", OURS, mib(&[&ours.kernel, &ours.stage0])?);
    samples.add("read", PEER, mib(&[&peer.kernel, &peer.initrd])?);
    samples.add("size", OURS, mib(&[&ours.iso])?);
    samples.add("size", PEER, peer.size_mib()?);
    Ok(())
}

fn circumstances(options: &Options, rounds: usize, ours: &Ours, peer: &Peer) -> Circumstances {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Circumstances {
        date: time::OffsetDateTime::from(SystemTime::now()).date().to_string(),
        host: format!("{count} x {}", model.trim_start_matches([' ', '\t', ':'])),
        accelerator: match accelerator() {
            Accelerator::Kvm => "KVM".to_owned(),
            Accelerator::Tcg | Accelerator::Counted => "software emulation".to_owned(),
        },
        machine: format!("{} CPUs and {} MiB", options.cpus, options.memory),
        pairs: rounds,
        iso: ours.sha256.clone(),
        peer: peer.manifest.lines().map(str::to_owned).collect(),
    }
}

fn write(project: &Project, samples: &Samples, circumstances: &Circumstances) -> Result<()> {
    let json = serde_json::to_string_pretty(&report::json(samples, circumstances))?;
    for (name, text) in [
        ("bench.json", json + "\n"),
        ("bench.md", report::markdown(samples, circumstances)),
        ("bench.svg", chart::svg(samples, circumstances)),
    ] {
        step::write_atomically(&project.target().join(name), text.as_bytes())?;
    }
    Ok(())
}
