//! The frame of protocol version 1, written from the contract's text and from nothing else.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::crc32c;

/// Bytes of the header before the body.
pub const HEADER_BYTES: usize = 64;

/// The largest body of the default configuration, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The id field where a reply cannot name its request.
pub const ID_UNREADABLE: &str = "000000000000000000000000";

/// 24 printable ASCII bytes that name a request: echoed in the reply, and the idempotency key of writes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 24]);

/// How many ids this process has handed out.
static IDS_GIVEN: Mutex<u64> = Mutex::new(0);

impl RequestId {
    /// An id that nobody else has: this process's pid and a counter.
    #[must_use]
    pub fn fresh() -> Self {
        let mut given = IDS_GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        *given += 1;
        Self::new(&format!("t{:07}-{:015}", std::process::id(), *given))
    }

    /// The id spelled `text`, which must be 24 bytes long; the bytes are not checked, so that tests can
    /// send bad ones.
    ///
    /// # Panics
    /// When `text` has another length.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().try_into().expect("a request id is 24 bytes long"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("(not text)")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One request, to be sent as it is or changed first.
#[derive(Clone, Debug)]
pub struct Request {
    /// The 8-digit service number.
    pub service: u32,
    /// The request's id.
    pub id: RequestId,
    /// Milliseconds the caller will wait; 0 = the service's own time-out.
    pub budget_ms: u32,
    /// Whether the body's checksum is sent.
    pub checked: bool,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request with a fresh id, no budget and no checksum.
    #[must_use]
    pub fn new(service: u32, body: impl AsRef<[u8]>) -> Self {
        Self { service, id: RequestId::fresh(), budget_ms: 0, checked: false, body: body.as_ref().to_vec() }
    }

    /// The same with this id.
    #[must_use]
    pub fn id(mut self, id: &RequestId) -> Self {
        self.id = id.clone();
        self
    }

    /// The same with a time budget in milliseconds.
    #[must_use]
    pub fn budget_ms(mut self, budget_ms: u32) -> Self {
        self.budget_ms = budget_ms;
        self
    }

    /// The same with the body's checksum in the header.
    #[must_use]
    pub fn checked(mut self) -> Self {
        self.checked = true;
        self
    }

    /// The 64 bytes before the body.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let checksum = if self.checked { crc32c(&self.body) } else { 0 };
        let header = format!(
            "ETC1{:08}{:08}Q000{:08}{}{checksum:08x}",
            self.body.len(),
            self.service,
            self.budget_ms,
            self.id.as_str(),
        );
        assert_eq!(header.len(), HEADER_BYTES, "the request does not fit a header: {self:?}");
        header.into_bytes()
    }

    /// The whole frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One reply, checked against the contract while it was read.
#[derive(Clone)]
pub struct Reply {
    /// The service number that the reply names; 0 where the node could not read one.
    pub service: u32,
    /// The three digits of the status as a number.
    pub status: u16,
    /// The id of the request that this answers.
    pub id: String,
    /// The checksum field when it is not `00000000`.
    pub checksum: Option<u32>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads a reply's header and says how long its body is, in bytes.
    ///
    /// # Errors
    /// In words, what is not as the contract says.
    pub fn read_header(header: &[u8; HEADER_BYTES]) -> Result<(Self, usize), String> {
        let text =
            std::str::from_utf8(header).map_err(|_| format!("a reply's header is not ASCII: {header:?}"))?;
        let wrong = |what: &str| format!("{what} in the reply header {text:?}");
        if !text.is_ascii() || !text.starts_with("ETC1") {
            return Err(wrong("no magic `ETC1`"));
        }
        let body_bytes = digits(&text[4..12]).ok_or_else(|| wrong("a bad body length"))?;
        let service = digits(&text[12..20]).ok_or_else(|| wrong("a bad service number"))?;
        if &text[20..21] != "R" {
            return Err(wrong("a type other than `R`"));
        }
        let status = digits(&text[21..24]).ok_or_else(|| wrong("a bad status"))?;
        digits(&text[24..32]).ok_or_else(|| wrong("a bad time budget"))?;
        let id = &text[32..56];
        if !id.bytes().all(|byte| (0x21..=0x7E).contains(&byte)) {
            return Err(wrong("an id that is not printable"));
        }
        let checksum = lowercase_hex(&text[56..64]).ok_or_else(|| wrong("a bad checksum"))?;
        let reply = Self {
            service,
            status: u16::try_from(status).map_err(|_| wrong("a bad status"))?,
            id: id.to_owned(),
            checksum: (checksum != 0).then_some(checksum),
            body: Vec::new(),
        };
        Ok((reply, usize::try_from(body_bytes).map_err(|_| wrong("a bad body length"))?))
    }

    /// The reply with its body.
    ///
    /// # Errors
    /// In words, when the checksum is there and wrong.
    pub fn with_body(mut self, body: Vec<u8>) -> Result<Self, String> {
        self.body = body;
        match self.checksum {
            Some(checksum) if checksum != crc32c(&self.body) => {
                Err(format!("the reply's checksum is wrong: {self:?}"))
            }
            _ => Ok(self),
        }
    }

    /// This reply, which must have the status 000.
    ///
    /// # Panics
    /// When it has another status.
    #[track_caller]
    pub fn done(self) -> Self {
        self.expect_status(0)
    }

    /// This reply, which must have this status.
    ///
    /// # Panics
    /// When it has another status.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "status {status:03} was expected of {self:?}");
        self
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is no JSON ({error}): {self:?}"))
    }

    /// The code of a business error.
    ///
    /// # Panics
    /// When this is not a 304 with `{"error":"code","message":…}` in it.
    #[must_use]
    #[track_caller]
    pub fn error_code(&self) -> String {
        assert_eq!(self.status, 304, "a business error was expected of {self:?}");
        let body = self.json();
        assert!(body["message"].is_string(), "a business error carries a message: {self:?}");
        body["error"]
            .as_str()
            .unwrap_or_else(|| panic!("a business error carries a code: {self:?}"))
            .to_owned()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text().chars().take(300).collect();
        write!(
            formatter,
            "reply {:03} of {:08} to {} with {} bytes {shown:?}",
            self.status,
            self.service,
            self.id,
            self.body.len(),
        )
    }
}

fn digits(field: &str) -> Option<u32> {
    if field.bytes().all(|byte| byte.is_ascii_digit()) { field.parse().ok() } else { None }
}

fn lowercase_hex(field: &str) -> Option<u32> {
    if field.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        u32::from_str_radix(field, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Reply, Request, RequestId};

    #[test]
    fn request_header_has_every_field_at_its_offset() {
        let id = RequestId::new("ABCDEFGHIJKLMNOPQRSTUVWX");
        let request = Request::new(19_000_001, "123456789").id(&id).budget_ms(300).checked();
        let expected = "ETC1\u{30}000000919000001Q00000000300ABCDEFGHIJKLMNOPQRSTUVWXe3069283123456789";
        assert_eq!(String::from_utf8(request.encode()).unwrap(), expected);
    }

    #[test]
    fn reply_header_with_uppercase_hex_is_refused() {
        let header = b"ETC1\x30000000019000001R00000000000ABCDEFGHIJKLMNOPQRSTUVWXABCDEF01";
        assert!(Reply::read_header(header).unwrap_err().contains("checksum"));
    }

    #[test]
    fn reply_with_a_wrong_checksum_is_refused() {
        let header = b"ETC1\x30000000319000001R00000000000ABCDEFGHIJKLMNOPQRSTUVWX00000001";
        let (reply, body_bytes) = Reply::read_header(header).unwrap();
        assert_eq!((body_bytes, reply.service, reply.status), (3, 19_000_001, 0));
        assert!(reply.with_body(b"abc".to_vec()).is_err());
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(RequestId::fresh(), RequestId::fresh());
    }
}
