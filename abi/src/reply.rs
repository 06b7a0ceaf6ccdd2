//! The reply, written straight into the memory that the platform sends from.

use std::io;

use crate::host::{GantryCall, GantryHost};
use crate::status::GANTRY_OK;

/// Room for `bytes` bytes of reply, as told by the platform: where it begins and how large it is.
fn reserve(host: &GantryHost, call: *mut GantryCall, bytes: usize) -> io::Result<(*mut u8, usize)> {
    let mut capacity = 0;
    // SAFETY: `call` is valid while this side runs (the platform checks it); `capacity` is ours.
    let start = unsafe { (host.reply_reserve)(call, bytes, &mut capacity) };
    if start.is_null() || capacity < bytes {
        let message =
            format!("no room for a reply of {bytes} bytes: larger than allowed, or memory is short");
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, message));
    }
    Ok((start, capacity))
}

/// Sets the reply's length.
pub(crate) fn commit(host: &GantryHost, call: *mut GantryCall, bytes: usize) -> io::Result<()> {
    // SAFETY: `call` is valid while this side runs (the platform checks it).
    let code = unsafe { (host.reply_commit)(call, bytes) };
    if code != GANTRY_OK {
        return Err(io::Error::other(format!("the platform did not accept a reply of {bytes} bytes")));
    }
    Ok(())
}

/// Lends the first `bytes` bytes of the reply.
///
/// # Safety
/// The call is running, and nothing else reaches its reply during `'a`.
pub(crate) unsafe fn buffer<'a>(
    host: &GantryHost,
    call: *mut GantryCall,
    bytes: usize,
) -> io::Result<&'a mut [u8]> {
    let (start, _) = reserve(host, call, bytes)?;
    // SAFETY: the platform gave at least `bytes` initialised bytes there until the call ends, and the
    // caller promises that nothing else reaches them.
    Ok(unsafe { std::slice::from_raw_parts_mut(start, bytes) })
}

/// Writes the reply of a call; see [`Context::writer`](crate::Context::writer). What was written when
/// the call ends is the reply; there is nothing to flush.
pub struct ReplyWriter<'context> {
    host: &'static GantryHost,
    call: *mut GantryCall,
    start: *mut u8,
    capacity: usize,
    /// The reply's length so far, in the context, which commits it when the call ends.
    written: &'context mut usize,
}

impl<'context> ReplyWriter<'context> {
    /// A writer at the start of the reply, which keeps its length in `written`.
    pub(crate) fn new(
        host: &'static GantryHost,
        call: *mut GantryCall,
        written: &'context mut usize,
    ) -> Self {
        *written = 0;
        Self { host, call, start: std::ptr::null_mut(), capacity: 0, written }
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        *self.written
    }

    /// Makes room for `more` bytes after what is written. Doubles, so that a reply of n bytes written
    /// in small pieces moves at most about 2n bytes; near the platform's limit it asks for no more
    /// than is needed.
    fn make_room(&mut self, more: usize) -> io::Result<()> {
        let needed = self.written().saturating_add(more);
        if needed <= self.capacity && !self.start.is_null() {
            return Ok(());
        }
        let doubled = self.capacity.saturating_mul(2).max(needed);
        let room = reserve(self.host, self.call, doubled);
        let (start, capacity) = match room {
            Err(_) if doubled > needed => reserve(self.host, self.call, needed)?,
            other => other?,
        };
        self.start = start;
        self.capacity = capacity;
        Ok(())
    }
}

impl io::Write for ReplyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room(bytes.len())?;
        // SAFETY: `written` is at most `capacity`, all inside the room.
        let end = unsafe { self.start.add(self.written()) };
        // SAFETY: `make_room` made sure of so many bytes at `end`; `bytes` is not in the reply, which
        // only this writer reaches.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len()) };
        *self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
