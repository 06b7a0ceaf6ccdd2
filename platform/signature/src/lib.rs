//! Signatures of service libraries: who may put code into a node.
//!
//! A library is signed by its build, the SHA-256 of its file, with ed25519. The signature lies beside the library, in
//! `LIBRARY.sig`; the public keys of those who may sign stand in the configuration (`service.signers`).
//!
//! - [`SecretKey`]: made once ([`SecretKey::generate`]), signs;
//! - [`PublicKey`]: what the configuration holds, `ed25519:` and 64 hexadecimal digits;
//! - [`verify`]: whether a signature is of a given build, by one of the keys.
//!
//! What it does not do: read or write files, hash libraries, revoke: a key that is taken out of the configuration signs
//! nothing any more, and what is deployed already stays.
//!
//! ```
//! use gantry_signature::{SecretKey, verify};
//!
//! let key = SecretKey::generate()?;
//! let build = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".parse()?;
//! let signature = key.sign(&build);
//! assert_eq!(verify(&[key.public()], &build, &signature)?, key.public());
//! # Ok::<(), gantry_signature::SignatureError>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod hex;
mod key;
mod signature;

pub use error::SignatureError;
pub use key::{PublicKey, SecretKey};
pub use signature::{Build, verify};
