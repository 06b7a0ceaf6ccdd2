//! The interface `gantry.call/1`: a service that runs inside the call of another one, on the same thread and in the same
//! transaction.

use std::ptr::NonNull;
use std::time::Duration;

use gantry_abi::bytes::{GantryBytes, GantryText};
use gantry_abi::call_table::{
    GANTRY_CALL_BUSINESS, GANTRY_CALL_DEPTH_MAX, GANTRY_CALL_DONE, GANTRY_CALL_FAILED, GANTRY_CALL_REFUSED,
    GANTRY_CALL_UNKNOWN, GantryCalls,
};
use gantry_abi::host::GantryCall;
use gantry_abi::{Level, SerialError, SqlError};
use gantry_message::{Kind, ServiceNumber};

use crate::call::{Outcome, call_inside};
use crate::lender::{
    DocumentAnswer, DocumentCommand, InnerRefusal, Lender, ReplyError, RequestView, ResultSet, SourceKind,
    SqlValue,
};
use crate::running::{Running, ToldError, with_running};

/// The largest reply of an inner call, in bytes: that of a body.
const REPLY_BYTES_MAX: usize = 64 << 20;

pub(crate) static CALLS: GantryCalls =
    GantryCalls { struct_bytes: size_of::<GantryCalls>() as u32, reserved: 0, call, last_error };

/// How the last inner call ended.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    reply: Vec<u8>,
    told: Option<ToldError>,
    message: String,
}

unsafe extern "C" fn call(
    call: *mut GantryCall,
    number: u32,
    body: GantryBytes,
    reply: *mut GantryBytes,
) -> u32 {
    if !reply.is_null() {
        // SAFETY: not null, and the contract says that it fits there.
        unsafe { reply.write_unaligned(GantryBytes::EMPTY) };
    }
    with_running(call, GANTRY_CALL_REFUSED, |running| {
        // The body may lie in the reply or in a text of the last call, so they live until this one is over.
        let last = std::mem::take(&mut running.inner);
        // SAFETY: the contract says that the body is readable while this runs.
        let outcome = match unsafe { body.read() } {
            Some(body) => run(running, number, body),
            None => refuse(running, GANTRY_CALL_REFUSED, "the body is null and not empty".to_owned()),
        };
        drop(last);
        let code = match outcome {
            Ok(()) => GANTRY_CALL_DONE,
            Err(code) => code,
        };
        if !reply.is_null() {
            let bytes = GantryBytes::from_slice(&running.inner.reply);
            // SAFETY: not null, and the contract says that it fits there.
            unsafe { reply.write_unaligned(bytes) };
        }
        code
    })
}

unsafe extern "C" fn last_error(
    call: *mut GantryCall,
    code: *mut GantryText,
    field: *mut GantryText,
) -> GantryText {
    with_running(call, GantryText::EMPTY, |running| {
        let told = running.inner.told.as_ref();
        let texts = [(code, told.map(|told| &told.code)), (field, told.map(|told| &told.field))];
        for (place, text) in texts.into_iter().filter(|(place, _)| !place.is_null()) {
            let text = text.map_or(GantryText::EMPTY, |text| GantryText::from_str(text));
            // SAFETY: not null, and the contract says that a text fits there.
            unsafe { place.write_unaligned(text) };
        }
        GantryText::from_str(&running.inner.message)
    })
}

fn refuse(running: &mut Running<'_>, code: u32, message: String) -> Result<(), u32> {
    running.inner.message = message;
    Err(code)
}

fn run(running: &mut Running<'_>, number: u32, body: &[u8]) -> Result<(), u32> {
    let depth = running.depth + 1;
    if depth >= GANTRY_CALL_DEPTH_MAX {
        let message = format!("{GANTRY_CALL_DEPTH_MAX} calls inside each other are the most");
        return refuse(running, GANTRY_CALL_REFUSED, message);
    }
    let missing = || format!("service {number:08} is not there, stopped or quarantined");
    let Ok(checked) = ServiceNumber::new(number) else {
        return refuse(running, GANTRY_CALL_UNKNOWN, missing());
    };
    let instance = match running.lender.begin_inner(checked) {
        Ok(instance) => instance,
        Err(InnerRefusal::Unknown) => return refuse(running, GANTRY_CALL_UNKNOWN, missing()),
        Err(InnerRefusal::Refused { message }) => return refuse(running, GANTRY_CALL_REFUSED, message),
    };
    let kind = instance.service().kind;
    if running.kind == Kind::Read && kind != Kind::Read {
        running.lender.end_inner(None);
        let message =
            format!("a service of kind read cannot call {number:08}, which is of kind {}", kind.name());
        return refuse(running, GANTRY_CALL_REFUSED, message);
    }
    if instance.is_running() {
        running.lender.end_inner(None);
        let message = format!("service {number:08} is in the middle of a call, and is not called inside it");
        return refuse(running, GANTRY_CALL_REFUSED, message);
    }
    let request = RequestView { number: instance.number(), body: NonNull::from(body), ..running.request };
    let mut lent = LentInside {
        outer: &mut *running.lender,
        number: instance.number(),
        reply: Vec::new(),
        reply_bytes: 0,
        is_again: false,
    };
    let outcome = call_inside(&instance, &mut lent, request, depth);
    let LentInside { mut reply, reply_bytes, is_again, .. } = lent;
    let (code, message, told) = match outcome {
        Outcome::Done => {
            reply.truncate(reply_bytes);
            running.inner.reply = reply;
            running.lender.end_inner(None);
            return Ok(());
        }
        Outcome::Business { code, field, message } => {
            let told = ToldError { code, field: field.unwrap_or_default(), message: message.clone() };
            (GANTRY_CALL_BUSINESS, message, Some(told))
        }
        Outcome::Failed { message } => (GANTRY_CALL_FAILED, format!("service {number:08}: {message}"), None),
    };
    if is_again && kind != Kind::Read {
        // All of the request is given up with it, and may do better the next time.
        running.lender.ask_again();
    }
    // What it wrote before it gave up must not take effect.
    let spoils =
        (kind != Kind::Read).then(|| format!("service {number:08}, called inside, gave up: {message}"));
    running.lender.end_inner(spoils);
    running.inner.told = told;
    refuse(running, code, message)
}

/// What the inner call is lent: all of the outer one but the reply.
struct LentInside<'o> {
    outer: &'o mut dyn Lender,
    number: ServiceNumber,
    reply: Vec<u8>,
    reply_bytes: usize,
    /// It asked to be run again.
    is_again: bool,
}

impl Lender for LentInside<'_> {
    fn time_left(&self) -> Duration {
        self.outer.time_left()
    }

    fn is_cancelled(&self) -> bool {
        self.outer.is_cancelled()
    }

    fn reply_reserve(&mut self, bytes: usize) -> Result<NonNull<[u8]>, ReplyError> {
        if bytes > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLarge { bytes, bytes_max: REPLY_BYTES_MAX });
        }
        if self.reply.len() < bytes {
            self.reply.resize(bytes, 0);
        }
        Ok(NonNull::from(&mut self.reply[..]))
    }

    fn reply_commit(&mut self, bytes: usize) -> Result<(), ReplyError> {
        self.reply_bytes = bytes;
        Ok(())
    }

    fn sql_execute(&mut self, source: &str, text: &str, params: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        self.outer.sql_execute(source, text, params)
    }

    fn sql_query(
        &mut self,
        source: &str,
        text: &str,
        params: &[SqlValue<'_>],
        rows_max: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError> {
        self.outer.sql_query(source, text, params, rows_max)
    }

    fn source_kind(&self, source: &str) -> Option<SourceKind> {
        self.outer.source_kind(source)
    }

    fn document_run(
        &mut self,
        source: &str,
        command: &DocumentCommand<'_>,
    ) -> Result<DocumentAnswer, SqlError> {
        self.outer.document_run(source, command)
    }

    fn serial_next(&mut self, kind: &str, count: u32, serials: &mut Vec<String>) -> Result<(), SerialError> {
        self.outer.serial_next(kind, count, serials)
    }

    fn ask_again(&mut self) {
        self.is_again = true;
    }

    fn begin_inner(&mut self, number: ServiceNumber) -> Result<std::rc::Rc<crate::Instance>, InnerRefusal> {
        self.outer.begin_inner(number)
    }

    fn end_inner(&mut self, spoils: Option<String>) {
        self.outer.end_inner(spoils);
    }

    fn is_log_enabled(&self, level: Level) -> bool {
        crate::lender::is_log_enabled(level)
    }

    fn log(&mut self, level: Level, text: &str) {
        crate::lender::log(self.number, level, text);
    }
}
