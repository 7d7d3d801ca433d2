//! The power goes after every single sector of a table, of a new one and of one that grows, and the next boot looks at
//! what is left.

use tar::{Builder, EntryType, Header};

use super::*;
use crate::choice::{Choice, Reason, Verdict, Work, judge};
use crate::explain;
use crate::facts::Asked;
use crate::geometry::{self, geometry};
use crate::model::Archive;

const SIZE: u64 = 96 << 20;

fn archive() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (path, content) in [(MAGIC, MAGIC.as_bytes()), (".ssh/authorized_keys", &[b'k'; 700])] {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Returns a disk with these first bytes whose data partition holds a file system with our label, as far as one looks.
fn disk(size: u64, head: &[u8]) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().unwrap();
    let file = image.as_file();
    file.set_len(size).unwrap();
    file.write_all_at(head, 0).unwrap();
    let superblock = geometry(SIZE).unwrap().data.start + 1024;
    let fields: [(u64, &[u8]); 5] = [
        (4, &4096_u32.to_le_bytes()),
        (24, &[2]),
        (56, &[0x53, 0xef]),
        (58, &[1]),
        (120, b"boot2docker-data"),
    ];
    fields.iter().for_each(|(at, bytes)| file.write_all_at(bytes, superblock + at).unwrap());
    image
}

/// Returns what the next boot does with the image.
fn next_boot(image: &Path) -> (Vec<Device>, Option<Choice>) {
    let facts = explain::facts(&[image.to_str().unwrap()], Asked::default(), false).unwrap();
    let chosen = judge(&facts).into_iter().find_map(|verdict| match verdict {
        Verdict::Chosen(choice) => Some(choice),
        Verdict::Refused(_) => None,
    });
    (facts.devices, chosen)
}

/// Calls `check` with a name for each state that a cut can leave, sector by sector.
fn cut_everywhere(image: &Path, ends: &Ends, mut check: impl FnMut(&str)) {
    let file = OpenOptions::new().write(true).open(image).unwrap();
    check("nothing written");
    for (part, (at, bytes)) in ["second copy", "entries", "header", "first sector"].iter().zip(in_order(ends))
    {
        for (index, sector) in bytes.chunks(ends.sector_bytes() as usize).enumerate() {
            file.write_all_at(sector, at + index as u64 * ends.sector_bytes()).unwrap();
            check(&format!("{part}, sector {index}"));
        }
    }
}

#[test]
fn cut_at_any_sector_of_a_new_table_loses_no_key() {
    let archive = archive();
    let image = disk(SIZE, &archive);
    let ends = table::create(SIZE, 512, &geometry(SIZE).unwrap()).unwrap();
    let (mut formatted, mut mended, mut mounted) = (0, 0, 0);
    cut_everywhere(image.path(), &ends, |state| match next_boot(image.path()) {
        (devices, Some(Choice { work: Work::Format, .. })) => {
            assert_eq!(devices[0].content, Content::Magic(Archive::Whole(archive.clone())), "{state}");
            formatted += 1;
        }
        (devices, Some(Choice { work: Work::FinishTable, .. })) => {
            let ends = Ends::read(&mut File::open(image.path()).unwrap(), SIZE, 512).unwrap();
            let mended_ends = table::rewrite(&ends, None).unwrap();
            assert!(table::read(&mended_ends).unwrap().is_visible, "{state}");
            assert!(matches!(devices[0].content, Content::Magic(Archive::Damaged(_))), "{state}");
            mended += 1;
        }
        (_, Some(Choice { work: Work::None(_), reason })) => {
            assert_eq!(reason, Reason::Label, "{state}");
            mounted += 1;
        }
        (devices, None) => panic!("{state}: refused: {}", devices[0]),
    });
    assert_eq!(
        (formatted, mended, mounted),
        (34, 33, 1),
        "32 entries and a header each, and the first sector"
    );
}

#[test]
fn cut_at_any_sector_of_a_growing_table_loses_nothing() {
    let image = disk(2 * SIZE, table::create(SIZE, 512, &geometry(SIZE).unwrap()).unwrap().head());
    let file = File::open(image.path()).unwrap();
    let ends = Ends::read(&mut file.try_clone().unwrap(), 2 * SIZE, 512).unwrap();
    let before = table::read(&ends).unwrap().partitions;
    let grown = geometry::grown(before[0], &before, 2 * SIZE).unwrap();
    let larger = table::rewrite(&ends, Some(grown)).unwrap();
    cut_everywhere(image.path(), &larger, |state| {
        let (devices, choice) = next_boot(image.path());
        let reason = choice.unwrap_or_else(|| panic!("{state}: refused: {}", devices[0])).reason;
        assert!(matches!(reason, Reason::Label | Reason::CutOff), "{state}: {reason}");
        let data = devices[0].table.as_ref().unwrap().partitions[0];
        assert!(data == before[0] || data == grown, "{state}");
    });
}
