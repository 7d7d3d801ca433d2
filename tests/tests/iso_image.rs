//! The ISO as a file: what boot loaders, hypervisors and Docker Machine read of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use gpt::GptConfig;
use gpt::mbr::PartRecord;
use iso_builder::compare::archive_files;
use iso_builder::customize;
use iso_builder::inspect::{self, InspectOptions};
use iso_builder::project::Project;
use iso_builder::rewrite;
use iso_builder::squashfs;
use iso_builder::summary::{self, SummaryOptions};
use tests::Lab;
use tests::iso9660::{Entry, Iso, Platform, SECTOR_BYTES};
use xxhash_rust::xxh64::xxh64;

/// Begin of a squashfs. Source: Linux fs/squashfs/squashfs_fs.h, SQUASHFS_MAGIC.
const SQUASHFS: &[u8] = b"hsqs";

/// Largest size we allow ourselves. Unit: bytes.
const LARGEST_ISO: u64 = 80 << 20;

fn open(test: &str) -> Result<Iso> {
    Iso::open(&Lab::new(test)?.iso())
}

fn find<'a>(entries: &'a [Entry], path: &str) -> Result<&'a Entry> {
    let paths = || entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>().join(" ");
    entries
        .iter()
        .find(|entry| entry.path == path)
        .with_context(|| format!("finding {path} among {}", paths()))
}

/// Docker Machine takes the text from the first `-v` on in these 32 bytes for the version.
#[test]
fn the_volume_label_holds_the_version() -> Result<()> {
    let iso = open("volume-label")?;
    let label = String::from_utf8(iso.bytes(0x8028, 32)?)?;
    let version =
        label.trim_end_matches(' ').strip_prefix("b2d-v").with_context(|| format!("label {label:?}"))?;
    let numbers: Vec<_> = version.split('-').next().unwrap_or_default().split('.').collect();
    let are_numbers = numbers.iter().all(|number| number.parse::<u32>().is_ok());
    assert!(numbers.len() == 3 && are_numbers, "label {label:?}");
    let file = find(&iso.entries()?, "/version")?.extent;
    assert_eq!(String::from_utf8(iso.content(file)?)?.trim(), version, "/version and the label agree");
    Ok(())
}

/// PXE recipes and old drivers take /boot/vmlinuz64, newer ones walk the tree: both must find the one kernel.
#[test]
fn both_kernel_names_are_the_same_bytes_and_nothing_else_looks_like_a_kernel() -> Result<()> {
    let entries = open("kernel-names")?.entries()?;
    let kernel = find(&entries, "/boot/vmlinuz")?;
    assert_eq!(find(&entries, "/boot/vmlinuz64")?.extent, kernel.extent);
    let named = |word: &str| -> Vec<_> {
        entries.iter().filter(|entry| entry.path.contains(word)).map(|entry| entry.path.as_str()).collect()
    };
    let mut kernels = [named("vmlinu"), named("bzImage")].concat();
    kernels.sort_unstable();
    assert_eq!(kernels, ["/boot/vmlinuz", "/boot/vmlinuz64"]);
    assert_eq!(named("initrd"), ["/boot/initrd.img"]);
    Ok(())
}

#[test]
fn nothing_large_is_stored_twice() -> Result<()> {
    let iso = open("stored-once")?;
    let mut places = BTreeMap::new();
    for entry in
        iso.entries()?.into_iter().filter(|entry| !entry.is_directory && entry.extent.length > 1 << 20)
    {
        let content = iso.content(entry.extent)?;
        let first = places.entry(content).or_insert((entry.extent, entry.path.clone()));
        assert_eq!(first.0, entry.extent, "{} and {} are copies", first.1, entry.path);
    }
    assert!(places.len() >= 2, "kernel and initrd");
    Ok(())
}

/// What the boot loaders read is the initramfs up to its layers, and takes no room of its own.
#[test]
fn stage_0_is_the_head_of_the_initramfs() -> Result<()> {
    let lab = Lab::new("stage0")?;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet.toml");
    let customized = lab.folder().join("out.iso");
    customize::run(&lab.iso(), &config, &customized)?;
    for path in [lab.iso(), customized] {
        let iso = Iso::open(&path)?;
        let entries = iso.entries()?;
        let (stage0, whole) = (find(&entries, "/boot/stage0.img")?, find(&entries, "/boot/initrd.img")?);
        assert_eq!(stage0.extent.start, whole.extent.start);
        assert!(stage0.extent.length < 1 << 20, "{}", stage0.extent.length);
        let files = archive_files(&iso.content(stage0.extent)?)?;
        assert_eq!(files.keys().collect::<Vec<_>>(), ["init", "layers/xxh64sums"]);
        let sums = String::from_utf8(files["layers/xxh64sums"].clone())?;
        let all = archive_files(&iso.content(whole.extent)?)?;
        for (name, layer) in all.iter().filter(|(name, _)| name.ends_with(".squashfs")) {
            let line = format!("{:016x}  {}\n", xxh64(layer, 0), name.trim_start_matches("layers/"));
            assert!(sums.contains(&line), "{line:?} is not in {sums}");
        }
        assert_eq!(sums.lines().count(), all.len() - 2, "{sums}");
    }
    Ok(())
}

/// The xhyve driver takes the kernel's options from the first `append` of this file, after a tab or two spaces.
#[test]
fn drivers_find_the_kernel_options() -> Result<()> {
    let iso = open("kernel-options")?;
    let entries = iso.entries()?;
    let paths: Vec<_> = entries.iter().filter(|entry| entry.path.contains("isolinux.cfg")).collect();
    let [config] = paths[..] else { panic!("one isolinux.cfg is expected: {paths:?}") };
    let text = String::from_utf8(iso.content(config.extent)?)?;
    let options =
        text.lines().find_map(|line| line.strip_prefix("\tappend ").or(line.strip_prefix("  append ")));
    let options = options.with_context(|| format!("finding append in {text}"))?;
    assert!(options.contains("console=ttyS0") && options.contains("console=tty0"), "{options}");
    Ok(())
}

#[test]
fn bios_and_uefi_find_a_boot_image_each() -> Result<()> {
    let images = open("boot-images")?.boot_images()?;
    let platforms: Vec<_> = images.iter().map(|image| image.platform).collect();
    assert_eq!(platforms, [Platform::Bios, Platform::Uefi]);
    Ok(())
}

/// What `dd` to a disk or USB stick needs: code and an active partition for BIOS; for UEFI the system partition, which
/// is the very image that a CD shows it.
#[test]
fn the_same_bytes_are_a_bootable_disk() -> Result<()> {
    const ACTIVE: u8 = 0x80;
    const EFI_SYSTEM: u8 = 0xef;
    let iso = open("hybrid")?;
    let head: [u8; 512] = iso.bytes(0, 512)?[..].try_into()?;
    assert_eq!(head[510..], [0x55, 0xaa]);
    assert!(head[..440].iter().any(|&byte| byte != 0), "boot code");
    let partitions =
        head[446..510].chunks_exact(16).map(PartRecord::from_bytes).collect::<Result<Vec<_>, _>>()?;
    let active = partitions.iter().filter(|partition| partition.boot_indicator == ACTIVE).count();
    assert_eq!(active, 1, "some BIOSes start only a disk with one active partition: {partitions:?}");
    let system = partitions.iter().find(|partition| partition.os_type == EFI_SYSTEM);
    let start = u64::from(system.context("finding the system partition")?.lb_start) * 512;
    let image = iso.boot_images()?.into_iter().find(|image| image.platform == Platform::Uefi);
    assert_eq!(image.map(|image| u64::from(image.start) * SECTOR_BYTES), Some(start));

    let table = GptConfig::new().open(Lab::new("hybrid")?.iso()).context("reading the GPT")?;
    table.primary_header().context("reading the first GPT header")?;
    table.backup_header().context("reading the second GPT header")?;
    let starts: Vec<_> = table.partitions().values().map(|partition| partition.first_lba * 512).collect();
    assert!(starts.contains(&start), "{starts:?}");
    Ok(())
}

/// The file alone tells what is in it, down to each file of the image.
#[test]
fn the_iso_can_be_inspected() -> Result<()> {
    let iso = Lab::new("inspect")?.iso();
    let shown = |options| inspect::run(&iso, options);
    let overview = shown(InspectOptions::default())?;
    for wanted in [
        "label       b2d-v",
        "boot image  BIOS",
        "boot image  UEFI",
        "BIOS entry  boot2docker: ",
        "UEFI entry  boot2docker: ",
        "-boot2docker\n",
        "type 0xef",
        "layer       10-base.squashfs",
        "layer       20-large.squashfs",
        "layer       50-boot2docker.squashfs",
    ] {
        assert!(overview.contains(wanted), "{wanted}: {overview}");
    }
    let kernel = shown(InspectOptions { kernel_config: true, ..Default::default() })?;
    assert!(kernel.lines().any(|line| line == "CONFIG_OVERLAY_FS=y"), "{} bytes", kernel.len());
    let files = shown(InspectOptions { files: true, ..Default::default() })?;
    for wanted in ["/usr/sbin/dockerd", "/usr/sbin/init", "/usr/share/boot2docker/licences.tar.zst"] {
        let line = files.lines().find(|line| line.ends_with(&format!(" {wanted}")));
        assert!(line.is_some_and(|line| line.starts_with("-r")), "{wanted}: {line:?}");
    }
    // What is compiled takes the place of what Debian's programs would bring.
    for unwanted in ["libcurl", "libgnutls", "libsqlite3"] {
        assert!(!files.contains(unwanted), "{unwanted}");
    }
    Ok(())
}

#[test]
fn the_bill_of_materials_names_everything_with_its_digest() -> Result<()> {
    let lab = Lab::new("bill")?;
    let bill = inspect::bill(&lab.iso())?;
    let package = |id: &str| bill.packages.iter().find(|package| package.id == id);
    for (kind, named) in [("deb", 60), ("source", 40), ("crate", 30)] {
        let prefix = format!("SPDXRef-{kind}-");
        let found = bill.packages.iter().filter(|package| package.id.starts_with(&prefix)).count();
        assert!(found > named, "{found} of {kind}");
    }
    for found in bill.packages.iter().filter(|package| package.id.starts_with("SPDXRef-deb-")) {
        assert!(found.sha256().is_some(), "{}", found.name);
        let has_source = bill.relationships.iter().any(|relation| {
            relation.spdx_element_id == found.id && relation.relationship_type == "GENERATED_FROM"
        });
        assert!(has_source || found.name.starts_with("linux-source"), "{}", found.name);
    }
    assert_eq!(package("SPDXRef-deb-tini").map(|it| it.licence_declared.as_str()), Some("MIT"));
    assert!(package("SPDXRef-kernel").is_some_and(|it| it.version_info.starts_with("6.")));
    assert!(package("SPDXRef-deb-perl-base").is_none(), "no file of it is in the image");
    Ok(())
}

/// Sizes add up to the file's, and comparing an ISO with itself finds nothing.
#[test]
fn the_summary_accounts_for_every_byte() -> Result<()> {
    let lab = Lab::new("summary")?;
    let chart = lab.folder().join("chart.svg");
    let options = SummaryOptions { against: Some(lab.iso()), chart: Some(chart.clone()), groups: false };
    let text = summary::run(&Project::find()?, &lab.iso(), &options)?;
    let all = text.lines().find(|line| line.ends_with("  all")).context("finding the sum")?;
    let kib: u64 = all.split_whitespace().next().unwrap_or_default().parse()?;
    assert_eq!(kib, fs::metadata(lab.iso())?.len().div_ceil(1024), "{text}");
    assert!(text.ends_with(":\n  nothing\n"), "{text}");
    assert!(text.contains("\nMiB in ISO  group") && text.contains("  docker-cli\n"), "{text}");
    assert!(fs::read_to_string(chart)?.contains("container engine"));
    Ok(())
}

#[test]
fn the_image_is_small_enough() -> Result<()> {
    let size = fs::metadata(Lab::new("size")?.iso())?.len();
    assert!(size <= LARGEST_ISO, "{:.1} MiB", size as f64 / f64::from(1 << 20));
    Ok(())
}

/// Else stage 0 would have to read them through the page cache, which takes four times as long.
#[test]
fn layers_begin_sectors() -> Result<()> {
    let lab = Lab::new("sectors")?;
    let iso = fs::read(lab.iso())?;
    let sectors = iso.chunks(SECTOR_BYTES as usize).filter(|sector| sector.starts_with(SQUASHFS));
    assert_eq!(sectors.count(), squashfs::layers_of(&lab.iso())?.len());
    Ok(())
}

/// Customizing changes what it is asked to and nothing else: exchanging a file for itself gives the same bytes.
#[test]
fn an_iso_is_rewritten_as_it_was_made() -> Result<()> {
    let iso = Lab::new("rewrite")?.iso();
    let initrd = Iso::open(&iso)?.read("/boot/initrd.img")?;
    let bytes = fs::read(&iso)?;
    let again = rewrite::exchange(&bytes, &BTreeMap::from([("/boot/initrd.img", initrd)]))?;
    assert!(again == bytes, "{} and {} bytes", bytes.len(), again.len());
    // To exchange a head alone would cut off what it is the head of.
    let head = BTreeMap::from([("/boot/stage0.img", Vec::new())]);
    let error = rewrite::exchange(&bytes, &head).unwrap_err().to_string();
    assert_eq!(error, "exchanging /boot/stage0.img: it is the head of another file");
    Ok(())
}

/// The same ISO and the same file give the same bytes, and the result passes for one of ours.
#[test]
fn a_customized_iso_is_still_an_iso_of_ours() -> Result<()> {
    let lab = Lab::new("customized")?;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet.toml");
    let (out, again) = (lab.folder().join("out.iso"), lab.folder().join("again.iso"));
    customize::run(&lab.iso(), &config, &out)?;
    customize::run(&lab.iso(), &config, &again)?;
    assert!(fs::read(&out)? == fs::read(&again)?, "two runs differ");
    let (old, new) = (Iso::open(&lab.iso())?, Iso::open(&out)?);
    assert_eq!(new.label()?, old.label()?);
    assert_eq!(new.boot_images()?, old.boot_images()?);
    for entry in old.entries()?.iter().filter(|entry| !entry.is_directory) {
        let is_changed =
            ["/boot/initrd.img", "/boot/stage0.img", "/boot/isolinux/isolinux.cfg", "/boot/grub/grub.cfg"]
                .contains(&entry.path.as_str());
        let is_same = old.content(entry.extent)? == new.read(&entry.path)?;
        assert_eq!(is_same, !is_changed, "{}", entry.path);
    }
    let table = GptConfig::new().open(&out).context("reading the GPT")?;
    table.primary_header().context("reading the first GPT header")?;
    table.backup_header().context("reading the second GPT header")?;
    let files = inspect::run(&out, InspectOptions { files: true, ..Default::default() })?;
    let baked = files.split("60-custom.squashfs:").nth(1).context("finding the custom layer")?;
    assert!(baked.contains("-rw-r----- 1000:101         12"), "{baked}");
    let bill = inspect::run(&out, InspectOptions { sbom: true, ..Default::default() })?;
    assert_eq!(fs::read_to_string(out.with_extension("spdx.json"))?, bill);
    assert!(bill.contains("\"name\": \"60-custom.squashfs\""), "what is baked in is in the bill");
    let text = summary::run(&Project::find()?, &out, &SummaryOptions::default())?;
    let all = text.lines().find(|line| line.ends_with("  all")).context("finding the sum")?;
    let kib: u64 = all.split_whitespace().next().unwrap_or_default().parse()?;
    assert_eq!(kib, fs::metadata(&out)?.len().div_ceil(1024), "{text}");
    Ok(())
}
