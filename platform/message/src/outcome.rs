//! The bodies that an outcome query (`00000002`) is answered with, whoever answers it.

use serde::de::IgnoredAny;

/// It never took effect and never will.
pub const FAILED: &str = r#"{"state":"failed"}"#;
/// Never seen, or older than retention.
pub const UNKNOWN: &str = r#"{"state":"unknown"}"#;

/// It waits, or it runs.
pub const fn in_flight(is_queued: bool) -> &'static str {
    if is_queued { r#"{"state":"queued"}"# } else { r#"{"state":"running"}"# }
}

/// It is done: with its status and its reply, as JSON if it is JSON.
pub fn done(status: u16, reply: &[u8]) -> String {
    let text =
        std::str::from_utf8(reply).ok().filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    match text {
        Some(text) => format!("{{\"state\":\"done\",\"status\":\"{status:03}\",\"reply\":{}}}", text.trim()),
        None => {
            let coded = base64(reply);
            format!("{{\"state\":\"done\",\"status\":\"{status:03}\",\"reply\":{{\"base64\":\"{coded}\"}}}}")
        }
    }
}

/// It is done, but its reply was too long to be kept: with its status and the reply's length in bytes.
pub fn done_not_kept(status: u16, reply_bytes: u64) -> String {
    format!("{{\"state\":\"done\",\"status\":\"{status:03}\",\"reply_bytes\":{reply_bytes}}}")
}

/// Standard base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let byte = |index: usize| u32::from(piece.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_usize {
            let letter = LETTERS[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= piece.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_reply_that_is_json_is_told_as_it_is_and_another_as_base64() {
        let told = |reply: &[u8]| serde_json::from_str::<Value>(&done(304, reply)).unwrap();
        assert_eq!(told(b" {\"balance\":5} ")["reply"]["balance"], 5);
        assert_eq!(told(b"{}")["status"], "304");
        assert_eq!(told(b"not json")["reply"]["base64"], "bm90IGpzb24=");
        assert_eq!(told(b"\xff\xfe")["reply"]["base64"], "//4=");
        assert_eq!(told(b"")["reply"]["base64"], "");
        assert_eq!(done(0, b"1"), r#"{"state":"done","status":"000","reply":1}"#);
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
