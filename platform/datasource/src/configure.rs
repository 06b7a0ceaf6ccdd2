//! From the configuration file to a data source.

use crate::connection::Source;
use crate::error::{ErrorKind, SourceError};
use crate::sqlite::{SqliteOptions, SqliteSource, Synchronous};
use gantry_settings::DataSettings;
use std::sync::Arc;

/// The data source that `[data.NAME]` describes. Nothing is opened yet.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported): this binary has no such driver, the driver speaks no SQL, or a connection
/// string is of no use.
pub fn configure(name: &str, data: &DataSettings) -> Result<Box<dyn Source>, SourceError> {
    match data {
        DataSettings::Sqlite(sqlite) => {
            let synchronous = match sqlite.synchronous {
                gantry_settings::Synchronous::Full => Synchronous::Full,
                gantry_settings::Synchronous::Normal => Synchronous::Normal,
            };
            let options = SqliteOptions::new(sqlite.path.clone())
                .busy_timeout(sqlite.busy_timeout)
                .synchronous(synchronous);
            Ok(Box::new(SqliteSource::new(name, options)))
        }
        #[cfg(feature = "odbc")]
        DataSettings::Odbc(odbc) => {
            let options = crate::odbc::OdbcOptions::new(odbc.connection.expose());
            Ok(Box::new(crate::odbc::OdbcSource::new(name, &options)?))
        }
        other => {
            let message = format!("this binary reads no SQL through driver {}", other.driver().as_str());
            Err(SourceError::own(ErrorKind::Unsupported, &Arc::from(name), "configure", message))
        }
    }
}

/// What is known against the installation behind `[data.NAME]`, which would fail later in ways that are hard to read:
/// IBM's driver with 32-bit lengths, a driver manager that pools. Connects to nothing.
#[must_use]
pub fn trap(data: &DataSettings) -> Option<String> {
    match data {
        #[cfg(feature = "odbc")]
        DataSettings::Odbc(odbc) => {
            crate::odbc::driver_trap(odbc.connection.expose()).map(|trap| trap.to_string())
        }
        _ => None,
    }
}
