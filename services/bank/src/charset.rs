//! The two charsets of bank files.

use encoding_rs::{EncoderResult, Encoding, GBK, UTF_8};

/// How the texts of a file are written. Both write ASCII as ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// One to three bytes for what is common, four at most.
    Utf8,
    /// Two bytes for a Chinese character; what it lacks cannot be written.
    Gbk,
}

impl Charset {
    /// Its name in headers and in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Gbk => "GBK",
        }
    }

    /// The charset of a name, in capitals or not.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Utf8, Self::Gbk].into_iter().find(|charset| charset.name().eq_ignore_ascii_case(name))
    }

    const fn encoding(self) -> &'static Encoding {
        match self {
            Self::Utf8 => UTF_8,
            Self::Gbk => GBK,
        }
    }

    /// The longest beginning of `text` that fits `bytes_max` bytes, cut between characters; the first character that
    /// cannot be written if there is one in it.
    pub(crate) fn encode(self, text: &str, bytes_max: usize) -> Result<Vec<u8>, char> {
        let mut encoded = Vec::with_capacity(bytes_max);
        let mut one = [0; 4];
        for character in text.chars() {
            let mut encoder = self.encoding().new_encoder();
            let (result, _, written) = encoder.encode_from_utf8_without_replacement(
                character.encode_utf8(&mut [0; 4]),
                &mut one,
                true,
            );
            // A character of GBK has two bytes, and a euro one that other readers do not know.
            if result != EncoderResult::InputEmpty || (self == Self::Gbk && character == '\u{20ac}') {
                return Err(character);
            }
            if encoded.len() + written > bytes_max {
                break;
            }
            encoded.extend_from_slice(&one[..written]);
        }
        Ok(encoded)
    }

    /// The text that these bytes are; `None` if they are none.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<String> {
        let text = self.encoding().decode_without_bom_handling_and_without_replacement(bytes)?;
        Some(text.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(Charset::Gbk.encode("李娜a", 4).unwrap(), [0xc0, 0xee, 0xc4, 0xc8]);
        assert_eq!(Charset::Gbk.encode("李娜", 3).unwrap(), [0xc0, 0xee]);
        assert_eq!(Charset::Utf8.encode("李娜", 5).unwrap(), "李".as_bytes());
        assert_eq!(Charset::Utf8.encode("a李", 4).unwrap(), "a李".as_bytes());
        assert_eq!(Charset::Utf8.encode("𠮷", 3).unwrap(), b"");
    }

    #[test]
    fn what_gbk_lacks_is_named() {
        for character in ['\u{1f600}', '𠮷', '\u{20ac}', 'é'] {
            let text = format!("李{character}");
            let encoded = Charset::Gbk.encode(&text, 60);
            if character == 'é' {
                assert!(encoded.is_ok(), "GBK has accented letters of pinyin");
            } else {
                assert_eq!(encoded, Err(character));
            }
            assert_eq!(Charset::Utf8.encode(&text, 60).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn bytes_of_another_charset_are_no_text() {
        let gbk = Charset::Gbk.encode("李娜", 60).unwrap();
        assert_eq!(Charset::Gbk.decode(&gbk).unwrap(), "李娜");
        assert_eq!(Charset::Utf8.decode(&gbk), None);
        assert_eq!(Charset::Gbk.decode(&[0xff, 0xff]), None);
        assert_eq!(Charset::of("gbk"), Some(Charset::Gbk));
        assert_eq!(Charset::of("utf-8"), Some(Charset::Utf8));
        assert_eq!(Charset::of("latin-1"), None);
    }
}
