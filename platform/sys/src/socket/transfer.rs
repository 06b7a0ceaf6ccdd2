//! Scatter and gather between a socket and memory that other processes write.
//!
//! The kernel copies from and to plain addresses, so no reference to shared bytes is ever made, which `readv`
//! and `writev` of the standard library would need.

use core::mem::MaybeUninit;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};

use crate::bytes::SharedBytes;

/// Parts that one call passes to the kernel. More are not an error: the transfer is then partial, as it may
/// be anyway. A list of this length fits the stack, and gains nothing by growing.
pub const PARTS_MAX: usize = 64;

/// Bytes to be sent: private or shared.
#[derive(Clone, Copy, Debug)]
pub enum Span<'a> {
    /// Bytes of this process.
    Local(&'a [u8]),
    /// Bytes that other processes may write. They must not until they are sent; if they do, what goes out is
    /// any mixture.
    Shared(SharedBytes<'a>),
}

impl Span<'_> {
    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Local(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn start(&self) -> *mut u8 {
        match self {
            // `iovec` is used for both directions and knows no const; sending only reads.
            Self::Local(bytes) => bytes.as_ptr().cast_mut(),
            Self::Shared(bytes) => bytes.as_ptr(),
        }
    }
}

/// Receives into several spans, one after the other, and returns the number of bytes. Does not block,
/// whatever the socket's mode is.
///
/// 0 means that the other side will send no more. The kernel fills the first span before it touches the
/// second, so the number tells exactly which bytes are new. At most [`PARTS_MAX`] spans are used.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if nothing is there; [`io::ErrorKind::InvalidInput`] if the spans have no
/// room, whose 0 would otherwise look like the end; `ECONNRESET` and its like.
pub fn recv(socket: impl AsFd, into: &[SharedBytes<'_>]) -> io::Result<usize> {
    let mut parts = Parts::new();
    for span in into {
        if !parts.add(span.as_ptr(), span.len()) {
            break;
        }
    }
    let mut message = parts.message()?;
    let socket = socket.as_fd().as_raw_fd();
    repeat(|| {
        // SAFETY: each part is memory that its span keeps mapped and writable for the whole call, and to
        // which no reference is in use, as the span's maker promised; the list of parts lives in `parts`,
        // which outlives the call.
        unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_DONTWAIT) }
    })
}

/// Sends several spans, one after the other, and returns the number of bytes that the kernel took, which may
/// be fewer than there are. Does not block, whatever the socket's mode is, and raises no SIGPIPE. At most
/// [`PARTS_MAX`] spans are used.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if the socket takes nothing now; [`io::ErrorKind::InvalidInput`] if there is
/// nothing to send; [`io::ErrorKind::BrokenPipe`] and its like if the connection is gone.
pub fn send(socket: impl AsFd, from: &[Span<'_>]) -> io::Result<usize> {
    let mut parts = Parts::new();
    for span in from {
        if !parts.add(span.start(), span.len()) {
            break;
        }
    }
    let message = parts.message()?;
    let socket = socket.as_fd().as_raw_fd();
    repeat(|| {
        // SAFETY: each part is memory that its span keeps mapped and readable for the whole call, and the
        // kernel only reads it; the list of parts lives in `parts`, which outlives the call.
        unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) }
    })
}

/// The kernel's list of parts, on the stack.
struct Parts<'a> {
    list: [libc::iovec; PARTS_MAX],
    count: usize,
    spans: PhantomData<&'a ()>,
}

impl Parts<'_> {
    fn new() -> Self {
        let empty = libc::iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
        Self { list: [empty; PARTS_MAX], count: 0, spans: PhantomData }
    }

    /// Adds a part unless it is empty; `false` if there is no place for it.
    fn add(&mut self, start: *mut u8, len: usize) -> bool {
        if len == 0 {
            return true;
        }
        let Some(place) = self.list.get_mut(self.count) else { return false };
        *place = libc::iovec { iov_base: start.cast(), iov_len: len };
        self.count += 1;
        true
    }

    /// A message of these parts, without address and ancillary data. It points into `self`.
    fn message(&mut self) -> io::Result<libc::msghdr> {
        if self.count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no bytes to transfer"));
        }
        // SAFETY: pointers and integers, of which zero is a valid value ("none") for each.
        let mut message = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
        message.msg_iov = self.list.as_mut_ptr();
        message.msg_iovlen = self.count;
        Ok(message)
    }
}

/// Calls again if a signal interrupted the call before anything was transferred.
fn repeat(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        // A negative result is a failure, and the only value that does not convert.
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
