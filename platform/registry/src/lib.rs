//! The persistent table of services and libraries.
//!
//! `registry.db` in the state directory says which build of which library is in force, which services it brings,
//! and what the operator set for each of them. It is opened by short-lived helper processes only; the supervisor,
//! which opens no database, gets a [`Snapshot`] as JSON from them and publishes it into the directory.
//!
//! Every change is one transaction and raises the generation by one, so a power failure leaves the old state or the
//! new one. A library's file is put in place by [`stage`] before the change that names it.
//!
//! What it does not do: it loads no library, knows no shared memory, and deletes a staged file only when it
//! is told to ([`remove_forgotten`]).
//!
//! ```
//! use gantry_registry::{LibraryDescription, Registry, ServiceDescription, ServiceKind};
//!
//! let folder = tempfile::tempdir()?;
//! let mut registry = Registry::open(&folder.path().join("registry.db"))?;
//! let library = LibraryDescription {
//!     name: "gantry_diag".into(),
//!     version: "1.0.0".into(),
//!     build: "ab".repeat(32),
//!     file: "libraries/gantry_diag-1.0.0-abababababababab.so".into(),
//!     services: vec![ServiceDescription {
//!         number: 19_000_001,
//!         name: "diag echo".into(),
//!         kind: ServiceKind::Read,
//!         timeout_ms: 0,
//!         idempotent: true,
//!         description: "any bytes back".into(),
//!         example: "hello".into(),
//!         example_reply: "hello".into(),
//!         sources: vec![],
//!     }],
//! };
//! let snapshot = registry.deploy(&library)?;
//! assert_eq!((snapshot.generation, snapshot.services.len()), (1, 1));
//! let snapshot = registry.set_rule(19_000_001, &["rate=500", "timeout=2s"])?;
//! assert_eq!(snapshot.services[0].timeout_ms, 2_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod description;
mod error;
mod history;
pub mod limits;
mod record;
mod registry;
mod rule;
mod stage;
mod table;
mod trial;

pub use description::{LibraryDescription, ServiceDescription};
pub use error::RegistryError;
pub use history::{Action, Author, Event};
pub use record::{Canary, LibraryRecord, Policy, Rule, ServiceKind, ServiceRecord, Snapshot};
pub use registry::Registry;
pub use stage::{Staged, hash_library, remove_forgotten, stage};
