//! Gives position-independent programs a load address when the image is built, not each time they are started.
//!
//! dockerd has 330000 addresses in its data that the loader would fill in: each start unpacks 16 MB for that and makes 8 MB of
//! memory its own. With a fixed load address they are constants, in pages that are shared and let go like all of the file. Go's
//! linker makes programs with a fixed load address unless it is asked otherwise; containerd and runc are such ones.
//!
//! Source: System V ABI, "Dynamic Linking"; its AMD64 supplement, "Program Loading" and "Relocation"; prelink(8).

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use elf::abi;
use elf::dynamic::DynamicTable;
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;
use elf::symbol::SymbolTable;
use elf::{ElfBytes, ParseError};

use crate::tree::{Content, Tree};

type Elf<'a> = ElfBytes<'a, LittleEndian>;

/// Where programs with a fixed load address usually begin. Source: AMD64 supplement, "Program Loading".
const LOAD_ADDRESS: u64 = 0x40_0000;
/// The section that Go's linker writes into every program. Source: Go, `debug/buildinfo`.
const GO_SECTION: &str = ".go.buildinfo";

/// Offsets and sizes in 64-bit ELF, in bytes. Source: elf(5).
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
/// In `DT_FLAGS_1`: may lie anywhere. Source: glibc, `elf/elf.h`.
const DF_1_PIE: u64 = 0x0800_0000;

/// Relocations for which the loader looks a symbol up.
const OF_SYMBOLS: [u32; 3] = [abi::R_X86_64_64, abi::R_X86_64_COPY, abi::R_X86_64_GLOB_DAT];
/// Relocations to thread-local storage; without a symbol they mean the program's own.
const OF_THREADS: [u32; 3] = [abi::R_X86_64_DTPMOD64, abi::R_X86_64_DTPOFF64, abi::R_X86_64_TPOFF64];

/// Dynamic entries that hold an address.
const DYNAMIC_ADDRESSES: [i64; 15] = [
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
const DYNAMIC_OTHERS: [i64; 18] = [
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

/// Gives every position-independent program of `tree` that Go's linker made a load address. One with something in it that is not
/// known here stays as it is, with a warning: it runs all the same.
///
/// # Errors
/// When a program cannot be read as ELF; those before it are changed.
pub fn go_programs(tree: &mut Tree) -> Result<()> {
    for (path, node) in tree.iter_mut() {
        let Content::File(bytes) = &mut node.content else { continue };
        if !is_of_go(bytes).with_context(|| format!("reading {path}"))? {
            continue;
        }
        match with_load_address(bytes) {
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
    Ok(Elf::minimal_parse(bytes)?.section_header_by_name(GO_SECTION)?.is_some())
}

/// Returns the program with all at [`LOAD_ADDRESS`] or above, or `None` when it has a load address, fills in its addresses itself
/// or is a library.
///
/// # Errors
/// When it is damaged, or has something in it of which it is not known whether it is an address.
fn with_load_address(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let file = Elf::minimal_parse(bytes)?;
    ensure!(file.ehdr.class == Class::ELF64 && file.ehdr.e_machine == abi::EM_X86_64, "it is not of x86-64");
    let segments: Vec<_> = file.segments().context("it has no segments")?.iter().collect();
    let is_program = segments.iter().any(|segment| segment.p_type == abi::PT_INTERP);
    if file.ehdr.e_type != abi::ET_DYN || !is_program {
        return Ok(None);
    }
    let dynamic = Dynamic::read(&file, &segments)?;
    let loaded = segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD);
    let loaded = loaded.map(|segment| (segment.p_vaddr, segment.p_filesz, segment.p_offset)).collect();
    let mut image = Image { bytes: bytes.to_vec(), loaded };
    let data = image.table(&dynamic, abi::DT_RELA, abi::DT_RELASZ)?;
    let calls = image.table(&dynamic, abi::DT_JMPREL, abi::DT_PLTRELSZ)?;
    ensure!(data.end <= calls.start || calls.end <= data.start, "its tables of relocations overlap");
    let left = image.fill_in(data)?;
    image.move_calls(calls)?;
    image.move_dynamic(&dynamic, left)?;
    image.move_symbols(&file)?;
    image.move_headers(&file, &segments)?;
    Ok(Some(image.bytes))
}

/// What the loader reads first.
struct Dynamic {
    address: u64,
    offset: u64,
    entries: Vec<(i64, u64)>,
}

impl Dynamic {
    fn read(file: &Elf<'_>, segments: &[ProgramHeader]) -> Result<Self> {
        let segment = segments.iter().find(|segment| segment.p_type == abi::PT_DYNAMIC);
        let segment = segment.context("it has no dynamic segment")?;
        let table = DynamicTable::new(LittleEndian, Class::ELF64, file.segment_data(segment)?);
        let mut entries: Vec<(i64, u64)> = Vec::new();
        for entry in table.iter().take_while(|entry| entry.d_tag != abi::DT_NULL) {
            let (tag, value) = (entry.d_tag, entry.d_val());
            let is_known = DYNAMIC_ADDRESSES.contains(&tag) || DYNAMIC_OTHERS.contains(&tag);
            let is_as_usual = match tag {
                abi::DT_RELAENT => usize::try_from(value)? == RELOCATION_BYTES,
                abi::DT_PLTREL => i64::try_from(value)? == abi::DT_RELA,
                abi::DT_NEEDED => true,
                _ => entries.iter().all(|(earlier, _)| *earlier != tag),
            };
            ensure!(
                is_known && is_as_usual,
                "its dynamic entry {tag:#x} is not known with the value {value:#x}"
            );
            entries.push((tag, value));
        }
        Ok(Self { address: segment.p_vaddr, offset: segment.p_offset, entries })
    }

    /// Returns an entry's value, or 0.
    fn get(&self, tag: i64) -> u64 {
        self.entries.iter().find(|entry| entry.0 == tag).map_or(0, |entry| entry.1)
    }
}

/// The program while it is changed.
struct Image {
    bytes: Vec<u8>,
    /// Address, length and offset in the file of each part that is loaded, before the change.
    loaded: Vec<(u64, u64, u64)>,
}

impl Image {
    /// Fills in the addresses that depend on the load address alone, and leaves the loader the rest of the table. Returns the
    /// rest's length in bytes.
    fn fill_in(&mut self, table: Range<usize>) -> Result<u64> {
        let mut left = table.start;
        for at in table.clone().step_by(RELOCATION_BYTES) {
            let (symbol, kind) = self.symbol_and_kind(at)?;
            if kind == abi::R_X86_64_RELATIVE {
                let addend = self.word(at + RELOCATION_ADDEND)?;
                self.put(self.offset(self.word(at)?)?, addend.wrapping_add(LOAD_ADDRESS))?;
                continue;
            }
            match kind {
                abi::R_X86_64_IRELATIVE => self.shift(at + RELOCATION_ADDEND)?,
                kind if OF_SYMBOLS.contains(&kind) && symbol != 0 => {}
                kind if OF_THREADS.contains(&kind) => {}
                _ => bail!("its relocation {kind} is not known with the symbol {symbol}"),
            }
            self.shift(at)?;
            self.bytes.copy_within(at..at + RELOCATION_BYTES, left);
            left += RELOCATION_BYTES;
        }
        self.bytes[left..table.end].fill(0);
        Ok(u64::try_from(left - table.start)?)
    }

    /// Moves the slots through which functions of libraries are called, each of which leads to what looks the function up.
    fn move_calls(&mut self, table: Range<usize>) -> Result<()> {
        for at in table.step_by(RELOCATION_BYTES) {
            let (symbol, kind) = self.symbol_and_kind(at)?;
            let is_known = kind == abi::R_X86_64_JUMP_SLOT && symbol != 0;
            ensure!(is_known, "its relocation {kind} of a call is not known with the symbol {symbol}");
            let slot = self.offset(self.word(at)?)?;
            if self.word(slot)? != 0 {
                self.shift(slot)?;
            }
            self.shift(at)?;
        }
        Ok(())
    }

    fn move_dynamic(&mut self, dynamic: &Dynamic, left: u64) -> Result<()> {
        // The first word of the table of addresses is where the dynamic section is.
        let table = dynamic.get(abi::DT_PLTGOT);
        if table != 0 && self.word(self.offset(table)?)? == dynamic.address {
            self.shift(self.offset(table)?)?;
        }
        let start = usize::try_from(dynamic.offset)?;
        for (at, (tag, value)) in (start..).step_by(DYNAMIC_BYTES).zip(&dynamic.entries) {
            let at = at + DYNAMIC_VALUE;
            match *tag {
                tag if DYNAMIC_ADDRESSES.contains(&tag) => self.shift(at)?,
                abi::DT_RELASZ => self.put(at, left)?,
                abi::DT_RELACOUNT => self.put(at, 0)?,
                abi::DT_FLAGS_1 => self.put(at, value & !DF_1_PIE)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn move_symbols(&mut self, file: &Elf<'_>) -> Result<()> {
        for section in file.section_headers().into_iter().flatten() {
            if ![abi::SHT_DYNSYM, abi::SHT_SYMTAB].contains(&section.sh_type) {
                continue;
            }
            let (bytes, _) = file.section_data(&section)?;
            let symbols = SymbolTable::new(LittleEndian, Class::ELF64, bytes);
            let start = usize::try_from(section.sh_offset)?;
            for (at, symbol) in (start..).step_by(SYMBOL_BYTES).zip(symbols) {
                let is_absent = symbol.st_shndx == abi::SHN_UNDEF && symbol.st_value == 0;
                let is_address = symbol.st_shndx != abi::SHN_ABS && symbol.st_symtype() != abi::STT_TLS;
                if is_address && !is_absent {
                    self.shift(at + SYMBOL_VALUE)?;
                }
            }
        }
        Ok(())
    }

    fn move_headers(&mut self, file: &Elf<'_>, segments: &[ProgramHeader]) -> Result<()> {
        let start = usize::try_from(file.ehdr.e_phoff)?;
        for (at, segment) in (start..).step_by(file.ehdr.e_phentsize.into()).zip(segments) {
            // The stack has a header, but no address.
            if segment.p_type != abi::PT_GNU_STACK {
                SEGMENT_ADDRESSES.into_iter().try_for_each(|field| self.shift(at + field))?;
            }
        }
        let start = usize::try_from(file.ehdr.e_shoff)?;
        let sections = file.section_headers().into_iter().flatten();
        for (at, section) in (start..).step_by(file.ehdr.e_shentsize.into()).zip(sections) {
            if section.sh_flags & u64::from(abi::SHF_ALLOC) != 0 {
                self.shift(at + SECTION_ADDRESS)?;
            }
        }
        self.shift(HEADER_ENTRY)?;
        self.bytes[HEADER_TYPE..HEADER_TYPE + 2].copy_from_slice(&abi::ET_EXEC.to_le_bytes());
        Ok(())
    }

    /// Returns where in the file the relocations are whose address and length two dynamic entries tell; there may be none.
    fn table(&self, dynamic: &Dynamic, address: i64, length: i64) -> Result<Range<usize>> {
        let length = usize::try_from(dynamic.get(length))?;
        if length == 0 {
            return Ok(0..0);
        }
        ensure!(length.is_multiple_of(RELOCATION_BYTES), "its table of relocations ends within one");
        let start = self.offset(dynamic.get(address))?;
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

    fn symbol_and_kind(&self, relocation: usize) -> Result<(u64, u32)> {
        let info = self.word(relocation + RELOCATION_INFO)?;
        Ok((info >> u32::BITS, u32::try_from(info & u64::from(u32::MAX))?))
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
        self.put(at, self.word(at)?.wrapping_add(LOAD_ADDRESS))
    }
}

#[cfg(test)]
#[path = "prelink_tests.rs"]
mod tests;
