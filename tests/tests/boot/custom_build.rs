//! An ISO built otherwise than by default. Left out of the usual run: it packs a base layer of its own.
//! `cargo test -p tests --test boot custom_build -- --ignored`

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use iso_builder::qemu::Boot;
use iso_builder::squashfs;
use tests::rows::Row;
use tests::{Lab, Vm, rows};

/// Programs of the engine's archive, by their paths in the image.
const PROGRAMS: [&str; 7] = [
    "/usr/bin/containerd",
    "/usr/bin/containerd-shim-runc-v2",
    "/usr/bin/docker",
    "/usr/bin/tini-static",
    "/usr/sbin/docker-proxy",
    "/usr/sbin/dockerd",
    "/usr/sbin/runc",
];

/// Changes a file, adds one, removes one, by a tool that is in the tools tree.
const POST_PROCESS: &str = "#!/bin/sh\nset -eu\ntest -x /usr/bin/gcc\n. /src/words\necho $WORD > etc/added\n\
    rm opt/removed\nsed -i s/blue/red/ etc/colour\n";

const BUILT: &[Row] = &[
    ("version", "cat /etc/version; . /etc/os-release; echo $VERSION_ID", "28.5.99\n28.5.99\n"),
    ("engine", "cmp /usr/bin/docker-init /opt/tini && pidof dockerd containerd | wc -w", "2\n"),
    ("groups that are off", "command -v docker curl rsync", ""),
    (
        "post-processed",
        "cat /etc/added; sudo cat /etc/colour; stat -c '%a %U:%G' /etc/colour /etc/added; ls /opt/removed 2>&1 | grep -c such",
        "hello\nred\n600 docker:staff\n644 root:root\n1\n",
    ),
];

/// Makes an archive such as upstream's of the programs of the ISO under test.
fn engine_archive(lab: &Lab, file: &Path) -> Result<()> {
    let layers = squashfs::layers_of(&lab.iso())?;
    let mut archive = tar::Builder::new(zstd::Encoder::new(fs::File::create(file)?, 1)?);
    for path in PROGRAMS {
        let mut found = layers.iter().rev().filter_map(|layer| layer.read(path).transpose());
        let bytes = found.next().with_context(|| format!("finding {path} in the ISO"))??;
        if path.ends_with("/tini-static") {
            fs::write(lab.folder().join("tini"), &bytes)?;
        }
        let name = path.rsplit('/').next().unwrap_or_default().replace("tini-static", "docker-init");
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, format!("docker/{name}"), &bytes[..])?;
    }
    archive.into_inner()?.finish()?;
    Ok(())
}

#[test]
fn a_small_iso_with_another_engine_and_changed_files_starts_docker() -> Result<()> {
    let lab = Lab::new("custom-build")?;
    let at = |name: &str| lab.folder().join(name);
    engine_archive(&lab, &at("docker.tar.zst"))?;
    fs::write(at("words"), "WORD=hello\n")?;
    fs::write(at("hook"), POST_PROCESS)?;
    fs::set_permissions(at("hook"), fs::Permissions::from_mode(0o755))?;
    let sum = iso_builder::digest::of_file(&at("docker.tar.zst"))?;
    let config = format!(
        "[engine.archive]\npath = \"docker.tar.zst\"\nsha256 = \"{sum}\"\nversion = \"28.5.99\"\n\
         [build]\npost-process = \"hook\"\n\
         [image]\ngroups = []\n\
         [iso]\nuefi = false\ncompression-level = 3\n\
         [[files]]\nto = \"/opt/removed\"\ncontent = \"x\"\n\
         [[files]]\nto = \"/opt/tini\"\nfrom = \"tini\"\n\
         [[files]]\nto = \"/etc/colour\"\ncontent = \"blue\\n\"\nmode = 0o600\nowner = \"docker:staff\"\n"
    );
    fs::write(at("my.toml"), config)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["run", "-q", "-p", "iso-builder", "--", "--config"])
        .arg(at("my.toml"))
        .arg("-o")
        .arg(at("my.iso"));
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("starting cargo")?;
    ensure!(status.success(), "building the ISO: {status}");
    let mut vm = Vm::plan(&lab).boot(Boot::Cd(at("my.iso"))).start()?;
    assert!(vm.docker()?.get("/info")?["DriverStatus"].is_array());
    rows::check(&vm.ssh()?, BUILT)?;
    vm.press_power_button()
}
