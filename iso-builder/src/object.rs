//! What an ELF file needs to run: its loader, its libraries, and the symbol versions it expects of them.
//!
//! Source: elf(5); Linux Standard Base Core 5.0, "Symbol Versioning".

use std::collections::BTreeSet;
use std::path::Path;

use elf::ElfBytes;
use elf::abi::{DT_NEEDED, DT_RPATH, DT_RUNPATH, PT_INTERP, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_STRTAB};
use elf::endian::LittleEndian;
use elf::gnu_symver::{VerDefIterator, VerNeedIterator};
use elf::section::SectionHeader;
use elf::string_table::StringTable;

use crate::tree::GuestPath;

/// The first bytes of every ELF file.
const MAGIC: &[u8] = b"\x7fELF";

/// Where libraries are looked for when a file names no place of its own.
/// Source: ld.so(8), default folders, in Debian's multi-arch layout.
const LIBRARY_FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// What a dynamic program or library needs and offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Path of the dynamic loader, for programs.
    pub interpreter: Option<String>,
    /// Names of libraries (`DT_NEEDED`), in order.
    pub needed: Vec<String>,
    /// Folders to search first (`DT_RUNPATH` or `DT_RPATH`), `$ORIGIN` unexpanded.
    pub search: Vec<String>,
    /// Pairs of library name and symbol version that must be defined there.
    pub versions_needed: BTreeSet<(String, String)>,
    /// Symbol versions that this file defines.
    pub versions_defined: BTreeSet<String>,
}

impl Object {
    /// Returns where the loader looks for the library `name` of this object, which lies at `place`; the first one counts.
    pub fn places_of(&self, name: &str, place: &GuestPath) -> impl Iterator<Item = GuestPath> {
        let origin = place.folder().to_string_lossy();
        let own = self.search.iter().map(move |folder| folder.replace("$ORIGIN", &origin));
        own.chain(LIBRARY_FOLDERS.map(str::to_owned))
            .map(move |folder| GuestPath::new(Path::new(&folder).join(name)))
    }
}

/// Returns what an ELF file needs, or `None` when the bytes are no ELF file.
///
/// # Errors
/// When it begins like an ELF file but cannot be parsed.
pub fn parse(bytes: &[u8]) -> Result<Option<Object>, elf::ParseError> {
    if !bytes.starts_with(MAGIC) {
        return Ok(None);
    }
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes)?;
    let mut object = Object::default();
    for segment in file.segments().into_iter().flatten().filter(|segment| segment.p_type == PT_INTERP) {
        let path = file.segment_data(&segment)?;
        object.interpreter = Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned());
    }
    read_dynamic(&file, &mut object)?;
    for section in file.section_headers().into_iter().flatten() {
        match section.sh_type {
            SHT_GNU_VERNEED => read_needed_versions(&file, &section, &mut object)?,
            SHT_GNU_VERDEF => read_defined_versions(&file, &section, &mut object)?,
            _ => {}
        }
    }
    Ok(Some(object))
}

fn read_dynamic(file: &ElfBytes<'_, LittleEndian>, object: &mut Object) -> Result<(), elf::ParseError> {
    let Some(dynamic) = file.dynamic()? else { return Ok(()) };
    let Some((_, strings)) = file.dynamic_symbol_table()? else { return Ok(()) };
    for entry in dynamic.iter() {
        let text = |offset: u64| strings.get(usize::try_from(offset)?).map(str::to_owned);
        match entry.d_tag {
            DT_NEEDED => object.needed.push(text(entry.d_val())?),
            DT_RUNPATH | DT_RPATH => object.search.extend(text(entry.d_val())?.split(':').map(str::to_owned)),
            _ => {}
        }
    }
    Ok(())
}

fn strings_of<'a>(
    file: &ElfBytes<'a, LittleEndian>,
    section: &SectionHeader,
) -> Result<StringTable<'a>, elf::ParseError> {
    let header = file
        .section_headers()
        .and_then(|headers| headers.get(section.sh_link as usize).ok())
        .filter(|header| header.sh_type == SHT_STRTAB)
        .ok_or(elf::ParseError::BadOffset(section.sh_link.into()))?;
    file.section_data_as_strtab(&header)
}

fn read_needed_versions(
    file: &ElfBytes<'_, LittleEndian>,
    section: &SectionHeader,
    object: &mut Object,
) -> Result<(), elf::ParseError> {
    let strings = strings_of(file, section)?;
    let (data, _) = file.section_data(section)?;
    let needs = VerNeedIterator::new(LittleEndian, file.ehdr.class, section.sh_info.into(), 0, data);
    for (need, versions) in needs {
        let library = strings.get(need.vn_file as usize)?;
        for version in versions {
            let name = strings.get(version.vna_name as usize)?;
            object.versions_needed.insert((library.to_owned(), name.to_owned()));
        }
    }
    Ok(())
}

fn read_defined_versions(
    file: &ElfBytes<'_, LittleEndian>,
    section: &SectionHeader,
    object: &mut Object,
) -> Result<(), elf::ParseError> {
    let strings = strings_of(file, section)?;
    let (data, _) = file.section_data(section)?;
    let definitions = VerDefIterator::new(LittleEndian, file.ehdr.class, section.sh_info.into(), 0, data);
    for (_, names) in definitions {
        // The first name is the version itself; the others are the versions it descends from.
        if let Some(name) = names.into_iter().next() {
            object.versions_defined.insert(strings.get(name.vda_name as usize)?.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_needs_the_c_library_in_a_version() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let object = parse(&bytes).unwrap().unwrap();
        assert_eq!(object.interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert!(object.needed.contains(&"libc.so.6".to_owned()), "{:?}", object.needed);
        let glibc =
            |(library, version): &(String, String)| library == "libc.so.6" && version.starts_with("GLIBC_2.");
        assert!(object.versions_needed.iter().any(glibc), "{:?}", object.versions_needed);
    }

    #[test]
    fn text_is_no_object_and_a_cut_object_is_an_error() {
        assert_eq!(parse(b"#!/bin/sh\n").unwrap(), None);
        assert!(parse(b"\x7fELF\x02\x01").is_err());
    }
}
