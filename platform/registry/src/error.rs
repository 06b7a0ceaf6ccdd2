//! Why the registry was not changed or read.

use crate::limits::LIBRARY_BYTES_MAX;
use gantry_datasource::SourceError;
use std::io;
use std::path::PathBuf;

/// Why an operation on the registry, or on a library's file, failed. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A service number belongs to another library.
    #[error(
        "service {number:08} of library {claimant} belongs to library {holder} already; \
         give one of them another number, or stop using {holder}"
    )]
    NumberTaken {
        /// The number.
        number: u32,
        /// The library that has it.
        holder: String,
        /// The library that wants it.
        claimant: String,
    },
    /// The very same file serves already.
    #[error(
        "library {library} {version} is already deployed: build {build}; build it anew, or leave it as it is"
    )]
    AlreadyDeployed {
        /// The library.
        library: String,
        /// The version that serves.
        version: String,
        /// Its build.
        build: String,
    },
    /// No build of the library is known, or none is in force.
    #[error("there is no library {library} in force; `gantry service list` shows those there are")]
    UnknownLibrary {
        /// The name asked for.
        library: String,
    },
    /// There is nothing to go back to.
    #[error("library {library} has no such build to go back to; kept are: {}", if kept.is_empty() { "none" } else { kept })]
    NoSuchBuild {
        /// The library.
        library: String,
        /// Those that are kept, with their versions.
        kept: String,
    },
    /// No service has the number.
    #[error("there is no service {number:08}; `gantry service list` shows those there are")]
    UnknownService {
        /// The number asked for.
        number: u32,
    },
    /// Another version serves by now.
    #[error("service {number:08} is now of version {current}, not {asked}; look at it again")]
    VersionReplaced {
        /// The service.
        number: u32,
        /// The version that serves.
        current: String,
        /// The version that was meant.
        asked: String,
    },
    /// A build of the library is being tried.
    #[error(
        "{version} of library {library} is being tried on a share of the requests; \
         `gantry service promote {library}` or `gantry service abort {library}` ends that"
    )]
    CanaryRuns {
        /// The library.
        library: String,
        /// The version that is tried.
        version: String,
    },
    /// No build of the library is being tried.
    #[error(
        "no build of library {library} is being tried; `gantry service deploy LIBRARY --canary 5%` begins that"
    )]
    NoCanary {
        /// The library.
        library: String,
    },
    /// A build that cannot be tried beside the one in force.
    #[error(
        "service {number:08} of library {library} is not served by this build, or is of another kind there; only a build \
         that serves the same numbers can be tried on a share of the requests; deploy it without --canary"
    )]
    CanaryDiffers {
        /// The library.
        library: String,
        /// The service.
        number: u32,
    },
    /// A description cannot be taken as it is.
    #[error("library {library}: {problem}")]
    BadDescription {
        /// The library.
        library: String,
        /// What is wrong and what is right.
        problem: String,
    },
    /// Not a rule.
    #[error("`{assignment}` is no rule: write key=value, where {legal}")]
    BadRule {
        /// What was written.
        assignment: String,
        /// The keys or values that are taken.
        legal: &'static str,
    },
    /// More services than one registry holds.
    #[error("{services} services in all; a node holds at most {services_max}")]
    TooManyServices {
        /// How many there would be.
        services: usize,
        /// The bound.
        services_max: usize,
    },
    /// A row cannot be one that was written here.
    #[error(
        "row {row} of {table} in the registry is damaged; restore registry.db, or remove it and deploy again"
    )]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row, 0-based in the table's order.
        row: usize,
    },
    /// A file could not be read or put in place.
    #[error("{operation} {}: {cause}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// A file that is no library.
    #[error("{} is not a shared library (ELF); build one with crate-type cdylib, or with -shared", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
    },
    /// A file too large to be a library.
    #[error("{} has {bytes} bytes; at most {LIBRARY_BYTES_MAX} are taken", path.display())]
    LibraryTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, or what was read of it.
        bytes: u64,
    },
    /// A staged file is not what its name says.
    #[error(
        "{} exists with other content than its name says (found build {found}, expected {expected}); \
         it was changed or damaged: remove it and deploy again", path.display()
    )]
    StagedDiffers {
        /// The file.
        path: PathBuf,
        /// The hash of what is there.
        found: String,
        /// The hash of what should be there.
        expected: String,
    },
    /// The database.
    #[error("registry: {0}")]
    Source(#[from] Box<SourceError>),
}

impl From<SourceError> for RegistryError {
    fn from(cause: SourceError) -> Self {
        Self::Source(Box::new(cause))
    }
}
