//! Which instructions touch shared memory.
//!
//! Two processes only meet there. So a stop before an instruction that touches nothing shared is the same as a stop
//! before the next one that does, and need not be tried again.

use std::collections::HashMap;
use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Register, UsedMemory};

/// Bytes of the longest instruction.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// What an instruction may touch.
#[derive(Debug, Clone)]
enum Touch {
    /// Whatever: a system call, or a whole string.
    Anything,
    /// These operands.
    Memory(Vec<UsedMemory>),
}

/// The instructions seen so far, by address. A puppet is a clone, so its code is ours at the same addresses.
pub(crate) struct Code86 {
    seen: HashMap<u64, Touch>,
    factory: InstructionInfoFactory,
}

impl Code86 {
    pub(crate) fn new() -> Self {
        Self { seen: HashMap::new(), factory: InstructionInfoFactory::new() }
    }

    /// Whether the next instruction may touch any of this memory.
    pub(crate) fn touches(&mut self, registers: &libc::user_regs_struct, shared: &[Range<u64>]) -> bool {
        let Self { seen, factory } = self;
        let touch = seen.entry(registers.rip).or_insert_with(|| touch_of(factory, registers.rip));
        match touch {
            Touch::Anything => true,
            Touch::Memory(places) => places.iter().any(|place| {
                let address = place.virtual_address(0, |register, _, _| value(registers, register));
                // An address that cannot be told may be anywhere.
                address.is_none_or(|address| {
                    let end = address.saturating_add(place.memory_size().size().max(1) as u64);
                    shared.iter().any(|shared| address < shared.end && end > shared.start)
                })
            }),
        }
    }
}

fn touch_of(factory: &mut InstructionInfoFactory, address: u64) -> Touch {
    let start = std::ptr::with_exposed_provenance::<u8>(address as usize);
    let mut bytes = [0_u8; INSTRUCTION_BYTES_MAX];
    for (offset, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: code of a mapped library or of this binary, which is followed by other sections in the same mapping.
        *byte = unsafe { start.wrapping_add(offset).read_volatile() };
    }
    let mut instruction = Instruction::default();
    Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).decode_out(&mut instruction);
    let is_string = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if is_string || matches!(instruction.code(), Code::Syscall | Code::INVALID) {
        return Touch::Anything;
    }
    Touch::Memory(factory.info(&instruction).used_memory().to_vec())
}

fn value(registers: &libc::user_regs_struct, register: Register) -> Option<u64> {
    Some(match register {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::FS => registers.fs_base,
        Register::GS => registers.gs_base,
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    })
}
