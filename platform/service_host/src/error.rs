//! Why a library is not loaded.

use std::path::{Path, PathBuf};

use crate::environment::Missing;
use gantry_abi::descriptor::{GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR};
use gantry_message::ServiceNumber;

/// Why a library is not loaded. Each names the file, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The library.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file is no shared library of this machine.
    #[error("{}: is not a service library: {found}; give the .so file that the build made", path.display())]
    NotALibrary {
        /// The library.
        path: PathBuf,
        /// What it is instead, or what is wrong with it.
        found: String,
    },
    /// It defines symbols that the dynamic linker would unify between two versions of the library.
    #[error(
        "{}: defines the unique symbol `{symbol}`, which would be shared with another version of the same \
         library; compile it with -fno-gnu-unique", path.display()
    )]
    UniqueSymbol {
        /// The library.
        path: PathBuf,
        /// The first such symbol.
        symbol: String,
    },
    /// It does not export the entry.
    #[error(
        "{}: does not export `gantry_service_entry`; a service library in Rust uses \
         gantry_abi::export_library!, in C or C++ GANTRY_EXPORT of gantry.h", path.display()
    )]
    NoEntry {
        /// The library.
        path: PathBuf,
    },
    /// The dynamic linker refused it.
    #[error("{}: cannot be loaded: {reason}", path.display())]
    Open {
        /// The library.
        path: PathBuf,
        /// What the dynamic linker says, such as a symbol or library that is missing.
        reason: String,
    },
    /// Another file was loaded from the same path before; the dynamic linker would give that one again.
    #[error(
        "{}: another file was loaded from this path before and stays in this process; load the new one \
         from a path of its own", path.display()
    )]
    PathReused {
        /// The library.
        path: PathBuf,
    },
    /// What the entry returned is not a descriptor.
    #[error("{}: `gantry_service_entry` did not return a Gantry descriptor: {problem}", path.display())]
    NoDescriptor {
        /// The library.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It was built for another version of the contract.
    #[error(
        "{}: was built for ABI {major}.{minor}, and this platform has ABI {GANTRY_ABI_MAJOR}.{GANTRY_ABI_MINOR}; \
         {}", path.display(), advice(*major)
    )]
    AbiVersion {
        /// The library.
        path: PathBuf,
        /// Major version that the library was built for.
        major: u16,
        /// Minor version that the library was built for.
        minor: u16,
    },
    /// Something in the descriptor is not as the contract wants it.
    #[error("{}: {item}: {problem}", path.display())]
    Descriptor {
        /// The library.
        path: PathBuf,
        /// Which library, service or migration.
        item: String,
        /// What is wrong.
        problem: String,
    },
    /// Services of the library need what the node does not have.
    #[error("{}: {}", path.display(), lines(missing))]
    Missing {
        /// The library.
        path: PathBuf,
        /// All that is missing.
        missing: Vec<Missing>,
    },
    /// A service did not create its instance.
    #[error("{}: service {number} cannot be created: {message}", path.display())]
    Create {
        /// The library.
        path: PathBuf,
        /// The service.
        number: ServiceNumber,
        /// What the service says.
        message: String,
    },
}

impl LoadError {
    /// The library that was refused.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::NotALibrary { path, .. }
            | Self::UniqueSymbol { path, .. }
            | Self::NoEntry { path }
            | Self::Open { path, .. }
            | Self::PathReused { path }
            | Self::NoDescriptor { path, .. }
            | Self::AbiVersion { path, .. }
            | Self::Descriptor { path, .. }
            | Self::Missing { path, .. }
            | Self::Create { path, .. } => path,
        }
    }
}

fn lines(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn advice(major: u16) -> &'static str {
    if major == GANTRY_ABI_MAJOR {
        "upgrade the platform, or build the library against the platform's gantry.h"
    } else {
        "build the library against the platform's gantry.h"
    }
}
