//! Decides what the kernel may swap to. Pure.

use b2d_sys::contract::SWAP_LABEL;

use crate::facts::Facts;
use crate::model::{Content, Device, Signature};
use crate::step::Step;

/// Number of the swap partition on disks of our making.
const SWAP_NUMBER: u32 = 2;
/// The kernel swaps whole pages.
const PAGE_BYTES: u64 = 4096;
/// Compressed memory is filled first: it is a thousand times faster than a disk.
const ZRAM_PRIORITY: u16 = 100;
const DISK_PRIORITY: u16 = 10;
/// Compressed swap may hold half as much as there is memory; it takes a third of that at the usual ratio.
const ZRAM_SHARE: u64 = 2;
/// More than this is not worth the time of compressing it.
const ZRAM_MOST: u64 = 4 << 30;

/// Returns the swap steps beside the data disk `chosen`: compressed memory always, then our labelled swap space, else
/// others that are ours to use.
pub fn steps(facts: &Facts, chosen: Option<&Device>) -> Vec<Step> {
    let mut steps = compressed(facts);
    let usable = || facts.devices.iter().filter(|device| is_swap(device));
    let mut devices: Vec<&Device> = usable().filter(|device| device.swap_label == SWAP_LABEL).collect();
    if devices.is_empty() {
        devices = usable().filter(|device| is_ours(device, facts, chosen)).collect();
    }
    steps.extend(devices.into_iter().map(|device| Step::SwapOn(device.node(), DISK_PRIORITY)));
    steps
}

/// Returns the swap steps beside a disk that is being formatted.
pub fn on_new_disk(facts: &Facts, disk: &Device) -> Vec<Step> {
    let node = format!("/dev/{}", Device::partition_name(&disk.name, SWAP_NUMBER));
    let mut steps = compressed(facts);
    steps.push(Step::SwapOn(node, DISK_PRIORITY));
    steps
}

fn compressed(facts: &Facts) -> Vec<Step> {
    let bytes = (facts.memory_bytes / ZRAM_SHARE).min(ZRAM_MOST) & !(PAGE_BYTES - 1);
    Vec::from_iter((bytes > 0).then_some(Step::Zram(bytes, ZRAM_PRIORITY)))
}

fn is_swap(device: &Device) -> bool {
    device.content == Content::Foreign(Signature::Swap)
        && device.mounted_on.is_none()
        && !device.read_only
        && !device.is_boot_medium
        && !device.has_partitions
}

/// Swap space beside the data is ours, as disks of before 2018 have it. On a PC other swap space belongs to a system that
/// may be asleep in it; a virtual machine's disks are all its own.
fn is_ours(device: &Device, facts: &Facts, chosen: Option<&Device>) -> bool {
    let disk = |device: &Device| device.partition.as_ref().map(|place| place.disk.clone());
    let is_beside_data = chosen.is_some_and(|chosen| disk(chosen).is_some() && disk(chosen) == disk(device));
    is_beside_data || (facts.is_virtual && !device.is_removable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Asked;
    use crate::model::Partition;

    fn swap(name: &str, label: &str) -> Device {
        let partition = Some(Partition { disk: name[..3].to_owned(), number: 2 });
        let content = Content::Foreign(Signature::Swap);
        Device { partition, content, swap_label: label.to_owned(), ..Device::new(name, 1 << 30) }
    }

    #[test]
    fn only_swap_space_that_is_ours_is_used() {
        let data =
            Device { partition: Some(Partition { disk: "sda".into(), number: 1 }), ..Device::new("sda1", 1) };
        let removable = Device { is_removable: true, ..swap("sdc2", "") };
        let used = Device { mounted_on: Some("swap".into()), ..swap("sda2", SWAP_LABEL) };
        let rows: [(&str, Vec<Device>, bool, &[&str]); 8] = [
            ("labelled", vec![swap("sda2", SWAP_LABEL), swap("sdb2", "")], true, &["/dev/sda2"]),
            ("labelled on a PC", vec![swap("sdb2", SWAP_LABEL)], false, &["/dev/sdb2"]),
            ("beside the data, as in 2017", vec![swap("sda2", ""), swap("sdb2", "")], false, &["/dev/sda2"]),
            ("elsewhere in a virtual machine", vec![swap("sdb2", "")], true, &["/dev/sdb2"]),
            ("elsewhere on a PC", vec![swap("sdb2", "other")], false, &[]),
            ("removable", vec![removable], true, &[]),
            ("in use", vec![used], true, &[]),
            ("read-only", vec![Device { read_only: true, ..swap("sda2", SWAP_LABEL) }], true, &[]),
        ];
        for (name, devices, is_virtual, expected) in rows {
            let facts = Facts { devices, asked: Asked::default(), is_virtual, memory_bytes: 0 };
            let expected: Vec<Step> =
                expected.iter().map(|node| Step::SwapOn((*node).to_owned(), DISK_PRIORITY)).collect();
            assert_eq!(steps(&facts, Some(&data)), expected, "{name}");
        }
    }

    #[test]
    fn compressed_swap_is_half_the_memory_and_bounded() {
        for (memory, expected) in [(2 << 30, 1 << 30), (64 << 30, 4 << 30), (1_000_001 << 10, 512_000_000)] {
            let facts =
                Facts { devices: vec![], asked: Asked::default(), is_virtual: true, memory_bytes: memory };
            assert_eq!(steps(&facts, None), [Step::Zram(expected, ZRAM_PRIORITY)], "{memory}");
        }
    }
}
