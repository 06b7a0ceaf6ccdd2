//! Breaks on purpose.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError};
use gantry_ledger::request;
use serde_json::json;

/// What one `leak` leaves behind, in bytes: a few of them pass a worker's memory limit.
const LEAK_BYTES: usize = 16 << 20;

/// 19000003 and 29000003: `{"how":"panic"|"abort"|"segv"|"spin"|"exit"|"leak"}`. Only `leak` replies:
/// `{"leaked_bytes":n}`.
pub(crate) struct Fault;

impl Service for Fault {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let how = request::free_text(&body, "how")?;
        match how.as_str() {
            "panic" => panic!("a panic was asked for"),
            "abort" => std::process::abort(),
            "segv" => write_to_null(),
            "spin" => spin(),
            // Not a failure to the operating system: the worker looks as if it had ended well.
            "exit" => std::process::exit(0),
            "leak" => {
                // Every byte is written: pages that nobody touched would not count.
                std::mem::forget(std::hint::black_box(vec![1_u8; LEAK_BYTES]));
                context.reply_json(&json!({ "leaked_bytes": LEAK_BYTES }))
            }
            _ => {
                Err(ServiceError::bad_request("how", "`how` is one of panic, abort, segv, spin, exit, leak"))
            }
        }
    }
}

/// Uses the processor for ever.
fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// A real segmentation fault, not a signal sent to itself: the address and the instruction are those of a
/// wild pointer.
#[expect(unsafe_code, reason = "breaking memory safety is what was asked for")]
fn write_to_null() -> ! {
    let target: *mut u8 = std::hint::black_box(std::ptr::without_provenance_mut(16));
    // SAFETY: there is none, on purpose: nothing is mapped at this address, so the write is a SIGSEGV.
    unsafe { target.write_volatile(1) };
    std::process::abort()
}
