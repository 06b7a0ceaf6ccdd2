//! A service that is called inside the call of another one.

use std::rc::Rc;

use gantry_abi::{SqlError, SqlErrorKind};
use gantry_message::{Kind, RequestId, ServiceNumber};
use gantry_segment::{ProcessNote, ProcessRow, ServiceRow};
use gantry_service_host::{InnerRefusal, Instance};
use gantry_sys::atomic::Ordering::{Acquire, Relaxed};
use gantry_sys::clock;

use crate::call::{Lent, REQUEST_SOURCE};
use crate::libraries::{Build, Libraries};
use crate::write::Transaction;

/// What can be called inside a call, and which calls run now.
pub(crate) struct Callable<'w> {
    pub(crate) libraries: &'w Libraries,
    pub(crate) services: &'w [ServiceRow],
    pub(crate) process: &'w ProcessRow,
    pub(crate) note: &'w ProcessNote,
    /// The slot of the request, as it is noted.
    pub(crate) slot: u64,
    pub(crate) request_id: RequestId,
    /// The request's own instance.
    pub(crate) own: &'w Instance,
    /// The calls that are running, the outer ones first, without the request's own.
    pub(crate) running: Vec<Inner>,
    /// The builds of other libraries that this request has called: it stays with them, also when others come into force.
    pub(crate) used: Vec<Rc<Instance>>,
    /// Why the request must not succeed any more.
    pub(crate) spoilt: Option<String>,
}

/// A call inside a call.
pub(crate) struct Inner {
    instance: Rc<Instance>,
    /// What the process row said before of the innermost call: since when, service, its row, library.
    before: (u64, u32, u32, u32),
    /// The library's name and version that were noted before.
    noted: Option<(String, String)>,
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
        let in_force = row.library.load(Relaxed);
        let canary = row.canary_library.load(Relaxed).checked_sub(1);
        if !self.libraries.lead(number, in_force, canary) {
            // Another build has come into force during this request, perhaps since this one kills workers.
            return None;
        }
        let is_for_canary = self.request_id.position_ppm() < row.canary_ppm.load(Acquire);
        let build = self.same_build(self.libraries.build(number, is_for_canary)?, number)?;
        let process = self.process;
        let before = (
            process.inner_since_ns.load(Relaxed),
            process.inner_service.load(Relaxed),
            process.inner_service_index.load(Relaxed),
            process.inner_library.load(Relaxed),
        );
        let noted = self.note.library(self.slot);
        // A death from here on is this one's doing.
        process.inner_since_ns.store(clock::monotonic_ns(), Relaxed);
        process.inner_service_index.store(u32::try_from(index).unwrap_or(u32::MAX), Relaxed);
        process.inner_library.store(build.row + 1, Relaxed);
        process.inner_service.store(number.get(), Relaxed);
        let library = build.instance.library().description();
        self.note.begin_request(self.slot, &library.name, &library.version);
        self.running.push(Inner { instance: Rc::clone(&build.instance), before, noted });
        Some(build.instance)
    }

    /// The build of its library that this request runs in already, if it does; otherwise the one that was `found`. Two
    /// builds of one library never take part in one request.
    fn same_build(&mut self, found: Build, number: ServiceNumber) -> Option<Build> {
        let name = &found.instance.library().description().name;
        let mut used = std::iter::once(self.own).chain(self.used.iter().map(Rc::as_ref));
        let Some(used) = used.find(|used| used.library().description().name == *name) else {
            self.used.push(Rc::clone(&found.instance));
            return Some(found);
        };
        self.libraries.in_build(used.library().path(), number)
    }

    fn end(&mut self, spoils: Option<String>) {
        let Some(Inner { before: (since_ns, service, index, library), noted, .. }) = self.running.pop()
        else {
            return;
        };
        self.process.inner_service_index.store(index, Relaxed);
        self.process.inner_library.store(library, Relaxed);
        self.process.inner_service.store(service, Relaxed);
        self.process.inner_since_ns.store(since_ns, Relaxed);
        if let Some((name, version)) = noted {
            self.note.begin_request(self.slot, &name, &version);
        }
        self.spoilt = self.spoilt.take().or(spoils);
    }
}

impl Lent<'_, '_> {
    pub(crate) fn begin_inner_call(&mut self, number: ServiceNumber) -> Result<Rc<Instance>, InnerRefusal> {
        self.enter_own_source().map_err(|error| InnerRefusal::Refused { message: error.message })?;
        self.callable.begin(number).ok_or(InnerRefusal::Unknown)
    }

    pub(crate) fn end_inner_call(&mut self, spoils: Option<String>) {
        self.callable.end(spoils);
    }

    /// Begins a write where its own service writes, so that no service that is called inside decides where the request's
    /// row lies.
    pub(crate) fn enter_own_source(&mut self) -> Result<(), SqlError> {
        if self.write.is_none() {
            return Ok(());
        }
        let own = self.declared.iter().find(|name| self.sources.has(name.as_str()));
        own.map_or(Ok(()), |own| self.enter(own))
    }

    /// Whether the write was done before, asked of every SQL source: which one its row lies in, the services that it called
    /// decided. The transaction is stopped then, with what the first one was answered.
    pub(crate) fn find_earlier(&mut self) -> bool {
        let Some(write) = &self.write else { return false };
        for source in self.sources.names() {
            let entered = self.transaction.enter(self.sources, &source, Some(write), self.limit);
            if entered.is_err() && self.transaction.stopped.is_some() {
                return true;
            }
            self.transaction.roll_back(self.sources, self.serials);
            self.transaction = Transaction::default();
        }
        false
    }

    /// Whether a source is only to be read, although the request is a write: a read that is called inside asks for it. Of a
    /// service that declares none itself, the request's row may lie in `main`.
    pub(crate) fn is_for_reading(&self, source: &str) -> bool {
        let declares_one = self.declared.iter().any(|name| self.sources.has(name.as_str()));
        self.only_reads() && (declares_one || source != REQUEST_SOURCE)
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
}
