//! What the platform lends during one call.

use std::marker::PhantomData;
use std::time::Duration;

use crate::bytes::GantryText;
use crate::call::{self, CallError};
use crate::error::{SerialError, SerialErrorKind, ServiceError};
use crate::host::GantryCall;
use crate::lent::Lent;
use crate::reply::{self, ReplyWriter};
use crate::serial_table::{GANTRY_SERIAL_OK, GANTRY_SERIALS_MAX};
use crate::sql::Sql;
use crate::status::Level;

/// One running call: its caller, its reply, and everything the platform lends.
pub struct Context<'call> {
    lent: Lent,
    call: *mut GantryCall,
    /// Length of the reply in bytes, committed when the call ends.
    reply_bytes: usize,
    lifetime: PhantomData<&'call ()>,
}

impl<'call> Context<'call> {
    pub(crate) fn new(lent: Lent, call: *mut GantryCall) -> Self {
        Self { lent, call, reply_bytes: 0, lifetime: PhantomData }
    }

    /// Number of the service that is called.
    pub fn number(&self) -> u32 {
        // SAFETY: `call` is valid during `'call`.
        unsafe { (self.lent.host.number)(self.call) }
    }

    /// Name of the authenticated caller, or `anonymous`.
    pub fn caller(&self) -> &'call str {
        // SAFETY: `call` is valid during `'call`.
        let text = unsafe { (self.lent.host.caller)(self.call) };
        // SAFETY: the text lives until the call ends. A text that is not UTF-8 would break the
        // platform's promise and reads as empty.
        unsafe { text.read() }.unwrap_or_default()
    }

    /// The request's id, 24 printable bytes.
    pub fn request_id(&self) -> &'call str {
        // SAFETY: `call` is valid during `'call`.
        let text = unsafe { (self.lent.host.request_id)(self.call) };
        // SAFETY: as in `caller`.
        unsafe { text.read() }.unwrap_or_default()
    }

    /// Time until the request's deadline; zero when it has passed.
    pub fn time_left(&self) -> Duration {
        // SAFETY: `call` is valid during `'call`.
        Duration::from_nanos(unsafe { (self.lent.host.time_left_ns)(self.call) })
    }

    /// Whether nobody waits for the reply any more, or the platform wants the call to end. Long loops
    /// ask and return [`ServiceError::Failed`].
    pub fn is_cancelled(&self) -> bool {
        // SAFETY: `call` is valid during `'call`.
        unsafe { (self.lent.host.is_cancelled)(self.call) != 0 }
    }

    /// Makes `body` the reply, with one copy, into the memory it is sent from.
    ///
    /// # Errors
    /// The reply is larger than the platform allows, or memory for it is short.
    pub fn reply(&mut self, body: &[u8]) -> Result<(), ServiceError> {
        self.reply_buffer(body.len())?.copy_from_slice(body);
        Ok(())
    }

    /// Makes a reply of `bytes` bytes and lends it to be filled; it may hold anything before.
    ///
    /// # Errors
    /// As [`Context::reply`].
    pub fn reply_buffer(&mut self, bytes: usize) -> Result<&mut [u8], ServiceError> {
        // SAFETY: `call` is valid during `'call`, and the slice borrows this context, so nothing else
        // reaches the reply while it lives.
        let buffer = unsafe { reply::buffer(self.lent.host, self.call, bytes) }?;
        self.reply_bytes = bytes;
        Ok(buffer)
    }

    /// A writer that replaces the reply, straight into the memory it is sent from and growing as
    /// needed: `serde_json::to_writer(context.writer(), &answer)`.
    pub fn writer(&mut self) -> ReplyWriter<'_> {
        ReplyWriter::new(self.lent.host, self.call, &mut self.reply_bytes)
    }

    /// The data source with this name, which the service must have declared in `sources`. What it
    /// gives does not borrow the context, so a reply can be written while rows are read.
    pub fn sql<'source>(&self, source: &'source str) -> Sql<'source>
    where
        'call: 'source,
    {
        Sql::new(self.lent, self.call, source)
    }

    /// The document source with this name, which the service must have declared in `sources`.
    #[cfg(feature = "document")]
    pub fn documents<'source>(&self, source: &'source str) -> crate::Documents<'source>
    where
        'call: 'source,
    {
        crate::Documents::new(self.lent, self.call, source)
    }

    /// Draws the next serial of a type. A serial drawn in a call that fails may be lost; none is ever
    /// given twice.
    ///
    /// # Errors
    /// See [`SerialErrorKind`].
    pub fn serial(&self, kind: &str) -> Result<String, SerialError> {
        let mut serial = String::new();
        self.draw(kind, 1, |text| serial.push_str(text))?;
        Ok(serial)
    }

    /// Draws the next `count` serials of a type, 1 to 10000.
    ///
    /// # Errors
    /// See [`SerialErrorKind`].
    pub fn serials(&self, kind: &str, count: u32) -> Result<Vec<String>, SerialError> {
        let mut serials = Vec::new();
        self.draw(kind, count, |text| serials.push(text.to_owned()))?;
        Ok(serials)
    }

    /// Calls another service in this worker and gives its reply.
    ///
    /// It runs at once, in the same transaction, for the same caller and request id, and within the time left: what it
    /// does takes effect with this request or not at all. When a service of kind write gives an error, this request cannot
    /// succeed any more: pass the error on. A read may call reads only; no service is called inside its own call; at
    /// most 8 calls are inside each other.
    ///
    /// # Errors
    /// See [`CallError`]; with `?` a business error is passed on to the caller as it is.
    pub fn call(&mut self, number: u32, body: &[u8]) -> Result<Vec<u8>, CallError> {
        // SAFETY: `call` is valid during `'call`.
        unsafe { call::call(self.lent.calls, self.call, number, body) }
    }

    /// Writes a record to the platform's log, with the service, the caller and the request id.
    pub fn log(&self, level: Level, text: &str) {
        self.lent.write_log(self.call, level, text);
    }

    /// Whether a record of this level would be written.
    pub fn is_log_enabled(&self, level: Level) -> bool {
        self.lent.is_log_enabled(self.call, level)
    }

    /// Tells the platform the reply's length. Called once, by the border, when the service is done.
    pub(crate) fn commit_reply(&mut self) -> Result<(), ServiceError> {
        Ok(reply::commit(self.lent.host, self.call, self.reply_bytes)?)
    }

    /// Draws serials and shows each to `each`.
    fn draw(&self, kind: &str, count: u32, mut each: impl FnMut(&str)) -> Result<(), SerialError> {
        let Some(table) = self.lent.serial else {
            let message = "the platform lends no serials".to_owned();
            return Err(SerialError { kind: SerialErrorKind::Unavailable, message });
        };
        if count == 0 || count > GANTRY_SERIALS_MAX {
            let message =
                format!("{count} serials asked for; 1 to {GANTRY_SERIALS_MAX} can be drawn at once");
            return Err(SerialError { kind: SerialErrorKind::BadCount, message });
        }
        // One serial is the common case and needs no allocation.
        let mut one = [GantryText::EMPTY];
        let mut many = Vec::new();
        let texts: &mut [GantryText] = if count == 1 {
            &mut one
        } else {
            many.resize(count as usize, GantryText::EMPTY);
            &mut many
        };
        let kind = GantryText::from_str(kind);
        // SAFETY: `call` is valid during `'call`, and `texts` has room for `count`.
        let code = unsafe { (table.next)(self.call, kind, count, texts.as_mut_ptr()) };
        if code != GANTRY_SERIAL_OK {
            // SAFETY: `call` is valid during `'call`.
            let text = unsafe { (table.last_message)(self.call) };
            // SAFETY: the text lives until the next `next`.
            let message = unsafe { text.read() }.unwrap_or_default().to_owned();
            return Err(SerialError { kind: SerialErrorKind::from_number(code), message });
        }
        for text in texts {
            // SAFETY: the platform filled `count` texts, which live until the next `next`.
            let Some(text) = (unsafe { text.read() }) else {
                let message = "the platform gave a serial that is not text".to_owned();
                return Err(SerialError { kind: SerialErrorKind::Unavailable, message });
            };
            each(text);
        }
        Ok(())
    }
}
