//! The call that runs on this thread now, and how the functions of the contract find it.
//!
//! A `GantryCall*` is not an address but a number that is never given twice. A function of the contract
//! compares it with the number of the call that runs on its own thread, so a handle that a service kept
//! after the call, or took to another thread, is refused and harms nobody.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::without_provenance_mut;
use std::sync::{Mutex, PoisonError};

use gantry_abi::SqlError;
use gantry_abi::host::GantryCall;
use gantry_message::Kind;

use crate::host_call::Inner;
use crate::lender::{Lender, RequestView, ResultSet};

/// A business error as the service told it, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldError {
    pub(crate) code: String,
    pub(crate) field: String,
    pub(crate) message: String,
}

/// A result that the service reads.
pub(crate) struct OpenResult {
    /// The service's handle.
    pub(crate) id: usize,
    pub(crate) rows: Box<dyn ResultSet>,
    /// Whether the last `next` gave a row.
    pub(crate) is_on_row: bool,
}

/// Documents that the service reads.
pub(crate) struct OpenDocuments {
    /// The service's handle.
    pub(crate) id: usize,
    pub(crate) documents: Vec<Box<[u8]>>,
    /// Which is read next.
    pub(crate) next: usize,
}

/// One running call.
pub(crate) struct Running<'call> {
    pub(crate) lender: &'call mut dyn Lender,
    pub(crate) request: RequestView,
    /// The data sources that the service declared.
    pub(crate) sources: &'call [String],
    /// What the service is.
    pub(crate) kind: Kind,
    /// How many calls it is inside of.
    pub(crate) depth: u32,
    /// The service that it called last.
    pub(crate) inner: Inner,
    /// Size of the room for the reply, in bytes.
    pub(crate) reply_room_bytes: usize,
    /// Why room for a reply, or its length, was refused, if that was the last answer about the reply.
    pub(crate) reply_refusal: Option<String>,
    pub(crate) told: Option<ToldError>,
    /// Why the service fails, in its own words.
    pub(crate) failure: Option<String>,
    /// A fault of the platform during the call; fails it whatever the service returns.
    pub(crate) fault: Option<String>,
    pub(crate) results: Vec<OpenResult>,
    /// Handle of the result opened last.
    pub(crate) result_id: usize,
    pub(crate) documents: Vec<OpenDocuments>,
    pub(crate) sql_error: Option<SqlError>,
    pub(crate) document_error: Option<SqlError>,
    pub(crate) serials: Vec<String>,
    pub(crate) serial_message: String,
}

impl<'call> Running<'call> {
    pub(crate) fn new(lender: &'call mut dyn Lender, request: RequestView, sources: &'call [String]) -> Self {
        Self {
            lender,
            request,
            sources,
            kind: Kind::Read,
            depth: 0,
            inner: Inner::default(),
            reply_room_bytes: 0,
            reply_refusal: None,
            told: None,
            failure: None,
            fault: None,
            results: Vec::new(),
            result_id: 0,
            documents: Vec::new(),
            sql_error: None,
            document_error: None,
            serials: Vec::new(),
            serial_message: String::new(),
        }
    }

    /// Whether the service declares this data source, as one that it needs or (`NAME?`) one that it can do without.
    pub(crate) fn declares(&self, source: &str) -> bool {
        self.sources.iter().any(|declared| declared.strip_suffix('?').unwrap_or(declared) == source)
    }

    /// Runs `work`, which calls the library, with the handle of this call.
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce(*mut GantryCall) -> T) -> T {
        let handle = next_handle();
        // The lifetime is left out of the pointer's type only: `Restore` takes the pointer away before
        // `self` ends.
        let running: *mut Running<'_> = self;
        let _restore = Restore(CURRENT.replace(Current { handle, running: running.cast() }));
        work(without_provenance_mut(handle))
    }
}

#[derive(Clone, Copy)]
struct Current {
    /// Number of the call; 0: none.
    handle: usize,
    running: *mut Running<'static>,
}

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current { handle: 0, running: std::ptr::null_mut() }) };
    /// Number of the next call of this thread; 0 until the thread's part of the numbers is known.
    static NEXT: Cell<usize> = const { Cell::new(0) };
}

/// Puts back what was current before, also when the call unwinds.
struct Restore(Current);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Calls that one thread can number, as a power of two: at a million calls a second, twelve days; a
/// thread that used them up takes the next part.
const CALLS_BITS: u32 = 40;

/// The next number, never given before in this process.
fn next_handle() -> usize {
    /// Parts given out so far.
    static PARTS: Mutex<usize> = Mutex::new(0);
    let next = NEXT.get();
    let handle = if next & ((1 << CALLS_BITS) - 1) == 0 {
        // A poisoned lock guards a plain number.
        let mut parts = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
        *parts += 1;
        (*parts << CALLS_BITS) | 1
    } else {
        next
    };
    NEXT.set(handle + 1);
    handle
}

/// Runs `work` on the call with this handle; `refused` if it is not the one that runs on this thread, or
/// if `work` panicked, which fails the call. Every function of the contract goes through here, so no panic
/// crosses the border.
pub(crate) fn with_running<T>(
    call: *mut GantryCall,
    refused: T,
    work: impl FnOnce(&mut Running<'_>) -> T,
) -> T {
    let current = CURRENT.get();
    if current.handle == 0 || call.addr() != current.handle {
        return refused;
    }
    let running = current.running;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `enter` set the pointer and takes it away before the call ends. The service runs on this
        // thread and is inside this function, so nothing else uses the call now.
        work(unsafe { &mut *running })
    }));
    match outcome {
        Ok(value) => value,
        Err(payload) => {
            let text = panic_text(&*payload);
            // SAFETY: as above; the reference of `work` is gone.
            unsafe { (*running).fault = Some(format!("the platform panicked during the call: {text}")) };
            refused
        }
    }
}

/// The message of a panic.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lender::NothingLent;
    use gantry_message::{CallerName, RequestId, ServiceNumber};
    use std::ptr::NonNull;

    fn request() -> RequestView {
        RequestView {
            number: ServiceNumber::SERVICE_MIN,
            caller: CallerName::ANONYMOUS,
            request_id: RequestId::ZERO,
            body: NonNull::from(&[]),
        }
    }

    #[test]
    fn handle_is_known_only_during_its_call_and_on_its_thread() {
        let mut lender = NothingLent { number: ServiceNumber::SERVICE_MIN };
        let mut running = Running::new(&mut lender, request(), &[]);
        let kept = running.enter(|call| {
            assert!(with_running(call, false, |_| true));
            let number = call.addr();
            let elsewhere =
                std::thread::spawn(move || with_running(without_provenance_mut(number), false, |_| true));
            assert!(!elsewhere.join().unwrap());
            call
        });
        assert!(!with_running(kept, false, |_| true));
        let later = running.enter(|call| {
            assert!(!with_running(kept, false, |_| true));
            call
        });
        assert_ne!(kept, later);
        assert!(!with_running(std::ptr::null_mut(), false, |_| true));
    }

    #[test]
    fn inner_call_hides_the_outer_one_until_it_ends() {
        let mut lender = NothingLent { number: ServiceNumber::SERVICE_MIN };
        let mut other = NothingLent { number: ServiceNumber::SERVICE_MIN };
        let mut outer = Running::new(&mut lender, request(), &[]);
        let mut inner = Running::new(&mut other, request(), &[]);
        outer.enter(|first| {
            inner.enter(|second| {
                assert!(!with_running(first, false, |_| true));
                assert!(with_running(second, false, |_| true));
            });
            assert!(with_running(first, false, |_| true));
        });
    }

    #[test]
    fn panic_inside_a_host_function_is_caught_and_noted() {
        let mut lender = NothingLent { number: ServiceNumber::SERVICE_MIN };
        let mut running = Running::new(&mut lender, request(), &[]);
        let answer = running.enter(|call| with_running(call, 7, |_| panic!("lost the {}", "key")));
        assert_eq!(answer, 7);
        assert!(running.fault.unwrap().contains("lost the key"));
    }
}
