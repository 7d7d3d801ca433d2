use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::tree::{GuestPath, Node};

/// Calls that are looked up late, an address of a function of its own and one of a library's, a library's variable and one of
/// each thread.
const IN_C: &str = r#"
#include <stdio.h>
#include <stdlib.h>
static int twice(int n) { return 2 * n; }
static int (*const functions[])(int) = { twice, abs };
static __thread int each = 5;
int main(void) {
    fprintf(stdout, "%d %d %d\n", functions[0](3), functions[1](-4), each);
    return puts("done") < 0;
}
"#;

fn this_program() -> Vec<u8> {
    fs::read(std::env::current_exe().unwrap()).unwrap()
}

/// Returns a program in C, as the compiler makes it with late lookups and without.
fn programs_in_c(folder: &Path) -> [PathBuf; 2] {
    let source = folder.join("program.c");
    fs::write(&source, IN_C).unwrap();
    ["lazy", "now"].map(|binding| {
        let program = folder.join(binding);
        let mut compiler = Command::new("cc");
        compiler.args(["-fPIE", "-pie", &format!("-Wl,-z,{binding}"), "-o"]).arg(&program).arg(&source);
        assert!(compiler.status().unwrap().success());
        program
    })
}

fn output_of(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {words}", program.display(), output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a program one of Go's, by the name of a section that it can do without.
fn as_of_go(program: &[u8]) -> Vec<u8> {
    let (old, new) = (b".gcc_except_table\0", b".go.buildinfo\0\0\0\0\0");
    let at = program.windows(old.len()).rposition(|name| name == old).unwrap();
    let mut program = program.to_vec();
    program[at..at + new.len()].copy_from_slice(new);
    program
}

fn dynamic_entry(program: &[u8], tag: i64) -> usize {
    let file = Elf::minimal_parse(program).unwrap();
    let dynamic = file.segments().unwrap().iter().find(|segment| segment.p_type == abi::PT_DYNAMIC).unwrap();
    let place = file.dynamic().unwrap().unwrap().iter().position(|entry| entry.d_tag == tag).unwrap();
    usize::try_from(dynamic.p_offset).unwrap() + place * DYNAMIC_BYTES
}

#[test]
fn programs_do_at_their_load_address_what_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    for before in programs_in_c(folder.path()).into_iter().chain([this]) {
        let program = with_load_address(&fs::read(&before).unwrap()).unwrap();
        let after = folder.path().join("after");
        fs::write(&after, program.expect("it is position-independent")).unwrap();
        fs::set_permissions(&after, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(output_of(&after, "--list"), output_of(&before, "--list"), "{}", before.display());
    }
}

#[test]
fn what_is_left_to_the_loader_does_not_depend_on_the_load_address() {
    let program = with_load_address(&this_program()).unwrap().unwrap();
    let file = Elf::minimal_parse(&program).unwrap();
    assert_eq!(file.ehdr.e_type, abi::ET_EXEC);
    let section = file.section_header_by_name(".rela.dyn").unwrap().unwrap();
    let dynamic = file.dynamic().unwrap().unwrap();
    let length = dynamic.iter().find(|entry| entry.d_tag == abi::DT_RELASZ).unwrap().d_val();
    assert!(length < section.sh_size, "{length} of {} bytes are left", section.sh_size);
    let start = usize::try_from(section.sh_offset).unwrap();
    let table = &program[start..start + usize::try_from(section.sh_size).unwrap()];
    let (left, filled_in) = table.split_at(usize::try_from(length).unwrap());
    assert!(filled_in.iter().all(|byte| *byte == 0));
    let mut kinds = left.chunks(RELOCATION_BYTES).map(|entry| u32::from(entry[RELOCATION_INFO]));
    assert!(kinds.all(|kind| kind != abi::R_X86_64_RELATIVE));
    assert_eq!(with_load_address(&program).unwrap(), None, "it has a load address");
}

#[test]
fn what_is_not_known_or_damaged_is_named() {
    let program = this_program();
    let relocations =
        Elf::minimal_parse(&program).unwrap().section_header_by_name(".rela.dyn").unwrap().unwrap();
    let relocation = usize::try_from(relocations.sh_offset).unwrap();
    let size = relocations.sh_size;
    let word = |at: usize, value: u64| {
        let mut changed = program.clone();
        changed[at..at + 8].copy_from_slice(&value.to_le_bytes());
        changed
    };
    let entry = |tag| dynamic_entry(&program, tag);
    let rows = [
        (word(entry(abi::DT_RELA), 0x7e), "its dynamic entry 0x7e is not known with the value"),
        (
            word(entry(abi::DT_RELAENT) + DYNAMIC_VALUE, 16),
            "its dynamic entry 0x9 is not known with the value 0x10",
        ),
        (word(entry(abi::DT_RELASZ) + DYNAMIC_VALUE, size - 1), "its table of relocations ends within one"),
        (word(entry(abi::DT_RELASZ) + DYNAMIC_VALUE, 24 << 40), "its table of relocations is cut off"),
        (
            word(entry(abi::DT_RELA) + DYNAMIC_VALUE, 1 << 60),
            "the address 0x1000000000000000 is not in the file",
        ),
        (word(relocation + RELOCATION_INFO, 99), "its relocation 99 is not known with the symbol 0"),
        (
            word(relocation + RELOCATION_INFO, abi::R_X86_64_64.into()),
            "its relocation 1 is not known with the symbol 0",
        ),
        (word(relocation, 1 << 60), "the address 0x1000000000000000 is not in the file"),
    ];
    for (changed, expected) in rows {
        let error = with_load_address(&changed).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error} instead of {expected}");
    }
}

#[test]
fn tables_that_overlap_are_left_to_the_loader() {
    let folder = tempfile::tempdir().unwrap();
    let [lazy, _] = programs_in_c(folder.path());
    let mut program = fs::read(lazy).unwrap();
    let at = dynamic_entry(&program, abi::DT_RELASZ) + DYNAMIC_VALUE;
    let size = u64::from_le_bytes(program[at..at + 8].try_into().unwrap());
    program[at..at + 8].copy_from_slice(&(size + 24).to_le_bytes());
    assert_eq!(with_load_address(&program).unwrap_err().to_string(), "its tables of relocations overlap");
}

#[test]
fn programs_of_go_alone_are_changed_and_none_that_is_not_known() {
    let unknown = {
        let mut program = as_of_go(&this_program());
        let at = dynamic_entry(&program, abi::DT_RELA);
        program[at] = 0x7e;
        program
    };
    let files = [
        ("/usr/bin/of-go", as_of_go(&this_program())),
        ("/usr/bin/other", this_program()),
        ("/usr/bin/unknown", unknown),
        ("/etc/text", b"text".to_vec()),
    ];
    let mut tree = Tree::default();
    for (path, bytes) in files {
        tree.insert(GuestPath::new(path), Node::file(bytes, 0o755));
    }
    let before = tree.clone();
    go_programs(&mut tree).unwrap();
    let changed = tree.iter().zip(before.iter()).filter(|(after, before)| after != before);
    assert_eq!(changed.map(|((path, _), _)| path.to_string()).collect::<Vec<_>>(), ["/usr/bin/of-go"]);
}
