//! Whatever goes wrong in PID 1, there is a shell or at least a reason on the console, and never a kernel panic.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use b2d_sys::contract::{CLEAN_END, RESCUE};
use iso_builder::qemu::Boot;
use tests::direct::direct;
use tests::iso9660::{Iso, SECTOR_BYTES};
use tests::{Deadline, Lab, Vm};

const CONSOLES: &str = "loglevel=3 console=tty0 console=ttyS0";

/// So far before the end of the initramfs is its last layer. Unit: bytes.
const DAMAGE_BYTES: u64 = 64 << 10;

/// The rescue shell's prompt.
const PROMPT: &str = "rescue# ";

#[test]
fn a_rescue_shell_is_there_for_the_asking_and_halts_the_machine() -> Result<()> {
    let lab = Lab::new("rescue")?;
    let mut vm = Vm::plan(&lab).boot(direct(&lab, &format!("{CONSOLES} b2d.rescue"))?).start()?;
    let console = vm.console();
    let reason = console.expect_line(RESCUE, Deadline::boot())?;
    assert!(reason.contains("b2d.rescue is on the kernel command line"), "{reason}");
    console.expect(PROMPT, Deadline::reply())?;
    let (output, status) = console.run("id -u; cat /boot.log", Deadline::reply())?;
    ensure!(output.starts_with("0\n") && status == 0, "no root shell: {output}");
    assert!(output.contains("init: mounts 1/"), "the log so far is there: {output}");
    console.type_line("halt")?;
    console.expect_line(CLEAN_END, Deadline::power_off())?;
    let status = vm.qmp().execute("query-status", serde_json::json!({}))?;
    assert_eq!(status["running"], true, "halted, not switched off");
    Ok(())
}

#[test]
fn a_damaged_initrd_is_told_and_panic_restarts_the_machine() -> Result<()> {
    let lab = Lab::new("damaged-initrd")?;
    let boot = direct(&lab, &format!("{CONSOLES} panic=5"))?;
    let Boot::Kernel { initrd, .. } = &boot else { unreachable!("direct boots a kernel") };
    let file = File::options().write(true).open(initrd).context("opening the initrd")?;
    file.set_len(file.metadata()?.len() / 2)?;
    let mut vm = Vm::plan(&lab).boot(boot).start()?;
    let console = vm.console();
    let reason = console.expect_line(RESCUE, Deadline::boot())?;
    assert!(reason.contains("stage 0"), "{reason}");
    console.expect_line("boot2docker: there is no shell here", Deadline::reply())?;
    console.expect_line(RESCUE, Deadline::boot()).context("awaiting the next boot")?;
    Ok(())
}

/// Its list of layers is right, one of the layers is not. Another medium of the same ISO helps.
#[test]
fn a_damaged_medium_is_told_and_another_one_taken() -> Result<()> {
    let lab = Lab::new("damaged-medium")?;
    let medium = lab.folder().join("damaged.iso");
    fs::copy(lab.iso(), &medium).context("copying the ISO")?;
    let iso = Iso::open(&medium)?;
    let initrd = iso.entries()?.into_iter().find(|entry| entry.path == "/boot/initrd.img");
    let extent = initrd.context("finding the initrd")?.extent;
    let last = u64::from(extent.start) * SECTOR_BYTES + u64::from(extent.length) - DAMAGE_BYTES;
    File::options().write(true).open(&medium)?.write_all_at(b"damage", last)?;
    let mut vm = Vm::plan(&lab).boot(Boot::Cd(medium)).start()?;
    let told = "/dev/sr0: 50-boot2docker.squashfs is damaged, its checksum is not that of the ISO";
    vm.console().expect_line(told, Deadline::boot())?;
    vm.console().expect_line("waiting for the CD, stick or disk that was booted", Deadline::reply())?;
    let iso = lab.iso();
    vm.qmp().plug_disk("good", &iso, true)?;
    let ssh = vm.ssh()?;
    ssh.run("grep 'booted from /dev/vda' /boot.log")?;
    vm.press_power_button()
}

#[test]
fn a_crash_of_pid_1_ends_in_a_rescue_shell() -> Result<()> {
    let lab = Lab::new("crash")?;
    let options = "b2d.debug b2d.nodchp=1 b2d.hostname=crash";
    let mut vm = Vm::plan(&lab).boot(direct(&lab, &format!("{CONSOLES} {options}"))?).start()?;
    vm.console().expect_line("b2d.nodchp is unknown", Deadline::boot())?;
    let ssh = vm.ssh()?;
    assert_eq!(ssh.run("hostname")?, "crash\n");
    let log = ssh.run("cat /var/log/boot2docker.log")?;
    assert!(log.contains("b2d.nodchp is unknown; known are b2d.data, b2d.debug"), "{log}");
    assert!(log.contains("sshd: Ready:"), "b2d.debug tells of every event: {log}");
    assert_eq!(ssh.run("cat /boot.log | head -n 3")?, ssh.run("head -n 3 /var/log/boot2docker.log")?);
    ssh.output("sudo kill -SEGV 1", b"")?;
    let console = vm.console();
    let reason = console.expect_line(RESCUE, Deadline::reply())?;
    assert!(reason.contains("PID 1 crashed"), "{reason}");
    console.expect(PROMPT, Deadline::reply())?;
    let (output, _) = console.run("echo $$ $(id -u)", Deadline::host(Duration::from_secs(60)))?;
    ensure!(output.ends_with(" 0\n"), "no root shell: {output}");
    console.type_line("poweroff")?;
    vm.await_end()
}
