//! Why a worker cannot work.

use gantry_datasource::SourceError;
use gantry_serials::SerialError;

/// Why a worker ends before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The process table has no such row, or it belongs to a later life.
    #[error("row {row} of the process table is not this worker's (epoch {epoch}): a newer process has it")]
    NotOurRow {
        /// The row.
        row: u8,
        /// The epoch that this process was started with.
        epoch: u32,
    },
    /// A signal or exit hook could not be installed.
    #[error("cannot install the {hook} hook: {cause}")]
    Hook {
        /// Which hook.
        hook: &'static str,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The configured serial types cannot be used.
    #[error("[serial]: {cause}")]
    Serials {
        /// What is wrong.
        #[source]
        cause: SerialError,
    },
    /// A data source cannot be used as it is configured, or the one with the request table cannot be asked.
    #[error("data source: {cause}")]
    Source {
        /// What it said.
        #[source]
        cause: SourceError,
    },
    /// A document source cannot be used as it is configured.
    #[error("data source: {cause}")]
    DocumentSource {
        /// What it said.
        #[source]
        cause: gantry_document::DocumentError,
    },
}
