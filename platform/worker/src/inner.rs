//! A service that is called inside the call of another one.

use std::rc::Rc;

use gantry_abi::{SqlError, SqlErrorKind};
use gantry_message::{Kind, RequestId, ServiceNumber};
use gantry_segment::{ProcessNote, ProcessRow, ServiceRow};
use gantry_service_host::Instance;
use gantry_sys::atomic::Ordering::{Acquire, Relaxed};

use crate::call::Lent;
use crate::libraries::Libraries;

/// What can be called inside a call, and which calls run now.
pub(crate) struct Callable<'w> {
    pub(crate) libraries: &'w Libraries,
    pub(crate) services: &'w [ServiceRow],
    pub(crate) process: &'w ProcessRow,
    pub(crate) note: &'w ProcessNote,
    /// The slot of the request, as it is noted.
    pub(crate) slot: u64,
    pub(crate) request_id: RequestId,
    /// The calls that are running, the outer ones first, without the request's own.
    pub(crate) running: Vec<Inner>,
    /// Why the request must not succeed any more.
    pub(crate) spoilt: Option<String>,
}

/// A call inside a call.
pub(crate) struct Inner {
    instance: Rc<Instance>,
    /// What the process row said before: service, its row, library, and the library's name and version.
    before: (u32, u32, u32, Option<(String, String)>),
}

impl Callable<'_> {
    fn begin(&mut self, number: ServiceNumber) -> Option<Rc<Instance>> {
        let index = self.libraries.row_of(number)?;
        let row = self.services.get(index)?;
        // Acquire: as the communication process looks at it before it admits a request.
        let may_be_called = row.quarantined.load(Acquire) == 0 && row.enabled.load(Relaxed) == 1;
        if !may_be_called || row.number.load(Relaxed) != number.get() {
            return None;
        }
        let is_for_canary = self.request_id.position_ppm() < row.canary_ppm.load(Acquire);
        let build = self.libraries.build(number, is_for_canary)?;
        let process = self.process;
        let before = (
            process.running_service.load(Relaxed),
            process.running_service_index.load(Relaxed),
            process.running_library.load(Relaxed),
            self.note.library(self.slot),
        );
        // A death from here on is this one's doing.
        process.running_service_index.store(u32::try_from(index).unwrap_or(u32::MAX), Relaxed);
        process.running_library.store(build.row + 1, Relaxed);
        process.running_service.store(number.get(), Relaxed);
        let library = build.instance.library().description();
        self.note.begin_request(self.slot, &library.name, &library.version);
        self.running.push(Inner { instance: Rc::clone(&build.instance), before });
        Some(build.instance)
    }

    fn end(&mut self, spoils: Option<String>) {
        let Some(Inner { before: (service, index, library, name), .. }) = self.running.pop() else { return };
        self.process.running_service_index.store(index, Relaxed);
        self.process.running_library.store(library, Relaxed);
        self.process.running_service.store(service, Relaxed);
        if let Some((name, version)) = name {
            self.note.begin_request(self.slot, &name, &version);
        }
        self.spoilt = self.spoilt.take().or(spoils);
    }
}

impl Lent<'_, '_> {
    pub(crate) fn begin_inner_call(&mut self, number: ServiceNumber) -> Option<Rc<Instance>> {
        self.callable.begin(number)
    }

    pub(crate) fn end_inner_call(&mut self, spoils: Option<String>) {
        self.callable.end(spoils);
    }

    /// Whether the service that runs may not write: the request's own, or one called inside.
    pub(crate) fn only_reads(&self) -> bool {
        let inner = self.callable.running.last();
        self.write.is_none() || inner.is_some_and(|inner| inner.instance.service().kind == Kind::Read)
    }

    /// The refusal of a write by a service of kind read that was called inside a write, where the connection would let it.
    pub(crate) fn refuse_inner_write(&self) -> Result<(), SqlError> {
        if self.write.is_some() && self.only_reads() {
            let message = "a service of kind read cannot write, also when a write calls it";
            return Err(SqlError::new(SqlErrorKind::ReadOnly, message));
        }
        Ok(())
    }

    /// The data sources of the service that runs.
    pub(crate) fn declared(&self) -> &[String] {
        let inner = self.callable.running.last();
        inner.map_or(self.declared, |inner| inner.instance.service().sources.as_slice())
    }
}
