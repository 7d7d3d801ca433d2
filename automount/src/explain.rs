//! Facts from image files on any Linux machine, as if each were a disk of a virtual machine. Needs no rights and writes
//! nothing.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use crate::facts::{Asked, Facts};
use crate::look::look;
use crate::model::{Device, Partition};

/// Memory of the machine that is imagined, as Docker Machine gives it.
const MEMORY_BYTES: u64 = 1 << 30;
/// Letters of the disks, in the order the images are given.
const LETTERS: std::ops::RangeInclusive<char> = 'a'..='z';

/// Returns the facts about a machine with these images as disks `sda`, `sdb`, ...
///
/// # Errors
/// When an image cannot be read, or there are more than there are letters.
pub fn facts(images: &[&str], asked: Asked, is_virtual: bool) -> Result<Facts> {
    anyhow::ensure!(images.len() <= LETTERS.count(), "{} images are too many", images.len());
    let mut devices = Vec::new();
    for (letter, image) in LETTERS.zip(images) {
        let mut found =
            read(&format!("sd{letter}"), Path::new(image)).with_context(|| format!("reading {image}"))?;
        devices.append(&mut found);
    }
    Ok(Facts { devices, asked, is_virtual, memory_bytes: MEMORY_BYTES })
}

fn read(name: &str, image: &Path) -> Result<Vec<Device>> {
    let file = File::open(image)?;
    let size_bytes = file.metadata()?.len();
    let mut disk = Device { model: image.display().to_string(), ..Device::new(name, size_bytes) };
    look(&mut disk, file.try_clone()?, 0)?;
    let mut devices = vec![disk];
    let Some(table) =
        devices[0].table.clone().filter(|table| table.is_visible && !table.partitions.is_empty())
    else {
        return Ok(devices);
    };
    devices[0].has_partitions = true;
    for extent in table.partitions {
        let partition_name = Device::partition_name(name, extent.number);
        let length = extent.length.min(size_bytes.saturating_sub(extent.start));
        let mut part = Device {
            partition: Some(Partition { disk: name.to_owned(), number: extent.number }),
            model: devices[0].model.clone(),
            ..Device::new(&partition_name, length)
        };
        look(&mut part, file.try_clone()?, extent.start)?;
        devices.push(part);
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use b2d_sys::contract::MAGIC;

    use super::*;
    use crate::plan;

    #[test]
    fn image_files_are_judged_as_disks_of_the_machine_they_are_for() {
        let folder = tempfile::tempdir().unwrap();
        let image = |name: &str, at: u64, bytes: &[u8]| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_len(1 << 30).unwrap();
            file.write_all_at(bytes, at).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let asks = image("asks", 0, MAGIC.as_bytes());
        let (blank, luks) = (image("blank", 0, b""), image("luks", 0, b"LUKS\xba\xbe\x00\x02"));
        let rows: [(&[&str], bool, &[&str]); 3] = [
            (
                &[&luks, &blank],
                true,
                &[
                    "left alone: holds LUKS",
                    "is formatted: a blank disk in a virtual machine that has no other",
                ],
            ),
            (
                &[&blank],
                false,
                &["left alone: blank, but this is no virtual machine; b2d.format=/dev/... formats it"],
            ),
            (
                &[&blank, &asks],
                true,
                &["left alone: /dev/sdb comes first", "is formatted: it asks to be formatted"],
            ),
        ];
        for (images, is_virtual, expected) in rows {
            let plan = plan::plan(&facts(images, Asked::default(), is_virtual).unwrap());
            let verdicts: Vec<String> =
                plan.verdicts.iter().map(|(_, verdict)| verdict.to_string()).collect();
            assert_eq!(verdicts, expected, "{images:?}");
        }
        assert!(facts(&["/no/such/image"], Asked::default(), true).is_err());
    }
}
