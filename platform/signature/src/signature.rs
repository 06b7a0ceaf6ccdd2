//! What is signed, and whether it was.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signature;

use crate::error::{SignatureError, cut};
use crate::hex;
use crate::key::PublicKey;

/// Stands before the hash, so that a signature of a library is never one of something else.
const CONTEXT: &[u8] = b"gantry library 1\0";

/// The SHA-256 of a library's file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Build([u8; 32]);

impl Build {
    pub(crate) fn message(self) -> Vec<u8> {
        [CONTEXT, &self.0].concat()
    }
}

impl FromStr for Build {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        hex::read(text).map(Self).ok_or_else(|| SignatureError::Build { text: cut(text) })
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::write(&self.0))
    }
}

/// Whether `signature` is of the library with this build, by one of `signers`; gives the key.
///
/// # Errors
/// [`SignatureError::Signature`], [`SignatureError::UnknownSigner`], [`SignatureError::Mismatch`].
pub fn verify(signers: &[PublicKey], build: &Build, signature: &str) -> Result<PublicKey, SignatureError> {
    let (key, digits) = signature.trim().split_once(' ').ok_or(SignatureError::Signature)?;
    let key: PublicKey = key.parse().map_err(|_| SignatureError::Signature)?;
    let bytes = hex::read(digits).ok_or(SignatureError::Signature)?;
    if !signers.contains(&key) {
        return Err(SignatureError::UnknownSigner { key });
    }
    let point = key.point().ok_or(SignatureError::Signature)?;
    let verified = point.verify_strict(&build.message(), &Signature::from_bytes(&bytes));
    verified.map(|()| key).map_err(|_| SignatureError::Mismatch { key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    const BUILD: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_signature_is_of_one_file_by_one_key() {
        let (key, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let build: Build = BUILD.parse().unwrap();
        let text = key.sign(&build);
        assert_eq!(verify(&[other.public(), key.public()], &build, &text), Ok(key.public()));
        let stranger = verify(&[other.public()], &build, &text);
        assert_eq!(stranger, Err(SignatureError::UnknownSigner { key: key.public() }));
        let changed: Build = BUILD.replace('2', "3").parse().unwrap();
        let mismatch = Err(SignatureError::Mismatch { key: key.public() });
        assert_eq!(verify(&[key.public()], &changed, &text), mismatch);
        let borrowed = text.replace(&key.public().to_string(), &other.public().to_string());
        assert_eq!(
            verify(&[other.public()], &build, &borrowed),
            Err(SignatureError::Mismatch { key: other.public() })
        );
    }

    #[test]
    fn every_changed_digit_of_a_signature_is_noticed() {
        let key = SecretKey::generate().unwrap();
        let build: Build = BUILD.parse().unwrap();
        let text = key.sign(&build);
        let begin = text.find(' ').unwrap() + 1;
        for place in begin..text.trim_end().len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&[key.public()], &build, &changed).is_err(), "digit {place}");
        }
        for cut in ["", "x", " ", &text[..begin], &text[..text.len() - 2]] {
            assert_eq!(verify(&[key.public()], &build, cut), Err(SignatureError::Signature), "{cut:?}");
        }
    }

    #[test]
    fn keys_come_back_from_their_texts_and_nothing_else_is_one() {
        let key = SecretKey::generate().unwrap();
        let again: SecretKey = format!("{}\n", key.to_text()).parse().unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert!(!format!("{key:?}").contains(&key.to_text()[20..]));
        // All zeros is a point of small order.
        let weak = format!("ed25519:{}", "0".repeat(64));
        for text in ["", "ed25519:", "ed25519:zz", &key.public().to_string()[8..], &weak] {
            assert!(text.parse::<PublicKey>().is_err(), "{text:?}");
        }
        assert!(matches!("x".parse::<SecretKey>(), Err(SignatureError::SecretKey)));
        assert!("abc".parse::<Build>().is_err());
    }
}
