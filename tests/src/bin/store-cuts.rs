//! Which image store survives power cuts: `cargo run -p tests --bin store-cuts -- {overlay2|containerd} [CUTS]`.
//!
//! A guest loads two images of many small files. At random moments of that the machine is stopped and its disk copied:
//! what a power cut would have left, as the guest's own memory is not in the copy. Then another machine starts Docker on
//! each copy, and every file of every image that Docker shows is compared with its checksum.
//! Not part of the tests: a dozen cuts take a quarter of an hour.

use std::collections::hash_map::RandomState;
use std::env;
use std::fmt::Write;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use iso_builder::qemu::Bus;
use serde_json::json;
use tests::disk::{Image, Layout};
use tests::ssh::Ssh;
use tests::{Deadline, Lab, Vm, child};

/// Cuts unless the command line says otherwise.
const CUTS: usize = 12;
/// Cuts within one load of the images.
const CUTS_PER_LOAD: usize = 4;
/// Data that was written stays in memory for up to this long: cuts fall into that time, too.
const AFTERMATH: Duration = Duration::from_secs(12);
const CONTAINERD_STORE: &[u8] = br#"{"features": {"containerd-snapshotter": true}}"#;
const TAGS: [&str; 2] = ["cut:one", "cut:two"];
/// Files in each image, and their size: small ones suffer first when memory is lost.
const FILES: usize = 1500;
const FILE_BYTES: usize = 4000;
/// Two images of files that nothing else has, saved beside everything else on the data disk.
const PREPARE: &str = "set -e; for tag in one two; do rm -rf l; mkdir -p l; cp /bin/busybox l/; \
    tar -C l -xf /var/lib/boot2docker/$tag.tar; \
    (cd l; find . -type f | sort | xargs sha256sum > /tmp/sums; mv /tmp/sums SUMS); \
    tar -C l -c . | docker import - cut:$tag; done; docker save -o cut.tar cut:one cut:two; \
    sudo mv cut.tar /var/lib/boot2docker/; docker rmi cut:one cut:two; sync";
const LOAD: &str = "docker load -i /var/lib/boot2docker/cut.tar";
/// Docker and containerd on what a cut has left; mounting it replays the journal, as a boot does.
const START_ON_COPY: &str = "set -e; sudo service docker stop; sudo service containerd stop; sudo mkdir -p /cut; \
    sudo mount -t ext4 DISK /cut; sudo mount --bind /cut/var/lib/docker $(readlink -f /var/lib/docker); \
    sudo service containerd start; sudo service docker start; \
    for i in $(seq 300); do docker version >/dev/null 2>&1 && exit 0; sleep 0.2; done; exit 1";
const LEAVE_COPY: &str = "set -e; sudo service docker stop; sudo service containerd stop; \
    sudo umount $(readlink -f /var/lib/docker); sudo umount /cut";
/// It writes a block.
const TUNE_LIMIT: Duration = Duration::from_secs(60);
const FORGET: &str = "docker rmi cut:one cut:two; sync";

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (store, cuts) = match args.as_slice() {
        [store] => (store.as_str(), CUTS),
        [store, cuts] => (store.as_str(), cuts.parse().context("reading the number of cuts")?),
        _ => bail!("usage: store-cuts {{overlay2|containerd}} [CUTS]"),
    };
    let lab = Lab::new(&format!("store-cuts-{store}"))?;
    let copies = make_cuts(&lab, store, cuts)?;
    let lines = examine(&lab, store, &copies)?;
    let broken = lines.iter().filter(|(_, is_broken)| *is_broken).count();
    for ((at, _), (line, _)) in copies.iter().zip(&lines) {
        println!("{store}: cut {:5} ms after the load began: {line}", at.as_millis());
    }
    println!(
        "{store}: {broken} of {} cuts left an image that Docker shows but that is not whole",
        copies.len()
    );
    Ok(())
}

/// Makes a data disk whose Docker uses the store.
fn data_disk(lab: &Lab, name: &str, store: &str) -> Result<Image> {
    let mut files: Vec<(&str, &[u8])> = Vec::new();
    if store == "containerd" {
        files.push(("var/lib/boot2docker/etc/docker/daemon.json", CONTAINERD_STORE));
    }
    let (one, two) = (random_files()?, random_files()?);
    files.push(("var/lib/boot2docker/one.tar", &one));
    files.push(("var/lib/boot2docker/two.tar", &two));
    Image::data_with(lab, name, Layout::WholeDisk, &files)
}

/// Returns an archive of files with random content.
fn random_files() -> Result<Vec<u8>> {
    let mut random = File::open("/dev/urandom").context("opening /dev/urandom")?;
    let mut archive = tar::Builder::new(Vec::new());
    for index in 0..FILES {
        let mut content = [0; FILE_BYTES];
        random.read_exact(&mut content).context("reading /dev/urandom")?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("files/{}/{index}", index % 20), &content[..])?;
    }
    Ok(archive.into_inner()?)
}

/// Returns copies of the disk, each with the time since its load began.
fn make_cuts(lab: &Lab, store: &str, cuts: usize) -> Result<Vec<(Duration, Image)>> {
    let disk = data_disk(lab, "data", store)?;
    let mut vm = Vm::plan(lab).disk(&disk, Bus::Virtio).start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    println!("{store}: {}", ssh.run("docker info -f '{{.Driver}} {{.DriverStatus}}'")?.trim());
    ssh.run(PREPARE)?;
    let begin = Instant::now();
    ssh.run(LOAD)?;
    let window = begin.elapsed() + AFTERMATH;
    println!("{store}: a load takes {:.1?}, cuts fall into {window:.1?}", begin.elapsed());
    let mut copies = Vec::new();
    while copies.len() < cuts {
        ssh.run(FORGET)?;
        let count = CUTS_PER_LOAD.min(cuts - copies.len());
        copies.extend(cut_a_load(lab, &mut vm, &ssh, &disk, &random_moments(count, window), copies.len())?);
    }
    vm.press_power_button()?;
    Ok(copies)
}

fn cut_a_load(
    lab: &Lab,
    vm: &mut Vm,
    ssh: &Ssh,
    disk: &Image,
    moments: &[Duration],
    first: usize,
) -> Result<Vec<(Duration, Image)>> {
    thread::scope(|scope| {
        let begin = Instant::now();
        let load = scope.spawn(|| ssh.run(LOAD));
        let mut copies = Vec::new();
        for (index, moment) in moments.iter().enumerate() {
            pause(moment.saturating_sub(begin.elapsed()));
            let at = begin.elapsed();
            vm.qmp().execute("stop", json!({}))?;
            let copy = disk.copy(lab, &format!("cut-{}", first + index))?;
            vm.qmp().execute("cont", json!({}))?;
            copies.push((at, copy));
        }
        load.join().expect("the load does not panic")?;
        Ok(copies)
    })
}

/// Returns moments in ascending order; they differ from run to run, as power cuts do.
fn random_moments(count: usize, window: Duration) -> Vec<Duration> {
    let random = || RandomState::new().build_hasher().finish();
    let mut moments: Vec<Duration> =
        (0..count).map(|_| window.mul_f64((random() % 10_000) as f64 / 10_000.0)).collect();
    moments.sort();
    moments
}

fn pause(time: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    // Nobody sends: the time that passes is all there is to it.
    let _ = receiver.recv_timeout(time);
}

/// Returns, for each copy, what became of the images, and whether one is shown but not whole.
fn examine(lab: &Lab, store: &str, copies: &[(Duration, Image)]) -> Result<Vec<(String, bool)>> {
    let mut plan = Vm::plan(lab).disk(&data_disk(lab, "home", store)?, Bus::Virtio);
    for (_, copy) in copies {
        // The machine must not take a copy for its own data disk.
        let mut tune2fs = lab.tools().program("tune2fs");
        tune2fs.args(["-f", "-L", "cut"]).arg(copy.path());
        child::run_ok(tune2fs, b"", Deadline::host(TUNE_LIMIT))?;
        plan = plan.disk(copy, Bus::Virtio);
    }
    let mut vm = plan.start()?;
    vm.await_docker()?;
    let ssh = vm.ssh()?;
    let mut lines = Vec::new();
    for letter in ('b'..='z').take(copies.len()) {
        ssh.run(&START_ON_COPY.replace("DISK", &format!("/dev/vd{letter}")))?;
        lines.push(examine_one(&ssh)?);
        ssh.run(LEAVE_COPY)?;
    }
    vm.press_power_button()?;
    Ok(lines)
}

fn examine_one(ssh: &Ssh) -> Result<(String, bool)> {
    let (mut line, mut is_broken, mut is_complete) = (String::new(), false, true);
    for tag in TAGS {
        let state = state_of(ssh, tag)?;
        is_broken |= !["whole", "absent"].contains(&state.as_str());
        is_complete &= state == "whole";
        write!(line, "{tag} {state}, ")?;
    }
    if !is_complete {
        let loaded = ssh.output(&LOAD.replace("/var/lib/boot2docker", "/cut/var/lib/boot2docker"), b"")?;
        write!(line, "loaded again: {}", if loaded.status.success() { "" } else { "refused " })?;
        for tag in TAGS {
            write!(line, "{} ", state_of(ssh, tag)?)?;
        }
    }
    Ok((line, is_broken))
}

fn state_of(ssh: &Ssh, tag: &str) -> Result<String> {
    if !ssh.output(&format!("docker image inspect {tag}"), b"")?.status.success() {
        return Ok("absent".to_owned());
    }
    let check = format!(
        "docker run --rm --network none {tag} /busybox sh -c \
         'cd / && /busybox sha256sum -c SUMS | /busybox grep -c -v OK$'"
    );
    let output = ssh.output(&check, b"")?;
    // grep counts the files that are not as they were; without any it fails with "0".
    Ok(match String::from_utf8_lossy(&output.stdout).trim() {
        "0" => "whole".to_owned(),
        "" => format!("broken ({})", String::from_utf8_lossy(&output.stderr).trim()),
        count => format!("broken ({count} files)"),
    })
}
