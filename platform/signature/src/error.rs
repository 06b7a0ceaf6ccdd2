//! What can be wrong with a key or a signature.

use crate::key::PublicKey;

/// Why a key, a build or a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not the text of a public key.
    #[error(
        "\"{text}\" is no public key; write ed25519: and 64 hexadecimal digits, as `gantry key show` prints it"
    )]
    PublicKey {
        /// What was there, cut.
        text: String,
    },
    /// Not the text of a secret key. What was there is not repeated.
    #[error("this is no secret key; make one with `gantry key new`")]
    SecretKey,
    /// Not the hash of a library.
    #[error("\"{text}\" is no build; it is the SHA-256 of the library's file in 64 hexadecimal digits")]
    Build {
        /// What was there, cut.
        text: String,
    },
    /// Not the text of a signature.
    #[error("this is no signature; make one with `gantry key sign`")]
    Signature,
    /// By somebody who may not sign.
    #[error("it is signed with {key}, which is not in service.signers")]
    UnknownSigner {
        /// The key that it is signed with.
        key: PublicKey,
    },
    /// Of something else, or not made with that key at all.
    #[error(
        "the signature by {key} is not of this file; the library or the signature was changed, sign it again"
    )]
    Mismatch {
        /// The key that it says it is signed with.
        key: PublicKey,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {cause}")]
    Random {
        /// Its words.
        cause: String,
    },
}

/// A foreign text as an error repeats it.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
