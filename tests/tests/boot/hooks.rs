//! The user's hooks: written anywhere, with what the profile exports, and never in the way of a login.

use std::time::Duration;

use anyhow::{Result, ensure};
use b2d_sys::contract::DOCKER_READY;
use iso_builder::qemu::Bus;
use tests::disk::{Image, Layout};
use tests::{Deadline, Lab, Vm};

/// No shebang, no exec bit, line ends of another system; hangs.
const BOOTSYNC: &[u8] = b"echo \"sync got $B2D_TEST\"\r\nif true; then\r\n  sleep 1000000\r\nfi\r\n";
const BOOTLOCAL: &[u8] = b"echo \"local got $B2D_TEST\"\r\n";
const PROFILE: &[u8] = b"export B2D_TEST='a value'\n";

/// How the shell of the automatic login asks for a command; what is typed before may reach nobody.
const PROMPT: &str = "docker@boot2docker:~$ ";

/// What `+1` means, and what the way here takes of it.
const MINUTE: Duration = Duration::from_secs(60);
const SLACK: Duration = Duration::from_secs(15);

/// A minute, and time for a busy host.
const PLANNED: Duration = Duration::from_secs(180);

#[test]
fn a_hook_that_hangs_is_named_and_logins_go_on() -> Result<()> {
    let lab = Lab::new("hooks")?;
    let below = |name: &str| format!("var/lib/boot2docker/{name}");
    let (sync, local, profile) = (below("bootsync.sh"), below("bootlocal.sh"), below("profile"));
    let files = [(sync.as_str(), BOOTSYNC), (&local, BOOTLOCAL), (&profile, PROFILE)];
    let disk = Image::data_with(&lab, "data", Layout::Partition, &files)?;
    let mut vm = Vm::plan(&lab).disk(&disk, Bus::Virtio).start()?;
    let ssh = vm.ssh()?;
    vm.console().expect(PROMPT, Deadline::reply())?;
    let (id, status) = vm.console().run("id -un", Deadline::reply())?;
    assert_eq!((id.as_str(), status), ("docker\n", 0), "the console has a login");
    vm.console().await_in_this_boot("bootsync.sh still runs after 15 s", Deadline::boot())?;
    let log = ssh.run("cat /boot.log")?;
    assert!(log.contains("init: bootsync.sh: sync got a value\n"), "{log}");
    ensure!(!log.contains(DOCKER_READY), "Docker waits for the hook");
    ssh.run("sudo killall sleep")?;
    vm.await_docker()?;
    ssh.until("grep -q . /var/log/bootlocal.log")?;
    assert_eq!(ssh.run("cat /var/log/bootlocal.log")?, "local got a value\n");
    assert_eq!(ssh.run("sudo shutdown -h +1")?, "powering off in 1 min\n");
    let asked = Deadline::host(PLANNED);
    vm.console().expect("boot2docker: powering off\n", asked)?;
    ensure!(asked.elapsed() > MINUTE - SLACK, "too early: {:.1?}", asked.elapsed());
    vm.await_end()?;
    disk.check(&lab)
}
