//! `iso-builder run`: the ISO in a machine with a data disk, its ports on the host's loopback, its console here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use super::argv::VNC_FIRST_PORT;
use super::{
    Accelerator, Boot, Bus, Disk, Firmware, Forward, Machine, Nic, QemuFiles, Serial, Share, accelerator,
};
use crate::project::Project;
use crate::tools::ToolsTree;
use ending::Ending;
use guest::Guest;

mod ending;
mod guest;
mod ports;

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

/// Port of the host that usually leads to the guest's sshd.
const HOST_SSH_PORT: u16 = 2022;

/// How many screens are tried before there is none.
const SCREENS: u16 = 100;

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
    /// Folder that the guest mounts under the same name, so that `docker run -v` finds it; may be given again
    #[arg(long, value_name = "DIR")]
    pub share: Vec<PathBuf>,
    /// Do not show the screen by VNC; the serial console stays on the terminal
    #[arg(long)]
    pub no_window: bool,
    /// Port of 127.0.0.1 that leads to SSH [default: 2022, or a free one when that is taken]
    #[arg(long, value_name = "PORT")]
    pub ssh_port: Option<u16>,
    /// Port of 127.0.0.1 that leads to the Docker API [default: 2376, or a free one when that is taken]
    #[arg(long, value_name = "PORT")]
    pub docker_port: Option<u16>,
}

/// Ports of the host's loopback that are ours while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    ssh: u16,
    docker: u16,
}

/// Runs the ISO at `iso` until the machine powers off; the terminal is its serial console. Returns success when the
/// guest switched itself off.
///
/// # Errors
/// When the ISO is missing, a port or a folder is not usable, the data disk cannot be made, or QEMU cannot be started.
pub fn run(project: &Project, tools: &ToolsTree, iso: &Path, options: &RunOptions) -> Result<ExitCode> {
    ensure!(iso.is_file(), "starting {}: no such file (run `cargo run -p iso-builder` first)", iso.display());
    let files = QemuFiles::of(tools);
    let ports = Ports {
        ssh: ports::choose(options.ssh_port, HOST_SSH_PORT, "--ssh-port")?,
        docker: ports::choose(options.docker_port, DOCKER_PORT, "--docker-port")?,
    };
    // Machines that run at the same time have different ports.
    let scratch = project.target_folder(&format!("run/{}", ports.docker))?;
    let ending = Ending::listen()?;
    let machine = Machine {
        memory_mib: options.memory,
        cpus: options.cpus,
        accelerator: accelerator(),
        is_bare_metal: false,
        firmware: firmware(options.uefi, &files, &scratch)?,
        boot: Boot::Cd(iso.to_path_buf()),
        disks: data_disk(project, tools, options)?.into_iter().collect(),
        nics: vec![nic(ports)],
        shares: shares(&options.share)?,
        vnc: if options.no_window { None } else { ports::first_free(VNC_FIRST_PORT, SCREENS) },
        serial: Serial::Stdio,
        qmp: Some(ending.socket().to_path_buf()),
    };
    let certificates = scratch.join("certs");
    announce(&machine, ports, &certificates);
    let shares = machine.shares.clone();
    let work = Guest { tools: tools.clone(), port: ports.ssh, scratch, certificates, shares }.start()?;
    let status = tools
        .program("qemu-system-x86_64")
        .args(machine.argv(&files))
        .status()
        .context("starting qemu-system-x86_64 from the tools tree")?;
    drop(work);
    ensure!(status.success(), "running the machine: qemu-system-x86_64: {status}");
    if ending.is_power_off() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "iso-builder: the machine did not switch itself off; it was ended from outside or by a failure"
    );
    Ok(ExitCode::FAILURE)
}

fn shares(folders: &[PathBuf]) -> Result<Vec<Share>> {
    let share = |(number, folder): (usize, &PathBuf)| {
        let full = fs::canonicalize(folder).with_context(|| format!("sharing {}", folder.display()))?;
        ensure!(full.is_dir(), "sharing {}: it is no folder", folder.display());
        Ok(Share { tag: format!("share{number}"), folder: full })
    };
    folders.iter().enumerate().map(share).collect()
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

fn nic(ports: Ports) -> Nic {
    let forwards = vec![
        Forward { host: ports.ssh, guest: SSH_PORT },
        Forward { host: ports.docker, guest: DOCKER_PORT },
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

fn announce(machine: &Machine, ports: Ports, certificates: &Path) {
    if machine.accelerator == Accelerator::Tcg {
        eprintln!("no hardware virtualisation on this host: emulating, which is about ten times slower");
    }
    for disk in &machine.disks {
        eprintln!("data disk   {}", disk.path.display());
    }
    if let Some(port) = machine.vnc {
        eprintln!("screen      vnc://127.0.0.1:{port}");
    }
    eprintln!("ssh         ssh -p {} docker@127.0.0.1   (password: tcuser)", ports.ssh);
    eprintln!("docker      in another terminal, as soon as the certificates are fetched:\n");
    eprintln!("export DOCKER_HOST=tcp://127.0.0.1:{}", ports.docker);
    eprintln!("export DOCKER_TLS_VERIFY=1");
    eprintln!("export DOCKER_CERT_PATH={}\n", certificates.display());
    eprintln!(
        "console     below; `sudo poweroff` ends the machine, Ctrl-A x pulls its plug, Ctrl-A h helps\n"
    );
}
