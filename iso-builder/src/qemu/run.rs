//! `iso-builder run`: the ISO in a machine with a data disk, its ports on the host's loopback, its console here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result, ensure};

use super::{Accelerator, Boot, Bus, Disk, Firmware, Forward, Machine, Nic, QemuFiles, Serial, accelerator};
use crate::project::Project;
use crate::tools::ToolsTree;

/// Label of the data disk. Source: boot2docker automount.
const DATA_LABEL: &str = "boot2docker-data";

/// Size of a new data disk; the file is sparse. Docker Machine's default is 20000 MB.
const DATA_BYTES: u64 = 20_000 << 20;

/// Bytes per inode, as boot2docker has always made data disks: overlay needs many inodes.
const BYTES_PER_INODE: &str = "8192";

/// Port of sshd in the guest.
const SSH_PORT: u16 = 22;

/// Port of the Docker API in the guest.
const DOCKER_PORT: u16 = 2376;

/// Options of `iso-builder run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunOptions {
    /// Memory of the machine, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub memory: u32,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    /// Start with UEFI firmware instead of BIOS
    #[arg(long)]
    pub uefi: bool,
    /// Data disk; made and formatted when it does not exist [default: target/boot2docker-data.img]
    #[arg(long, value_name = "FILE", conflicts_with = "no_disk")]
    pub disk: Option<PathBuf>,
    /// Run without data disk: everything is lost with the machine
    #[arg(long)]
    pub no_disk: bool,
    /// Port of 127.0.0.1 that leads to SSH
    #[arg(long, value_name = "PORT", default_value_t = 2022)]
    pub ssh_port: u16,
    /// Port of 127.0.0.1 that leads to the Docker API
    #[arg(long, value_name = "PORT", default_value_t = DOCKER_PORT)]
    pub docker_port: u16,
}

/// Runs the ISO at `iso` until the machine powers off; the terminal is its serial console.
///
/// # Errors
/// When the ISO is missing, or the data disk cannot be made, or QEMU cannot be started.
pub fn run(project: &Project, tools: &ToolsTree, iso: &Path, options: &RunOptions) -> Result<ExitStatus> {
    ensure!(iso.is_file(), "starting {}: no such file (run `cargo run -p iso-builder` first)", iso.display());
    let files = QemuFiles::of(tools);
    let scratch = project.target_folder("run")?;
    let machine = Machine {
        memory_mib: options.memory,
        cpus: options.cpus,
        accelerator: accelerator(),
        is_bare_metal: false,
        firmware: firmware(options.uefi, &files, &scratch)?,
        boot: Boot::Cd(iso.to_path_buf()),
        disks: data_disk(project, tools, options)?.into_iter().collect(),
        nics: vec![nic(options)],
        serial: Serial::Stdio,
        qmp: None,
    };
    announce(&machine, options);
    tools
        .program("qemu-system-x86_64")
        .args(machine.argv(&files))
        .status()
        .context("starting qemu-system-x86_64 from the tools tree")
}

fn firmware(uefi: bool, files: &QemuFiles, scratch: &Path) -> Result<Firmware> {
    if !uefi {
        return Ok(Firmware::Bios);
    }
    let variables = scratch.join("uefi-variables.fd");
    fs::copy(&files.ovmf_variables, &variables)
        .with_context(|| format!("copying {} to {}", files.ovmf_variables.display(), variables.display()))?;
    Ok(Firmware::Uefi { variables })
}

fn nic(options: &RunOptions) -> Nic {
    let forwards = vec![
        Forward { host: options.ssh_port, guest: SSH_PORT },
        Forward { host: options.docker_port, guest: DOCKER_PORT },
    ];
    Nic { forwards, ..Nic::default() }
}

fn data_disk(project: &Project, tools: &ToolsTree, options: &RunOptions) -> Result<Option<Disk>> {
    if options.no_disk {
        return Ok(None);
    }
    let path = options.disk.clone().unwrap_or_else(|| project.target().join("boot2docker-data.img"));
    if !path.exists() {
        make_data_disk(tools, &path)?;
    }
    Ok(Some(Disk { path, bus: Bus::Virtio, serial: "data".into(), is_read_only: false }))
}

/// Makes an empty data disk. It gets its name last, so an interrupted run leaves nothing that looks finished.
fn make_data_disk(tools: &ToolsTree, path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    File::create(&part)
        .and_then(|file| file.set_len(DATA_BYTES))
        .with_context(|| format!("creating the data disk {}", part.display()))?;
    let output = tools
        .program("mkfs.ext4")
        .env("MKE2FS_CONFIG", tools.path("/etc/mke2fs.conf"))
        .args(["-q", "-F", "-L", DATA_LABEL, "-i", BYTES_PER_INODE, "-E", "root_owner=0:0"])
        .arg(&part)
        .output()
        .context("starting mkfs.ext4 from the tools tree")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "formatting {}: {}: {}", part.display(), output.status, stderr.trim());
    fs::rename(&part, path).with_context(|| format!("renaming {} to {}", part.display(), path.display()))
}

fn announce(machine: &Machine, options: &RunOptions) {
    if machine.accelerator == Accelerator::Tcg {
        eprintln!("no hardware virtualisation on this host: emulating, which is about ten times slower");
    }
    for disk in &machine.disks {
        eprintln!("data disk   {}", disk.path.display());
    }
    eprintln!("ssh         ssh -p {} docker@127.0.0.1   (password: tcuser)", options.ssh_port);
    eprintln!(
        "docker api  tcp://127.0.0.1:{}   (TLS, certificates in /home/docker/.docker)",
        options.docker_port
    );
    eprintln!("console     below; Ctrl-A x ends the machine at once, `sudo poweroff` cleanly\n");
}
