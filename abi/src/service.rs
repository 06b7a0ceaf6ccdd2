//! What the author of a service implements, and what is lent to it while it is created.

use std::marker::PhantomData;

use crate::context::Context;
use crate::error::{CreateError, ServiceError};
use crate::host::GantryCall;
use crate::lent::Lent;
use crate::status::Level;

/// A service. The platform makes one instance per worker process and calls it on one thread, one
/// request at a time; state that changes needs a `Cell` or `RefCell`, and no `Send`.
pub trait Service: Sized {
    /// Makes an instance. `config` is the text of the service's configuration, empty if there is none.
    ///
    /// # Errors
    /// The library is not loaded, and the operator reads the message.
    fn create(host: &Host<'_>, config: &str) -> Result<Self, CreateError>;

    /// Runs one request, whose body is `request`, and writes the reply through `context`. After `Ok`
    /// the platform commits what was written to data sources, after `Err` it rolls it back.
    ///
    /// # Errors
    /// [`ServiceError::Business`] is told to the caller (304); [`ServiceError::Failed`] is a 306.
    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError>;
}

/// What the platform lends while an instance is created.
pub struct Host<'create> {
    lent: Lent,
    call: *mut GantryCall,
    lifetime: PhantomData<&'create ()>,
}

impl Host<'_> {
    pub(crate) fn new(lent: Lent, call: *mut GantryCall) -> Self {
        Self { lent, call, lifetime: PhantomData }
    }

    /// Number of the service whose instance is made: one type may serve several numbers.
    pub fn number(&self) -> u32 {
        // SAFETY: `call` is valid while the platform's `create` runs, which `'create` stands for.
        unsafe { (self.lent.host.number)(self.call) }
    }

    /// Name and version of the platform.
    pub fn platform(&self) -> &'static str {
        // SAFETY: the platform's text lives until the process ends.
        unsafe { self.lent.host.platform.read() }.unwrap_or_default()
    }

    /// Writes a record to the platform's log.
    pub fn log(&self, level: Level, text: &str) {
        self.lent.write_log(self.call, level, text);
    }
}
