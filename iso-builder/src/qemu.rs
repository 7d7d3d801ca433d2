//! A virtual machine as a value, and the QEMU command line it means.
//!
//! Used by `iso-builder run` and by the boot tests. Nothing here starts a process except [`run`].

mod argv;
pub mod run;

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use crate::tools::ToolsTree;

/// Where CPU features are listed.
const CPUINFO: &str = "/proc/cpuinfo";

/// The kernel's interface to hardware virtualisation.
const KVM: &str = "/dev/kvm";

/// A virtual machine. Everything not named here is the same in all of them: RTC in UTC, a VGA adapter, virtio-rng.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Unit: MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Whether the processor denies that there is a hypervisor, as a PC's does.
    pub is_bare_metal: bool,
    /// What runs before the boot loader; decides the chipset as well.
    pub firmware: Firmware,
    /// What the firmware starts.
    pub boot: Boot,
    /// Writable disks, in the order the firmware sees them.
    pub disks: Vec<Disk>,
    /// Network cards, in the order eth0, eth1, ...
    pub nics: Vec<Nic>,
    /// Folders of the host that the guest can mount.
    pub shares: Vec<Share>,
    /// Port of 127.0.0.1 on which the screen is shown by VNC; without one nobody sees it.
    pub vnc: Option<u16>,
    /// The other end of the first serial port.
    pub serial: Serial,
    /// Unix socket on which the owner listens for QEMU's control connection.
    pub qmp: Option<PathBuf>,
}

/// Firmware and the chipset it is found on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS on an i440FX with a parallel IDE controller, as VirtualBox and old hypervisors present it.
    Bios,
    /// OVMF on a Q35.
    Uefi {
        /// This machine's own copy of the variable store; QEMU writes to it.
        variables: PathBuf,
    },
}

/// What the machine starts from. The image is never changed: writes go to a temporary file of QEMU's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// An ISO in a CD drive.
    Cd(PathBuf),
    /// An ISO written byte by byte to a disk.
    Disk(PathBuf, Bus),
    /// A kernel started by QEMU itself, without boot loader.
    Kernel {
        /// The bzImage.
        kernel: PathBuf,
        /// The initramfs.
        initrd: PathBuf,
        /// The kernel command line.
        append: String,
    },
}

/// A raw disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The image file.
    pub path: PathBuf,
    /// The controller it hangs on.
    pub bus: Bus,
    /// Serial number the guest reads; at most 20 bytes survive on every bus.
    pub serial: String,
    /// Whether the guest's writes are refused.
    pub is_read_only: bool,
}

/// The controller of a disk, and so its name in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk: `vda`.
    Virtio,
    /// A SATA controller of its own: `sda`.
    Ahci,
    /// The chipset's controller: parallel IDE under BIOS, SATA under UEFI: `sda`.
    Ide,
    /// `nvme0n1`.
    Nvme,
    /// virtio-scsi: `sda`.
    Scsi,
    /// USB 3 mass storage: `sda`, a second or more after the others.
    Usb,
}

/// A folder of the host, offered by 9p.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What the guest mounts it by.
    pub tag: String,
    /// The folder.
    pub folder: PathBuf,
}

/// A network card on a user-mode network of its own: QEMU is router, DHCP and DNS server there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// The card.
    pub model: NicModel,
    /// The network's addresses; 10.0.2.0/24 unless given.
    pub network: Option<String>,
    /// Ports of the host's loopback that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Whether the guest is cut off from everything but the forwards.
    pub is_isolated: bool,
    /// Whether the cable leads to nobody: no DHCP server, no neighbour.
    pub is_alone: bool,
    /// The cable to one other machine, in place of a network.
    pub cable: Option<Cable>,
}

/// A cable between two machines. Each end is a socket in the file system; the other machine has them the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cable {
    /// This machine's end, made by QEMU. It must not exist yet.
    pub near: PathBuf,
    /// The other machine's end; until it is there, what is sent is lost.
    pub far: PathBuf,
    /// Hardware address of the card. QEMU would give both machines' cards the same.
    pub address: String,
}

/// The hardware of a network card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NicModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82540EM, the default of VirtualBox and VMware.
    E1000,
}

/// A TCP port of 127.0.0.1 that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Port on the host; 0 lets QEMU choose a free one (`info usernet` tells which).
    pub host: u16,
    /// Port in the guest.
    pub guest: u16,
}

/// The other end of the first serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// The terminal QEMU was started on; Ctrl-A x ends the machine.
    Stdio,
    /// A Unix socket on which somebody listens already.
    Socket(PathBuf),
    /// A file that only collects the output.
    File(PathBuf),
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// Translation in software, one host thread for each virtual CPU; roughly ten times slower.
    Tcg,
    /// Translation in software, all virtual CPUs by turns on one host thread, and a clock that counts their instructions:
    /// what they do takes the same time on a busy host as on an idle one.
    Counted,
}

/// Files QEMU reads that are not part of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuFiles {
    /// Folders of firmware and option ROMs, searched in this order.
    pub data: Vec<PathBuf>,
    /// OVMF's code, shared by all machines.
    pub ovmf_code: PathBuf,
    /// OVMF's empty variable store, to be copied for each machine.
    pub ovmf_variables: PathBuf,
}

impl QemuFiles {
    /// Returns where Debian's packages put these files in `tools`.
    #[must_use]
    pub fn of(tools: &ToolsTree) -> Self {
        Self {
            data: ["/usr/share/qemu", "/usr/share/seabios"].map(|folder| tools.path(folder)).into(),
            ovmf_code: tools.path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
            ovmf_variables: tools.path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        }
    }
}

/// Returns KVM where its device opens and the processor really has the extension, else emulation.
///
/// Some hosts show `/dev/kvm` without the processor flag; QEMU then fails at its first instruction.
#[must_use]
pub fn accelerator() -> Accelerator {
    let opens = OpenOptions::new().read(true).write(true).open(KVM).is_ok();
    let cpuinfo = fs::read_to_string(CPUINFO).unwrap_or_default();
    if opens && has_virtualisation(&cpuinfo) { Accelerator::Kvm } else { Accelerator::Tcg }
}

/// Returns whether a processor in `cpuinfo` has Intel's or AMD's virtualisation extension.
fn has_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::has_virtualisation;

    #[test]
    fn kvm_needs_the_processor_flag_and_not_merely_a_similar_word() {
        for (name, cpuinfo, expected) in [
            ("intel", "flags\t\t: fpu vme vmx ssse3\n", true),
            ("amd", "processor\t: 0\nflags\t\t: fpu svm\n", true),
            ("vmx only among vmx flags", "vmx flags\t: vnmi vmx\nflags\t\t: fpu\n", false),
            ("a longer word", "flags\t\t: svm_lock vmxnet\n", false),
            ("empty", "", false),
        ] {
            assert_eq!(has_virtualisation(cpuinfo), expected, "{name}");
        }
    }
}
