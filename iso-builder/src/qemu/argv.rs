//! The pure half: a [`Machine`] -> the arguments of `qemu-system-x86_64`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::{
    Accelerator, Boot, Bus, Cable, Disk, Firmware, Machine, Nic, NicModel, QemuFiles, Serial, Share,
};

/// Drive name of what the machine boots from.
const BOOT_DRIVE: &str = "boot";

/// Port of the first screen. Source: RFC 6143, section 8.
pub(super) const VNC_FIRST_PORT: u16 = 5900;

/// SATA port of a boot disk: the last of the six that hw/ide/ich.c has.
const BOOT_PORT: usize = 5;

impl Machine {
    /// Returns the arguments that make QEMU present this machine.
    #[must_use]
    pub fn argv(&self, files: &QemuFiles) -> Vec<OsString> {
        let mut argv = Argv::default();
        for folder in &files.data {
            argv.add("-L", folder);
        }
        self.add_board(&mut argv, files);
        self.add_controllers(&mut argv);
        self.add_boot(&mut argv);
        for (index, disk) in self.disks.iter().enumerate() {
            add_disk(&mut argv, index, disk);
        }
        for (index, nic) in self.nics.iter().enumerate() {
            add_nic(&mut argv, index, nic);
        }
        for Share { tag, folder } in &self.shares {
            // What the guest creates belongs to the user who runs QEMU.
            let share = format!("local,id={tag},mount_tag={tag},security_model=none,multidevs=remap,path=");
            argv.add("-virtfs", with_path(&share, folder));
        }
        self.add_outside(&mut argv);
        argv.0
    }

    fn add_board(&self, argv: &mut Argv, files: &QemuFiles) {
        argv.flag("-nodefaults").flag("-no-user-config");
        let chipset = match self.firmware {
            Firmware::Bios => "pc",
            Firmware::Uefi { .. } => "q35",
        };
        argv.add("-machine", chipset);
        let hiding = if self.is_bare_metal { ",-hypervisor" } else { "" };
        match self.accelerator {
            Accelerator::Kvm => argv.add("-accel", "kvm").add("-cpu", format!("host{hiding}")),
            Accelerator::Tcg => argv.add("-accel", "tcg,thread=multi").add("-cpu", format!("max{hiding}")),
            // An instruction takes 2^1 ns; about as long as it takes translated on a host of today.
            Accelerator::Counted => argv
                .add("-accel", "tcg,thread=single")
                .add("-icount", "shift=1")
                .add("-cpu", format!("max{hiding}")),
        };
        argv.add("-m", format!("{}M", self.memory_mib)).add("-smp", self.cpus.to_string());
        argv.add("-rtc", "base=utc").add("-vga", "std").add("-device", "virtio-rng-pci");
        if let Firmware::Uefi { variables } = &self.firmware {
            argv.add("-drive", with_path("if=pflash,format=raw,unit=0,readonly=on,file=", &files.ovmf_code));
            argv.add("-drive", with_path("if=pflash,format=raw,unit=1,file=", variables));
        }
    }

    /// Adds each controller once that a disk or the boot medium hangs on.
    fn add_controllers(&self, argv: &mut Argv) {
        let boot = if let Boot::Disk(_, bus) = self.boot { Some(bus) } else { None };
        let uses = |bus| boot == Some(bus) || self.disks.iter().any(|disk| disk.bus == bus);
        // Not plainly "scsi": QEMU names the bus inside a usb-storage so.
        for (bus, device) in [
            (Bus::Ahci, "ahci,id=ahci"),
            (Bus::Scsi, "virtio-scsi-pci,id=virtio-scsi"),
            (Bus::Usb, "qemu-xhci,id=usb"),
        ] {
            if uses(bus) {
                argv.add("-device", device);
            }
        }
    }

    fn add_boot(&self, argv: &mut Argv) {
        match &self.boot {
            Boot::Cd(iso) => {
                argv.add("-drive", drive(BOOT_DRIVE, "media=cdrom,readonly=on", iso));
                // Secondary channel under BIOS, second SATA port under UEFI.
                argv.add("-device", format!("ide-cd,bus=ide.1,drive={BOOT_DRIVE},bootindex=0"));
            }
            Boot::Disk(iso, bus) => {
                argv.add("-drive", drive(BOOT_DRIVE, "snapshot=on", iso));
                argv.add(
                    "-device",
                    format!("{},serial={BOOT_DRIVE},bootindex=0", device(*bus, BOOT_PORT, BOOT_DRIVE)),
                );
            }
            Boot::Kernel { kernel, initrd, append } => {
                argv.add("-kernel", kernel).add("-initrd", initrd).add("-append", append);
            }
        }
    }

    fn add_outside(&self, argv: &mut Argv) {
        match &self.serial {
            Serial::Stdio => {
                argv.add("-chardev", "stdio,id=console,mux=on,signal=off");
                argv.add("-mon", "chardev=console,mode=readline");
            }
            Serial::Socket(path) => {
                argv.add("-chardev", with_path("socket,id=console,path=", path));
            }
            Serial::File(path) => {
                argv.add("-chardev", with_path("file,id=console,path=", path));
            }
        }
        argv.add("-serial", "chardev:console");
        if let Some(path) = &self.qmp {
            argv.add("-chardev", with_path("socket,id=qmp,path=", path))
                .add("-mon", "chardev=qmp,mode=control");
        }
        match self.vnc {
            // QEMU counts screens, not ports.
            Some(port) => argv.add("-display", format!("vnc=127.0.0.1:{}", port - VNC_FIRST_PORT)),
            None => argv.add("-display", "none"),
        };
    }
}

fn add_disk(argv: &mut Argv, index: usize, disk: &Disk) {
    let id = format!("disk{index}");
    // discard: space the guest trims is given back to the host's file system.
    let extra = if disk.is_read_only { "readonly=on" } else { "discard=unmap" };
    argv.add("-drive", drive(&id, extra, &disk.path));
    let device = device(disk.bus, index, &id);
    argv.add("-device", format!("{device},serial={},id={}", disk.serial, disk.serial));
}

fn add_nic(argv: &mut Argv, index: usize, nic: &Nic) {
    let mut netdev = format!("user,id=net{index}");
    if let Some(network) = &nic.network {
        netdev.push_str(&format!(",net={network}"));
    }
    if nic.is_isolated {
        netdev.push_str(",restrict=on");
    }
    for forward in &nic.forwards {
        netdev.push_str(&format!(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host, forward.guest));
    }
    if nic.is_alone {
        netdev = format!("hubport,id=net{index},hubid={index}");
    }
    let netdev = match &nic.cable {
        Some(Cable { near, far, .. }) => {
            let near_end = format!("dgram,id=net{index},local.type=unix,local.path=");
            let mut netdev = with_path(&near_end, near);
            netdev.push(with_path(",remote.type=unix,remote.path=", far));
            netdev
        }
        None => netdev.into(),
    };
    argv.add("-netdev", netdev);
    let model = match nic.model {
        NicModel::Virtio => "virtio-net-pci",
        NicModel::E1000 => "e1000",
    };
    // No option ROM: nobody boots from the network, and looking for one costs BIOS time.
    let address = nic.cable.as_ref().map(|cable| format!(",mac={}", cable.address)).unwrap_or_default();
    argv.add("-device", format!("{model},netdev=net{index},romfile={address}"));
}

/// Returns the value of `-drive` for a raw image that a `-device` will name.
fn drive(id: &str, extra: &str, path: &Path) -> OsString {
    with_path(&format!("if=none,format=raw,id={id},{extra},file="), path)
}

/// Returns the device that shows drive `id` on `bus`; `port` keeps drives apart where QEMU does not do so itself.
fn device(bus: Bus, port: usize, id: &str) -> String {
    match bus {
        Bus::Virtio => format!("virtio-blk-pci,drive={id}"),
        Bus::Ahci => format!("ide-hd,bus=ahci.{port},drive={id}"),
        Bus::Ide => format!("ide-hd,bus=ide.0,drive={id}"),
        Bus::Nvme => format!("nvme,drive={id}"),
        Bus::Scsi => format!("scsi-hd,bus=virtio-scsi.0,drive={id}"),
        Bus::Usb => format!("usb-storage,bus=usb.0,drive={id}"),
    }
}

/// Returns `option` followed by `path`, with QEMU's escape: a comma in a value is written twice.
fn with_path(option: &str, path: &Path) -> OsString {
    let mut bytes = option.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// Arguments under construction.
#[derive(Default)]
struct Argv(Vec<OsString>);

impl Argv {
    fn flag(&mut self, option: &str) -> &mut Self {
        self.0.push(option.into());
        self
    }

    fn add(&mut self, option: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(option.into());
        self.0.push(value.as_ref().to_os_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::qemu::Forward;

    fn files() -> QemuFiles {
        QemuFiles {
            data: vec!["/t/qemu".into(), "/t/seabios".into()],
            ovmf_code: "/t/CODE.fd".into(),
            ovmf_variables: "/t/VARS.fd".into(),
        }
    }

    fn machine() -> Machine {
        Machine {
            memory_mib: 2048,
            cpus: 2,
            accelerator: Accelerator::Tcg,
            is_bare_metal: false,
            firmware: Firmware::Bios,
            boot: Boot::Cd("/b2d.iso".into()),
            disks: Vec::new(),
            nics: Vec::new(),
            shares: Vec::new(),
            vnc: None,
            serial: Serial::Stdio,
            qmp: None,
        }
    }

    /// Returns the arguments as one line, for comparison with what one would type.
    fn line(machine: &Machine) -> String {
        let argv: Vec<_> =
            machine.argv(&files()).iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        argv.join(" ")
    }

    fn disk(bus: Bus) -> Disk {
        Disk { path: "/d.img".into(), bus, serial: "data".into(), is_read_only: false }
    }

    #[test]
    fn a_bios_machine_with_a_cd_is_this_command_line() {
        assert_eq!(
            line(&machine()),
            "-L /t/qemu -L /t/seabios -nodefaults -no-user-config -machine pc -accel tcg,thread=multi -cpu max \
             -m 2048M -smp 2 -rtc base=utc -vga std -device virtio-rng-pci \
             -drive if=none,format=raw,id=boot,media=cdrom,readonly=on,file=/b2d.iso \
             -device ide-cd,bus=ide.1,drive=boot,bootindex=0 \
             -chardev stdio,id=console,mux=on,signal=off -mon chardev=console,mode=readline \
             -serial chardev:console -display none"
        );
    }

    #[test]
    fn an_uefi_machine_that_boots_from_usb_is_this_command_line() {
        let machine = Machine {
            accelerator: Accelerator::Kvm,
            firmware: Firmware::Uefi { variables: "/run/vars.fd".into() },
            boot: Boot::Disk("/b2d.iso".into(), Bus::Usb),
            disks: vec![disk(Bus::Nvme)],
            nics: vec![Nic {
                forwards: vec![Forward { host: 0, guest: 22 }, Forward { host: 2376, guest: 2376 }],
                network: Some("192.168.99.0/24".into()),
                is_isolated: true,
                is_alone: false,
                cable: None,
                model: NicModel::E1000,
            }],
            serial: Serial::Socket("/run/console".into()),
            qmp: Some("/run/qmp".into()),
            ..machine()
        };
        assert_eq!(
            line(&machine),
            "-L /t/qemu -L /t/seabios -nodefaults -no-user-config -machine q35 -accel kvm -cpu host \
             -m 2048M -smp 2 -rtc base=utc -vga std -device virtio-rng-pci \
             -drive if=pflash,format=raw,unit=0,readonly=on,file=/t/CODE.fd \
             -drive if=pflash,format=raw,unit=1,file=/run/vars.fd -device qemu-xhci,id=usb \
             -drive if=none,format=raw,id=boot,snapshot=on,file=/b2d.iso \
             -device usb-storage,bus=usb.0,drive=boot,serial=boot,bootindex=0 \
             -drive if=none,format=raw,id=disk0,discard=unmap,file=/d.img -device nvme,drive=disk0,serial=data,id=data \
             -netdev user,id=net0,net=192.168.99.0/24,restrict=on,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:2376-:2376 \
             -device e1000,netdev=net0,romfile= -chardev socket,id=console,path=/run/console \
             -serial chardev:console -chardev socket,id=qmp,path=/run/qmp -mon chardev=qmp,mode=control \
             -display none"
        );
    }

    #[test]
    fn a_controller_is_added_once_however_many_disks_hang_on_it() {
        for (name, bus, controller) in [
            ("ahci", Bus::Ahci, "ahci,id=ahci"),
            ("scsi", Bus::Scsi, "virtio-scsi-pci,id=virtio-scsi"),
            ("usb", Bus::Usb, "qemu-xhci,id=usb"),
        ] {
            let machine = Machine { disks: vec![disk(bus), disk(bus)], ..machine() };
            assert_eq!(line(&machine).matches(controller).count(), 1, "{name}");
        }
        assert!(!line(&machine()).contains("ahci"), "no disk, no controller");
    }

    #[test]
    fn a_cable_to_nobody_ends_in_a_hub_of_its_own() {
        let alone = Nic { is_alone: true, ..Nic::default() };
        let text = line(&Machine { nics: vec![Nic::default(), alone], ..machine() });
        assert!(
            text.contains("-netdev hubport,id=net1,hubid=1 -device virtio-net-pci,netdev=net1"),
            "{text}"
        );
    }

    #[test]
    fn a_cable_between_two_machines_has_two_ends() {
        let address = "52:54:00:00:00:01".to_owned();
        let cable = Some(Cable { near: "/a,b/near".into(), far: "/a,b/far".into(), address });
        let text = line(&Machine { nics: vec![Nic { cable, ..Nic::default() }], ..machine() });
        let expected = "-netdev dgram,id=net0,local.type=unix,local.path=/a,,b/near,\
            remote.type=unix,remote.path=/a,,b/far -device virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:00:00:01";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn disks_on_ahci_get_ports_of_their_own() {
        let machine = Machine { disks: vec![disk(Bus::Ahci), disk(Bus::Ahci)], ..machine() };
        assert!(line(&machine).contains("ide-hd,bus=ahci.0,drive=disk0,serial=data"));
        assert!(line(&machine).contains("ide-hd,bus=ahci.1,drive=disk1,serial=data"));
    }

    #[test]
    fn a_pc_with_a_write_protected_disk_can_be_imagined() {
        let disks = vec![Disk { is_read_only: true, ..disk(Bus::Virtio) }];
        let text = line(&Machine { is_bare_metal: true, disks, ..machine() });
        assert!(text.contains("-cpu max,-hypervisor "), "{text}");
        assert!(text.contains("id=disk0,readonly=on,file=/d.img "), "{text}");
    }

    #[test]
    fn a_kernel_can_be_started_without_boot_loader() {
        let boot = Boot::Kernel {
            kernel: "/vmlinuz".into(),
            initrd: "/initrd.img".into(),
            append: "console=ttyS0 quiet".into(),
        };
        let text = line(&Machine { boot, ..machine() });
        assert!(text.contains("-kernel /vmlinuz -initrd /initrd.img -append console=ttyS0 quiet"), "{text}");
    }

    #[test]
    fn shares_and_a_screen_are_offered() {
        let shares = vec![Share { tag: "share0".into(), folder: "/my,work".into() }];
        let text = line(&Machine { shares, vnc: Some(5901), ..machine() });
        let share =
            "-virtfs local,id=share0,mount_tag=share0,security_model=none,multidevs=remap,path=/my,,work ";
        assert!(text.contains(share), "{text}");
        assert!(text.ends_with("-display vnc=127.0.0.1:1"), "{text}");
    }

    #[test]
    fn commas_in_paths_are_written_twice() {
        let path = PathBuf::from("/my,disks/b2d.iso");
        assert_eq!(with_path("file=", &path), "file=/my,,disks/b2d.iso");
    }
}
