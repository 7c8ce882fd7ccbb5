//! The binary itself: position independent, its relocations read-only before `main`, its stack not
//! executable, its libraries only where the system says. What the linker was told in this profile it
//! is told in the release profile too: neither names flags of its own.

#![allow(clippy::expect_used, reason = "test code")]

use std::fs;

use object::Endianness::Little;
use object::elf::{
    DF_1_NOW, DF_1_PIE, DT_FLAGS_1, DT_RPATH, DT_RUNPATH, DT_TEXTREL, DynamicFlags1, DynamicTag,
    ET_DYN, FileHeader64, PF_W, PF_X, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramFlags,
    ProgramType,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

type Elf = FileHeader64<object::Endianness>;

fn binary() -> Vec<u8> {
    // Another profile's, when it is named: the release binary, an image's.
    let path = std::env::var("HARDENING_BINARY");
    let path = path.unwrap_or_else(|_| env!("CARGO_BIN_EXE_linkerd-gateway").to_owned());
    fs::read(&path).expect("the binary")
}

#[test]
fn the_binary_is_position_independent() {
    let bytes = binary();
    let elf = Elf::parse(&*bytes).expect("a 64-bit ELF");
    assert_eq!(elf.e_type(Little), ET_DYN);
    assert!(has_flag(&bytes, DF_1_PIE));
    assert!(segments(&bytes).iter().any(|(kind, _)| *kind == PT_INTERP), "no loader");
    assert_eq!(dynamic(&bytes, DT_TEXTREL), None, "code is relocated");
}

#[test]
fn relocations_are_bound_at_start_and_then_read_only() {
    let bytes = binary();
    assert!(segments(&bytes).iter().any(|(kind, _)| *kind == PT_GNU_RELRO));
    assert!(has_flag(&bytes, DF_1_NOW));
}

#[test]
fn no_memory_is_writable_and_executable() {
    let segments = segments(&binary());
    let stack = segments.iter().find(|(kind, _)| *kind == PT_GNU_STACK);
    assert_eq!(stack.expect("a stack's rights").1.0 & PF_X.0, 0);
    let both = PF_W.0 | PF_X.0;
    let loaded = segments.iter().filter(|(kind, _)| *kind == PT_LOAD);
    assert!(loaded.clone().count() >= 2, "segments are found");
    for (_, rights) in loaded {
        assert_ne!(rights.0 & both, both);
    }
}

#[test]
fn libraries_come_from_the_system_only() {
    let bytes = binary();
    assert_eq!((dynamic(&bytes, DT_RPATH), dynamic(&bytes, DT_RUNPATH)), (None, None));
}

/// The kind and the rights of every segment.
fn segments(bytes: &[u8]) -> Vec<(ProgramType, ProgramFlags)> {
    let elf = Elf::parse(bytes).expect("a 64-bit ELF");
    let headers = elf.program_headers(Little, bytes).expect("segments");
    headers.iter().map(|header| (header.p_type(Little), header.p_flags(Little))).collect()
}

fn has_flag(bytes: &[u8], flag: DynamicFlags1) -> bool {
    dynamic(bytes, DT_FLAGS_1).expect("flags") & flag.0 != 0
}

/// The first value of a tag of the dynamic section.
fn dynamic(bytes: &[u8], tag: DynamicTag) -> Option<u64> {
    let elf = Elf::parse(bytes).expect("a 64-bit ELF");
    let headers = elf.program_headers(Little, bytes).expect("segments");
    let entries = headers.iter().find_map(|h| h.dynamic(Little, bytes).expect("a section"));
    let entries = entries.expect("a dynamic binary");
    entries.iter().find(|e| e.d_tag(Little) == tag).map(|e| e.d_val(Little))
}
