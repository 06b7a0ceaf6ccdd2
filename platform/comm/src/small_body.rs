//! Short reply bodies that are made without allocating: what refusals and platform numbers say.

use std::fmt;

use gantry_frame::HEADER_BYTES;
use gantry_segment::INLINE_BYTES_MAX;

/// Bytes of a body that fits an out record together with its header.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = INLINE_BYTES_MAX - HEADER_BYTES;

/// A body of at most [`SMALL_BODY_BYTES_MAX`] bytes.
#[derive(Clone, Copy)]
pub(crate) struct SmallBody {
    bytes: [u8; SMALL_BODY_BYTES_MAX],
    length: usize,
}

impl SmallBody {
    pub(crate) const EMPTY: Self = Self { bytes: [0; SMALL_BODY_BYTES_MAX], length: 0 };

    /// The bytes, if they are not too many.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let mut body = Self { length: bytes.len(), ..Self::EMPTY };
        body.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(body)
    }

    /// The formatted text; empty when it is too long, since half of a JSON object would be worse than none.
    pub(crate) fn text(text: fmt::Arguments<'_>) -> Self {
        let mut body = Self::EMPTY;
        match fmt::write(&mut body, text) {
            Ok(()) => body,
            Err(fmt::Error) => Self::EMPTY,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for SmallBody {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl fmt::Debug for SmallBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SmallBody({:?})", String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_what_fits_beside_a_header_and_no_more() {
        assert_eq!(SmallBody::of(&[7; 144]).unwrap().as_bytes(), [7; 144]);
        assert!(SmallBody::of(&[7; 145]).is_none());
        assert_eq!(
            SmallBody::text(format_args!("{{\"fill\":{:.2}}}", 0.8349)).as_bytes(),
            br#"{"fill":0.83}"#
        );
        assert_eq!(SmallBody::text(format_args!("{}", "x".repeat(145))).as_bytes(), b"");
    }
}
