//! From the configuration file to a document source.

use std::sync::Arc;

use gantry_settings::DataSettings;

use crate::{DocumentError, ErrorKind, Source};

/// The document source that `[data.NAME]` describes. Nothing is opened yet.
///
/// # Errors
/// [`ErrorKind::Unsupported`]: the driver knows no documents, this binary lacks it, or the URI is of no use.
pub fn configure(name: &str, data: &DataSettings) -> Result<Box<dyn Source>, DocumentError> {
    match data {
        #[cfg(feature = "mongodb")]
        DataSettings::MongoDb(mongo) => Ok(Box::new(crate::mongodb::MongoSource::new(
            name,
            mongo.uri.expose(),
            match mongo.transactions {
                gantry_settings::Transactions::Detect => None,
                gantry_settings::Transactions::On => Some(true),
                gantry_settings::Transactions::Off => Some(false),
            },
        )?)),
        other => Err(DocumentError {
            kind: ErrorKind::Unsupported,
            source_name: Arc::from(name),
            operation: "configure",
            code: 0,
            message: format!("this binary keeps no documents through driver {}", other.driver().as_str()),
        }),
    }
}
