//! Decides where data and swap lie on a disk that is formatted. Pure.

use crate::table::Extent;

/// boot2docker used +1000M; disks of all versions are alike.
const SWAP_BYTES: u64 = 1000 << 20;
/// On disks below 8 GiB swap takes this share of the disk.
const SWAP_SHARE: u64 = 8;
/// Every partitioning program aligns to this, and it holds either end of a table.
pub const ALIGNMENT: u64 = 1 << 20;
/// Smaller disks are not worth it: a container image needs more.
pub const SMALLEST_DISK: u64 = 64 << 20;
/// Less room than this behind the last partition is what aligning left over, not a disk that has grown.
const SLACK: u64 = 16 << 20;
/// Number of the data partition, and of the swap partition, since boot2docker's first version.
const DATA: u32 = 1;
const SWAP: u32 = 2;

/// Where data and swap lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Takes all the rest, and is last, so that it can grow.
    pub data: Extent,
    /// Is first.
    pub swap: Extent,
}

/// Returns the partitions of a disk of this size, or None if it is too small.
pub fn geometry(size_bytes: u64) -> Option<Geometry> {
    if size_bytes < SMALLEST_DISK {
        return None;
    }
    let swap_bytes = SWAP_BYTES.min(align_down(size_bytes / SWAP_SHARE));
    let swap = Extent { number: SWAP, start: ALIGNMENT, length: swap_bytes };
    let start = swap.end();
    Some(Geometry { data: Extent { number: DATA, start, length: usable_end(size_bytes) - start }, swap })
}

/// Returns `partition` as large as the disk allows, or None if it has its room already or others are behind it.
pub fn grown(partition: Extent, others: &[Extent], size_bytes: u64) -> Option<Extent> {
    let is_last = others.iter().all(|other| other.start <= partition.start);
    let end = usable_end(size_bytes);
    let has_room = end >= partition.end().saturating_add(SLACK);
    (is_last && has_room).then(|| Extent { length: end - partition.start, ..partition })
}

/// Tells whether a file system of this size leaves room worth growing into.
pub fn has_room(filesystem_bytes: u64, device_bytes: u64) -> bool {
    filesystem_bytes > 0 && device_bytes >= filesystem_bytes.saturating_add(SLACK)
}

/// The last MiB holds the second copy of the table.
fn usable_end(size_bytes: u64) -> u64 {
    align_down(size_bytes).saturating_sub(ALIGNMENT)
}

fn align_down(bytes: u64) -> u64 {
    bytes - bytes % ALIGNMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn swap_comes_first_and_data_takes_the_rest() {
        let rows = [
            ("Docker Machine's", 20_000 * MIB, Some((1000, 1001, 18_998))),
            ("8 GiB", 8192 * MIB, Some((1000, 1001, 7190))),
            ("half of that", 4096 * MIB, Some((512, 513, 3582))),
            ("smallest", 64 * MIB, Some((8, 9, 54))),
            ("odd size", 64 * MIB + 12_345, Some((8, 9, 54))),
            ("too small", 64 * MIB - 1, None),
            ("empty drive", 0, None),
        ];
        for (name, size, expected) in rows {
            let made = geometry(size).map(|made| {
                assert_eq!((made.swap.start, made.swap.number, made.data.number), (MIB, 2, 1), "{name}");
                assert!(made.data.end() + MIB <= size, "{name}");
                (made.swap.length / MIB, made.data.start / MIB, made.data.length / MIB)
            });
            assert_eq!(made, expected, "{name}");
        }
    }

    #[test]
    fn only_the_last_partition_grows_and_only_if_it_is_worth_it() {
        let extent = |number, start, length| Extent { number, start: start * MIB, length: length * MIB };
        let (data, swap) = (extent(1, 101, 898), extent(2, 1, 100));
        let behind = extent(3, 999, 10);
        let rows = [
            ("disk doubled", data, vec![data, swap], 2000, Some(extent(1, 101, 1898))),
            ("no change", data, vec![data, swap], 1000, None),
            ("a little", data, vec![data, swap], 1015, None),
            ("enough", data, vec![data, swap], 1016, Some(extent(1, 101, 914))),
            ("another is behind it", data, vec![data, swap, behind], 2000, None),
            ("disk became smaller", data, vec![data, swap], 500, None),
        ];
        for (name, partition, all, size, expected) in rows {
            assert_eq!(grown(partition, &all, size * MIB), expected, "{name}");
        }
        assert!(has_room(100 * MIB, 116 * MIB) && !has_room(100 * MIB, 115 * MIB) && !has_room(0, 1 << 40));
    }
}
