//! What can be wrong with a library before its first call.

use gantry_datasource::SourceError;
use gantry_service_host::LoadError;

/// Why a kit could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// The library is refused, or one of its instances could not be made; a node would refuse it too.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A service number that the library does not have, or that is none.
    #[error("the library {library} has no service {number}; it has {known}")]
    UnknownService {
        /// The library.
        library: String,
        /// The number that was asked for.
        number: u32,
        /// The numbers that there are.
        known: String,
    },
    /// No folder for the database.
    #[error("no temporary folder for the database: {0}")]
    Folder(#[from] std::io::Error),
    /// The library's tables cannot be made.
    #[error("the step {version} of the schema \"{schema}\" of source \"{source_name}\" fails: {cause}")]
    Migration {
        /// The data source.
        source_name: String,
        /// The schema.
        schema: String,
        /// Its version.
        version: u32,
        /// What the database said.
        #[source]
        cause: Box<SourceError>,
    },
    /// The database.
    #[error(transparent)]
    Source(Box<SourceError>),
}

impl From<SourceError> for KitError {
    fn from(cause: SourceError) -> Self {
        Self::Source(Box::new(cause))
    }
}
