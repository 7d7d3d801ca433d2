//! Gives a position-independent program its place when the image is built, not each time it is started.
//!
//! dockerd has 330000 addresses in its data that its loader would fill in: each start reads 16 MB for that and makes 8 MB of
//! memory its own. In a program with a fixed place they are constants, shared and let go like all of the file. So is what
//! linkers make of Go programs unless asked otherwise, containerd and runc among them.
//!
//! Source: System V ABI, "Dynamic Linking"; its AMD64 supplement, "Program Loading" and "Relocation"; prelink(8).

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use elf::abi;
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::symbol::SymbolTable;
use elf::{ElfBytes, ParseError};

use crate::tree::{Content, Tree};

/// The place of programs that have one. Source: AMD64 supplement, "Program Loading".
const BASE: u64 = 0x40_0000;
/// The section that Go's linker writes into every program. Source: Go, `debug/buildinfo`.
const GO_SECTION: &str = ".go.buildinfo";

/// Sizes and offsets of fields in 64-bit ELF. Source: elf(5).
const HEADER_TYPE: usize = 16;
const HEADER_ENTRY: usize = 24;
const SEGMENT_ADDRESSES: [usize; 2] = [16, 24];
const SECTION_ADDRESS: usize = 16;
const SYMBOL_VALUE: usize = 8;
const SYMBOL_BYTES: usize = 24;
const DYNAMIC_BYTES: usize = 16;
const DYNAMIC_VALUE: usize = 8;
const RELOCATION_BYTES: usize = 24;
const RELOCATION_INFO: usize = 8;
const RELOCATION_ADDEND: usize = 16;
/// Flag of programs that may lie anywhere. Source: glibc, `elf/elf.h`, `DF_1_PIE`.
const IS_PIE: u64 = 0x0800_0000;
/// Relocations that depend on where the loader finds a symbol.
const OF_SYMBOLS: [u32; 7] = [
    abi::R_X86_64_64,
    abi::R_X86_64_COPY,
    abi::R_X86_64_GLOB_DAT,
    abi::R_X86_64_JUMP_SLOT,
    abi::R_X86_64_DTPMOD64,
    abi::R_X86_64_DTPOFF64,
    abi::R_X86_64_TPOFF64,
];

/// Dynamic entries that hold an address.
const ADDRESSES: [i64; 15] = [
    abi::DT_PLTGOT,
    abi::DT_HASH,
    abi::DT_STRTAB,
    abi::DT_SYMTAB,
    abi::DT_RELA,
    abi::DT_INIT,
    abi::DT_FINI,
    abi::DT_JMPREL,
    abi::DT_INIT_ARRAY,
    abi::DT_FINI_ARRAY,
    abi::DT_PREINIT_ARRAY,
    abi::DT_GNU_HASH,
    abi::DT_VERSYM,
    abi::DT_VERDEF,
    abi::DT_VERNEED,
];
/// Dynamic entries that hold none.
const OTHERS: [i64; 19] = [
    abi::DT_NULL,
    abi::DT_NEEDED,
    abi::DT_PLTRELSZ,
    abi::DT_RELASZ,
    abi::DT_RELAENT,
    abi::DT_STRSZ,
    abi::DT_SYMENT,
    abi::DT_RPATH,
    abi::DT_PLTREL,
    abi::DT_DEBUG,
    abi::DT_BIND_NOW,
    abi::DT_INIT_ARRAYSZ,
    abi::DT_FINI_ARRAYSZ,
    abi::DT_RUNPATH,
    abi::DT_FLAGS,
    abi::DT_FLAGS_1,
    abi::DT_RELACOUNT,
    abi::DT_VERDEFNUM,
    abi::DT_VERNEEDNUM,
];

/// Gives every program of `tree` that Go's linker made its place. One of a make that is not known stays as it is, with a warning:
/// it runs all the same.
///
/// # Errors
/// When a program cannot be read as ELF.
pub fn go_programs(tree: &mut Tree) -> Result<()> {
    for (path, node) in tree.iter_mut() {
        let Content::File(bytes) = &mut node.content else { continue };
        if !is_of_go(bytes).with_context(|| format!("reading {path}"))? {
            continue;
        }
        match placed(bytes) {
            Ok(Some(program)) => *bytes = program.into(),
            Ok(None) => {}
            Err(error) => log::warn!("{path} stays position-independent, and starts slower: {error:#}"),
        }
    }
    Ok(())
}

fn is_of_go(bytes: &[u8]) -> Result<bool, ParseError> {
    if !bytes.starts_with(&abi::ELFMAGIC) {
        return Ok(false);
    }
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes)?;
    Ok(file.section_header_by_name(GO_SECTION)?.is_some())
}

/// Returns the program with its place at [`BASE`], or `None` when it has one already or is a library.
///
/// # Errors
/// When it is damaged, or has something in it of which it is not known whether it is an address.
fn placed(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes)?;
    ensure!(file.ehdr.class == Class::ELF64 && file.ehdr.e_machine == abi::EM_X86_64, "it is not of x86-64");
    let segments = file.segments().context("it has no segments")?;
    let is_program = segments.iter().any(|segment| segment.p_type == abi::PT_INTERP);
    if file.ehdr.e_type != abi::ET_DYN || !is_program {
        return Ok(None);
    }
    let loaded = segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD);
    let loaded = loaded.map(|segment| (segment.p_vaddr, segment.p_filesz, segment.p_offset)).collect();
    let mut image = Image { bytes: bytes.to_vec(), loaded };
    let dynamic = file.dynamic()?.context("it has no dynamic section")?;
    let dynamic: Vec<_> = dynamic.iter().map(|entry| (entry.d_tag, entry.d_val())).collect();
    let unknown = dynamic.iter().find(|(tag, _)| !ADDRESSES.contains(tag) && !OTHERS.contains(tag));
    if let Some((tag, _)) = unknown {
        bail!("its dynamic entry {tag:#x} is not known");
    }
    let left = image.fill_in(&dynamic)?;
    image.move_calls(&dynamic)?;
    image.move_dynamic(&file, left)?;
    image.move_symbols(&file)?;
    image.move_headers(&file)?;
    Ok(Some(image.bytes))
}

/// The program while it is changed.
struct Image {
    bytes: Vec<u8>,
    /// Address, length and offset in the file of each part that is loaded.
    loaded: Vec<(u64, u64, u64)>,
}

impl Image {
    /// Fills in the addresses that depend on the place alone, and leaves the loader the rest. Returns the rest's length in bytes.
    fn fill_in(&mut self, dynamic: &[(i64, u64)]) -> Result<u64> {
        let table = self.table(dynamic, abi::DT_RELA, abi::DT_RELASZ)?;
        let mut left = table.start;
        for at in table.clone().step_by(RELOCATION_BYTES) {
            let (kind, place) = (self.kind(at)?, self.word(at)?);
            let addend = self.word(at + RELOCATION_ADDEND)?;
            if kind == abi::R_X86_64_RELATIVE {
                self.put(self.offset(place)?, addend.wrapping_add(BASE))?;
                continue;
            }
            ensure!(
                kind == abi::R_X86_64_IRELATIVE || OF_SYMBOLS.contains(&kind),
                "its relocation {kind} is not known"
            );
            self.shift(at)?;
            if kind == abi::R_X86_64_IRELATIVE {
                self.shift(at + RELOCATION_ADDEND)?;
            }
            self.bytes.copy_within(at..at + RELOCATION_BYTES, left);
            left += RELOCATION_BYTES;
        }
        self.bytes[left..table.end].fill(0);
        Ok(u64::try_from(left - table.start)?)
    }

    /// Moves the slots through which functions of libraries are called, each of which leads to what looks the function up.
    fn move_calls(&mut self, dynamic: &[(i64, u64)]) -> Result<()> {
        for at in self.table(dynamic, abi::DT_JMPREL, abi::DT_PLTRELSZ)?.step_by(RELOCATION_BYTES) {
            let kind = self.kind(at)?;
            ensure!(kind == abi::R_X86_64_JUMP_SLOT, "its relocation {kind} of a call is not known");
            let slot = self.offset(self.word(at)?)?;
            if self.word(slot)? != 0 {
                self.shift(slot)?;
            }
            self.shift(at)?;
        }
        Ok(())
    }

    fn move_dynamic(&mut self, file: &ElfBytes<'_, LittleEndian>, left: u64) -> Result<()> {
        let segments = file.segments().into_iter().flatten();
        let part =
            segments.filter(|segment| segment.p_type == abi::PT_DYNAMIC).map(|segment| segment.p_offset);
        let start = usize::try_from(part.last().context("it has no dynamic segment")?)?;
        for (at, entry) in (start..).step_by(DYNAMIC_BYTES).zip(file.dynamic()?.into_iter().flatten()) {
            let at = at + DYNAMIC_VALUE;
            match entry.d_tag {
                tag if ADDRESSES.contains(&tag) => self.shift(at)?,
                abi::DT_RELASZ => self.put(at, left)?,
                abi::DT_RELACOUNT => self.put(at, 0)?,
                abi::DT_FLAGS_1 => self.put(at, entry.d_val() & !IS_PIE)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn move_symbols(&mut self, file: &ElfBytes<'_, LittleEndian>) -> Result<()> {
        let has_place = |section: u16| ![abi::SHN_UNDEF, abi::SHN_ABS, abi::SHN_COMMON].contains(&section);
        for section in file.section_headers().into_iter().flatten() {
            if ![abi::SHT_DYNSYM, abi::SHT_SYMTAB].contains(&section.sh_type) {
                continue;
            }
            let (bytes, _) = file.section_data(&section)?;
            let symbols = SymbolTable::new(LittleEndian, Class::ELF64, bytes);
            let start = usize::try_from(section.sh_offset)?;
            for (at, symbol) in (start..).step_by(SYMBOL_BYTES).zip(symbols) {
                if has_place(symbol.st_shndx) && symbol.st_symtype() != abi::STT_TLS {
                    self.shift(at + SYMBOL_VALUE)?;
                }
            }
        }
        Ok(())
    }

    fn move_headers(&mut self, file: &ElfBytes<'_, LittleEndian>) -> Result<()> {
        let start = usize::try_from(file.ehdr.e_phoff)?;
        let step = usize::from(file.ehdr.e_phentsize);
        for (at, segment) in (start..).step_by(step.max(1)).zip(file.segments().into_iter().flatten()) {
            // The stack has a header, but no place.
            if segment.p_type != abi::PT_GNU_STACK {
                SEGMENT_ADDRESSES.into_iter().try_for_each(|field| self.shift(at + field))?;
            }
        }
        let start = usize::try_from(file.ehdr.e_shoff)?;
        let step = usize::from(file.ehdr.e_shentsize);
        for (at, section) in (start..).step_by(step.max(1)).zip(file.section_headers().into_iter().flatten())
        {
            if section.sh_flags & u64::from(abi::SHF_ALLOC) != 0 {
                self.shift(at + SECTION_ADDRESS)?;
            }
        }
        self.shift(HEADER_ENTRY)?;
        self.bytes[HEADER_TYPE..HEADER_TYPE + 2].copy_from_slice(&abi::ET_EXEC.to_le_bytes());
        Ok(())
    }

    /// Returns where in the file the table lies whose address and length two dynamic entries tell; it may be empty.
    fn table(&self, dynamic: &[(i64, u64)], address: i64, length: i64) -> Result<Range<usize>> {
        let get = |tag| dynamic.iter().find(|entry| entry.0 == tag).map_or(0, |entry| entry.1);
        let length = usize::try_from(get(length))?;
        if length == 0 {
            return Ok(0..0);
        }
        let start = self.offset(get(address))?;
        let end = start.checked_add(length).filter(|end| *end <= self.bytes.len());
        Ok(start..end.context("its table of relocations is cut off")?)
    }

    /// Returns where in the file the address lies.
    fn offset(&self, address: u64) -> Result<usize> {
        let at = self.loaded.iter().find_map(|(start, length, offset)| {
            let inside = address.checked_sub(*start).filter(|inside| inside < length)?;
            offset.checked_add(inside)
        });
        Ok(usize::try_from(at.with_context(|| format!("the address {address:#x} is not in the file"))?)?)
    }

    fn kind(&self, relocation: usize) -> Result<u32> {
        // The upper half is the symbol's number.
        Ok(u32::try_from(self.word(relocation + RELOCATION_INFO)? & u64::from(u32::MAX))?)
    }

    fn word(&self, at: usize) -> Result<u64> {
        let word = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        Ok(u64::from_le_bytes(*word.context("it is cut off")?))
    }

    fn put(&mut self, at: usize, value: u64) -> Result<()> {
        let word = self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
        *word.context("it is cut off")? = value.to_le_bytes();
        Ok(())
    }

    fn shift(&mut self, at: usize) -> Result<()> {
        self.put(at, self.word(at)?.wrapping_add(BASE))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;
    use crate::tree::{GuestPath, Node};

    fn this_program() -> Vec<u8> {
        fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_with_its_place_does_what_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("placed");
        let program = placed(&this_program()).unwrap().expect("test programs are position-independent");
        fs::write(&path, &program).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let list = |program: &std::path::Path| {
            let output = Command::new(program).arg("--list").output().unwrap();
            assert!(
                output.status.success(),
                "{}: {}",
                program.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(list(&path), list(&std::env::current_exe().unwrap()));
    }

    #[test]
    fn what_is_left_to_the_loader_does_not_depend_on_the_place() {
        let program = placed(&this_program()).unwrap().unwrap();
        let file = ElfBytes::<LittleEndian>::minimal_parse(&program).unwrap();
        assert_eq!(file.ehdr.e_type, abi::ET_EXEC);
        let (section, _) = (file.section_header_by_name(".rela.dyn").unwrap().unwrap(), ());
        let dynamic = file.dynamic().unwrap().unwrap();
        let length = dynamic.iter().find(|entry| entry.d_tag == abi::DT_RELASZ).unwrap().d_val();
        assert!(length < section.sh_size, "{length} of {} bytes are left", section.sh_size);
        let start = usize::try_from(section.sh_offset).unwrap();
        let table = &program[start..start + usize::try_from(section.sh_size).unwrap()];
        let (left, filled_in) = table.split_at(usize::try_from(length).unwrap());
        assert!(filled_in.iter().all(|byte| *byte == 0));
        let kinds = left.chunks(RELOCATION_BYTES).map(|entry| entry[RELOCATION_INFO]);
        assert!(kinds.into_iter().all(|kind| u32::from(kind) != abi::R_X86_64_RELATIVE));
        assert_eq!(placed(&program).unwrap(), None, "it has its place");
    }

    #[test]
    fn what_is_not_known_is_named() {
        let program = this_program();
        let file = ElfBytes::<LittleEndian>::minimal_parse(&program).unwrap();
        let segments = file.segments().unwrap();
        let dynamic = segments.iter().find(|segment| segment.p_type == abi::PT_DYNAMIC).unwrap();
        let mut changed = program.clone();
        changed[usize::try_from(dynamic.p_offset).unwrap()] = 0x7e;
        assert_eq!(placed(&changed).unwrap_err().to_string(), "its dynamic entry 0x7e is not known");

        let relocations = file.section_header_by_name(".rela.dyn").unwrap().unwrap();
        let mut changed = program.clone();
        changed[usize::try_from(relocations.sh_offset).unwrap() + RELOCATION_INFO] = 99;
        assert_eq!(placed(&changed).unwrap_err().to_string(), "its relocation 99 is not known");
        assert!(placed(&program[..4096]).is_err());
    }

    #[test]
    fn programs_of_other_makes_stay_as_they_are() {
        let mut tree = Tree::default();
        tree.insert(GuestPath::new("/usr/bin/this"), Node::file(this_program(), 0o755));
        tree.insert(GuestPath::new("/etc/text"), Node::file(*b"text", 0o644));
        let before = tree.clone();
        go_programs(&mut tree).unwrap();
        assert_eq!(tree, before);
    }
}
