//! Keys and their texts.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::error::{SignatureError, cut};
use crate::hex;
use crate::signature::Build;

const PUBLIC: &str = "ed25519:";
const SECRET: &str = "ed25519-secret:";

/// Who may sign, as the configuration names it: `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The point that the bytes stand for; they were checked when the key was read.
    pub(crate) fn point(self) -> Option<VerifyingKey> {
        // A key of small order would fit many signatures.
        VerifyingKey::from_bytes(&self.0).ok().filter(|key| !key.is_weak())
    }
}

impl FromStr for PublicKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let refuse = || SignatureError::PublicKey { text: cut(text) };
        let key = Self(text.strip_prefix(PUBLIC).and_then(hex::read).ok_or_else(refuse)?);
        key.point().map(|_| key).ok_or_else(refuse)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex::write(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What signs. Its text is a secret; it is wiped from memory when it is dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key, from the system's random numbers.
    ///
    /// # Errors
    /// [`SignatureError::Random`].
    pub fn generate() -> Result<Self, SignatureError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|cause| SignatureError::Random { cause: cause.to_string() })?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The text that the file of the key holds: `ed25519-secret:` and 64 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{SECRET}{}", hex::write(self.0.as_bytes()))
    }

    /// The text of a signature of the library with this build: one line of the public key and the signature.
    #[must_use]
    pub fn sign(&self, build: &Build) -> String {
        let signature = self.0.sign(&build.message());
        format!("{} {}\n", self.public(), hex::write(&signature.to_bytes()))
    }
}

impl FromStr for SecretKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let seed = text.trim().strip_prefix(SECRET).and_then(hex::read).ok_or(SignatureError::SecretKey)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}
