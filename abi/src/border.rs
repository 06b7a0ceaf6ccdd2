//! The three functions that the platform calls, made for each service by
//! [`export_library!`](crate::export_library). No panic leaves them.

use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::bytes::GantryText;
use crate::context::Context;
use crate::error::ServiceError;
use crate::host::{GantryCall, GantryHost};
use crate::lent::Lent;
use crate::service::{Host, Service};
use crate::status::{GANTRY_AGAIN, GANTRY_FAILED, GANTRY_OK, GANTRY_PANICKED, GantryCode, Level};

/// An instance as the platform holds it: the author's service and the tables lent to it.
struct Instance<S> {
    service: S,
    lent: Lent,
}

/// Makes an instance of `S`; [`GantryCreateFn`](crate::descriptor::GantryCreateFn).
///
/// # Safety
/// Only the platform calls it, as the contract says.
pub(crate) unsafe extern "C-unwind" fn create<S: Service>(
    host: *const GantryHost,
    call: *mut GantryCall,
    config: GantryText,
    instance: *mut *mut c_void,
) -> GantryCode {
    // SAFETY: the platform passes its own table.
    let Some(lent) = (unsafe { Lent::from_host(host) }) else { return GANTRY_FAILED };
    // SAFETY: the text is readable until this function returns.
    let Some(config) = (unsafe { config.read() }) else {
        return fail(&lent, call, "the configuration is not UTF-8");
    };
    match guard(|| S::create(&Host::new(lent, call), config)) {
        Ok(Ok(service)) => {
            let held = Box::into_raw(Box::new(Instance { service, lent }));
            // SAFETY: the platform passes a place for one pointer.
            unsafe { instance.write(held.cast()) };
            GANTRY_OK
        }
        Ok(Err(error)) => fail(&lent, call, &error.0),
        Err(panic) => fail_panicked(&lent, call, &panic),
    }
}

/// Runs one request on an instance of `S`; [`GantryCallFn`](crate::descriptor::GantryCallFn).
///
/// # Safety
/// Only the platform calls it, as the contract says.
pub(crate) unsafe extern "C-unwind" fn call<S: Service>(
    instance: *mut c_void,
    call: *mut GantryCall,
) -> GantryCode {
    // SAFETY: `create` of the same `S` stored this pointer, and the platform calls nothing else on it now.
    let Some(held) = (unsafe { instance.cast::<Instance<S>>().as_ref() }) else { return GANTRY_FAILED };
    let lent = held.lent;
    // SAFETY: `call` is this call's handle.
    let request = unsafe { (lent.host.request)(call) };
    // SAFETY: the bytes live, unchanged, until the call ends.
    let Some(request) = (unsafe { request.read() }) else {
        return fail(&lent, call, "the platform lent a broken request");
    };
    let outcome = guard(|| {
        let mut context = Context::new(lent, call);
        held.service.call(&mut context, request)?;
        context.commit_reply()
    });
    match outcome {
        Ok(Ok(())) => GANTRY_OK,
        Ok(Err(ServiceError::Business { code, field, message })) => {
            let code = GantryText::from_str(&code);
            let field = field.as_deref().map_or(GantryText::EMPTY, GantryText::from_str);
            let message = GantryText::from_str(&message);
            // SAFETY: `call` is this call's handle; the texts are copied before it returns.
            unsafe { (lent.host.business_error)(call, code, field, message) }
        }
        Ok(Err(ServiceError::Failed(message))) => fail(&lent, call, &message),
        Ok(Err(ServiceError::Again(message))) => {
            fail(&lent, call, &message);
            GANTRY_AGAIN
        }
        Err(panic) => fail_panicked(&lent, call, &panic),
    }
}

/// Frees an instance of `S`; [`GantryDestroyFn`](crate::descriptor::GantryDestroyFn).
///
/// # Safety
/// Only the platform calls it, as the contract says.
pub(crate) unsafe extern "C-unwind" fn destroy<S: Service>(instance: *mut c_void, call: *mut GantryCall) {
    if instance.is_null() {
        return;
    }
    // SAFETY: `create` of the same `S` made this pointer from a box, and the platform uses it no more.
    let held = unsafe { Box::from_raw(instance.cast::<Instance<S>>()) };
    let lent = held.lent;
    if let Err(panic) = guard(|| drop(held)) {
        lent.write_log(call, Level::Error, &format!("panicked while it was destroyed: {panic}"));
    }
}

/// Tells the platform why, and gives the code to return.
fn fail(lent: &Lent, call: *mut GantryCall, message: &str) -> GantryCode {
    // SAFETY: `call` is the running call's handle; the text is copied before it returns.
    unsafe { (lent.host.fail)(call, GantryText::from_str(message)) }
}

/// As [`fail`], for a panic.
fn fail_panicked(lent: &Lent, call: *mut GantryCall, panic: &str) -> GantryCode {
    fail(lent, call, &format!("panicked: {panic}"));
    GANTRY_PANICKED
}

thread_local! {
    /// The message and place of the last panic of this thread while it is inside [`guard`].
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs the author's code and turns a panic into its message, with the place where it happened.
fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(watch_panics);
    // A service may be called inside the call of another one of the same library.
    let outer = PANIC.replace(Some(String::new()));
    // Unwind safety: after a panic the platform makes a new instance before the next call.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let noted = PANIC.replace(outer).unwrap_or_default();
    outcome.map_err(|payload| {
        // The payload is the author's value; its own drop could panic once more, so it is not run.
        std::mem::forget(payload);
        noted
    })
}

/// Notes the panics of guarded threads in place of printing them: a worker has no terminal, and the
/// text belongs in the platform's log. Threads that a service started itself print as usual.
fn watch_panics() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_noted = PANIC.try_with(|noted| match noted.try_borrow_mut() {
            Ok(mut noted) if noted.is_some() => {
                *noted = Some(info.to_string());
                true
            }
            _ => false,
        });
        if is_noted != Ok(true) {
            previous(info);
        }
    }));
}
