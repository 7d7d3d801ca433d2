//! What lies on the data disk outlives the machine, which leaves the disk clean.

use anyhow::{Context, Result};
use b2d_sys::contract::DATA_LABEL;
use iso_builder::qemu::Bus;
use tests::container::{IMAGE, import_image};
use tests::disk::{Image, Layout};
use tests::{Lab, Vm, docker};

/// Port of the web server in its container and where it is published in the guest.
const WEB_PORT: u16 = 8080;

/// A web server whose page is made once, in the container's own layer.
const SERVE: &str = "[ -e /index.html ] || busybox cat /proc/sys/kernel/random/uuid > /index.html; \
                     busybox httpd -p 80 -h / && echo listening && exec busybox sleep 1000000";

#[test]
fn containers_and_images_survive_a_reboot() -> Result<()> {
    let lab = Lab::new("reboot")?;
    let disk = Image::data(&lab, "data", Layout::Partition)?;
    let mut vm = Vm::plan(&lab).with_several_cpus().forward(WEB_PORT).disk(&disk, Bus::Virtio).start()?;

    let docker = vm.docker()?;
    let ssh = vm.ssh()?;
    import_image(&ssh)?;
    ssh.run(&format!(
        "docker run --detach --name web --restart always --publish {WEB_PORT}:80 {IMAGE} \
         /bin/busybox sh -c '{SERVE}'"
    ))?;
    docker.await_log("web", "listening", 1)?;
    let page = docker::page(vm.port(WEB_PORT)?).context("fetching the published page")?;
    assert_eq!(page.trim().len(), "01234567-89ab-cdef-0123-456789abcdef".len(), "{page:?}");

    vm.reboot()?;
    let docker = vm.docker()?;
    let images = docker.get("/images/json")?;
    assert_eq!(images[0]["RepoTags"][0], format!("{IMAGE}:latest"));
    docker.await_log("web", "listening", 2)?;
    let again = docker::page(vm.port(WEB_PORT)?).context("fetching the page after the reboot")?;
    assert_eq!(again, page, "the container kept its layer");
    // AppArmor's profile is the one that the first boot compiled.
    let ssh = vm.ssh()?;
    ssh.run("grep 'AppArmor has docker-default as an earlier boot compiled it' /boot.log")?;
    let confinement = "sudo cat /proc/$(docker inspect -f '{{.State.Pid}}' web)/attr/current";
    assert_eq!(ssh.run(confinement)?, "docker-default (enforce)\n");

    vm.press_power_button()?;
    assert_eq!(disk.label()?, DATA_LABEL);
    disk.check(&lab)
}
