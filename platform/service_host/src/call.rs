//! An instance of a service, and one call of it.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use gantry_abi::bytes::GantryText;
use gantry_abi::status::{GANTRY_AGAIN, GANTRY_BUSINESS, GANTRY_OK, GANTRY_PANICKED};
use gantry_message::{CallerName, RequestId, ServiceNumber};

use crate::description::ServiceDescription;
use crate::error::LoadError;
use crate::host::HOST;
use crate::lender::{Lender, NothingLent, RequestView};
use crate::loader::{Functions, Library};
use crate::running::Running;

/// The minor version of the contract from which on `GANTRY_AGAIN` means something.
const GANTRY_AGAIN_SINCE_MINOR: u32 = 2;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 000: the reply is what the lender was told by `reply_commit`.
    Done,
    /// 304: what the service refuses; [`business_body`] makes the reply's body of it.
    Business {
        /// Such as `card_unknown`.
        code: String,
        /// The member of the request that is wrong, if the service names one.
        field: Option<String>,
        /// For people.
        message: String,
    },
    /// 306: why, for the log.
    Failed {
        /// What the service or the platform says.
        message: String,
    },
}

/// The body of a 304.
pub fn business_body(code: &str, field: Option<&str>, message: &str) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        error: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
    }
    serde_json::to_vec(&Body { error: code, message, field }).expect("three texts always make JSON")
}

/// An instance of a service, made by its library from its configuration. Belongs to one thread.
pub struct Instance {
    library: Arc<Library>,
    /// Which of the library's services it is.
    index: usize,
    functions: Functions,
    config: String,
    /// What `create` stored; `None` while there is no instance to call.
    held: Cell<Option<*mut c_void>>,
    /// Whether a call runs on it now.
    is_running: Cell<bool>,
}

impl Instance {
    /// Makes an instance of the service `number` of `library`. Blocks for as long as the service's `create`.
    ///
    /// # Errors
    /// [`LoadError::Create`] with the service's reason.
    pub fn create(library: &Arc<Library>, number: ServiceNumber, config: &str) -> Result<Self, LoadError> {
        let refuse = |message| LoadError::Create { path: library.path().to_owned(), number, message };
        let Some((index, functions)) = library.find(number) else {
            return Err(refuse("the library has no such service".to_owned()));
        };
        let instance = Self {
            library: Arc::clone(library),
            index,
            functions,
            config: config.to_owned(),
            held: Cell::new(None),
            is_running: Cell::new(false),
        };
        instance.renew().map_err(refuse)?;
        Ok(instance)
    }

    /// The service's number.
    pub fn number(&self) -> ServiceNumber {
        self.service().number
    }

    /// The library that the instance is of.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// What the library says of the service.
    pub fn service(&self) -> &ServiceDescription {
        &self.library.description().services[self.index]
    }

    /// Whether a call runs on it now.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.get()
    }

    /// Makes a fresh instance in place of the one held, if any.
    fn renew(&self) -> Result<*mut c_void, String> {
        self.destroy();
        let mut lender = NothingLent { number: self.number() };
        let mut running = Running::new(&mut lender, nothing_requested(self.number()), &[]);
        let mut held = null_mut();
        let config = GantryText::from_str(&self.config);
        let create = self.functions.create;
        // SAFETY: the library's function, with the arguments that the contract promises.
        let code = running.enter(|call| unsafe { create(&HOST, call, config, &mut held) });
        if code != GANTRY_OK || running.fault.is_some() {
            let told = running.fault.or(running.failure);
            return Err(told.unwrap_or_else(|| format!("it returned {code} and gave no reason")));
        }
        self.held.set(Some(held));
        Ok(held)
    }

    /// Frees the instance held, if any.
    fn destroy(&self) {
        let Some(held) = self.held.take() else { return };
        let mut lender = NothingLent { number: self.number() };
        let mut running = Running::new(&mut lender, nothing_requested(self.number()), &[]);
        let destroy = self.functions.destroy;
        // SAFETY: `create` stored the pointer, and `take` makes sure that it is destroyed once.
        running.enter(|call| unsafe { destroy(held, call) });
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.destroy();
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("number", &self.number())
            .field("library", &self.library)
            .finish_non_exhaustive()
    }
}

/// Runs one request on an instance. Blocks for as long as the service runs.
///
/// After a panic the instance is thrown away, and the next call begins with a fresh one.
pub fn call(instance: &Instance, lender: &mut dyn Lender, request: RequestView) -> Outcome {
    call_inside(instance, lender, request, 0)
}

/// The same, inside so many other calls.
pub(crate) fn call_inside(
    instance: &Instance,
    lender: &mut dyn Lender,
    request: RequestView,
    depth: u32,
) -> Outcome {
    if instance.is_running.get() {
        // Two calls at a time on one instance is what the contract promises never to do.
        let message = "the service was called from inside its own call".to_owned();
        return Outcome::Failed { message };
    }
    let held = match instance.held.get() {
        Some(held) => held,
        None => match instance.renew() {
            Ok(held) => held,
            Err(message) => {
                let message = format!("no new instance could be made after a panic: {message}");
                return Outcome::Failed { message };
            }
        },
    };
    let service = instance.service();
    let mut running = Running::new(lender, request, &service.sources);
    (running.kind, running.depth) = (service.kind, depth);
    let run = instance.functions.call;
    instance.is_running.set(true);
    // SAFETY: `create` stored the pointer, the handle is valid while the function runs, and no other call
    // of this instance runs.
    let code = running.enter(|call| unsafe { run(held, call) });
    instance.is_running.set(false);
    if code == GANTRY_AGAIN && instance.library().description().speaks(GANTRY_AGAIN_SINCE_MINOR) {
        running.lender.ask_again();
    }
    let outcome = outcome_of(code, running);
    if code == GANTRY_PANICKED {
        instance.destroy();
    }
    outcome
}

fn outcome_of(code: i32, running: Running<'_>) -> Outcome {
    if let Some(message) = running.fault {
        return Outcome::Failed { message };
    }
    match (code, running.told) {
        // A service that overlooks that its reply was refused would send a wrong one.
        (GANTRY_OK, _) if running.reply_refusal.is_none() => Outcome::Done,
        (GANTRY_BUSINESS, Some(told)) => Outcome::Business {
            code: told.code,
            field: Some(told.field).filter(|field| !field.is_empty()),
            message: told.message,
        },
        _ => {
            let reason = running.failure.or(running.reply_refusal);
            let message = reason.unwrap_or_else(|| format!("it returned {code} and gave no reason"));
            Outcome::Failed { message }
        }
    }
}

/// What stands for the request while an instance is created or destroyed.
fn nothing_requested(number: ServiceNumber) -> RequestView {
    let (caller, request_id) = (CallerName::ANONYMOUS, RequestId::ZERO);
    RequestView { number, caller, request_id, body: NonNull::from(&[]) }
}
