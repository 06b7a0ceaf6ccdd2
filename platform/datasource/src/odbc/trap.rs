//! Installations that cannot work, told from the outside.

use super::connection_string::ConnectionString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something installed or configured that would fail later, in ways that are hard to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverTrap {
    /// IBM's `libdb2.so` under unixODBC: its lengths have 32 bits where 64 are read, so NULL shows as the value
    /// before it.
    NarrowLengths {
        /// The library that would be loaded.
        library: PathBuf,
    },
    /// The driver manager pools connections itself, which crashes or leaks.
    ManagerPooling {
        /// The file that switches it on.
        file: PathBuf,
    },
}

impl fmt::Display for DriverTrap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NarrowLengths { library } => write!(
                out,
                "{} has 32-bit length indicators: NULL would show as the value before it; name libdb2o.so of the same \
                 folder as the driver",
                library.display()
            ),
            Self::ManagerPooling { file } => write!(
                out,
                "{} switches the driver manager's pooling on, which crashes or leaks; write Pooling=No under [ODBC]",
                file.display()
            ),
        }
    }
}

/// Looks whether a data source with this connection string (or the path of a driver's library) would run into a known
/// trap. `None`: nothing is known against it. Reads the driver manager's files; connects to nothing.
#[must_use]
pub fn driver_trap(connection: &str) -> Option<DriverTrap> {
    library_of(connection).and_then(narrow_lengths).or_else(|| manager_pooling(&manager_file()))
}

/// The library behind a connection string: the path it names, or the one that the driver manager has for the name.
fn library_of(connection: &str) -> Option<PathBuf> {
    if !connection.contains('=') {
        return Some(PathBuf::from(connection));
    }
    let driver = ConnectionString::parse(connection).ok()?.driver().ok()?;
    if driver.contains('/') {
        return Some(PathBuf::from(driver));
    }
    let drivers = odbc_api::environment().ok()?.drivers().ok()?;
    let known = drivers.into_iter().find(|known| known.description.eq_ignore_ascii_case(&driver))?;
    let path = known.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case("driver"));
    path.map(|(_, path)| PathBuf::from(path))
}

fn narrow_lengths(library: PathBuf) -> Option<DriverTrap> {
    // A link called libdb2o.so that leads to libdb2.so.1 is the same trap; one that leads nowhere fails by itself.
    let target = library.canonicalize().unwrap_or_else(|_| library.clone());
    let is_narrow = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name == "libdb2.so" || name.starts_with("libdb2.so.")
    };
    (is_narrow(&target) || is_narrow(&library)).then_some(DriverTrap::NarrowLengths { library })
}

/// The file in which unixODBC looks for its drivers and for its own settings.
fn manager_file() -> PathBuf {
    let folder = std::env::var_os("ODBCSYSINI").unwrap_or_else(|| "/etc".into());
    let name = std::env::var_os("ODBCINSTINI").unwrap_or_else(|| "odbcinst.ini".into());
    Path::new(&folder).join(name)
}

/// Whether the driver manager pools; a file that is not there, or cannot be read, switches nothing on.
pub(super) fn manager_pooling(file: &Path) -> Option<DriverTrap> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut is_manager = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            is_manager = section.trim_end_matches(']').trim().eq_ignore_ascii_case("ODBC");
        } else if let Some((key, value)) = line.split_once('=')
            && is_manager
            && key.trim().eq_ignore_ascii_case("Pooling")
            && ["yes", "1", "true", "on", "y"].contains(&value.trim().to_ascii_lowercase().as_str())
        {
            return Some(DriverTrap::ManagerPooling { file: file.to_owned() });
        }
    }
    None
}

/// The same for the file that this process would use.
pub(super) fn pooling_here() -> Option<DriverTrap> {
    manager_pooling(&manager_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_library_of_db2_is_recognised_by_path_string_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let narrow = folder.path().join("libdb2.so.1");
        std::fs::write(&narrow, "").unwrap();
        let link = folder.path().join("libdb2o.so");
        std::os::unix::fs::symlink(&narrow, &link).unwrap();
        let string = format!("Driver={};Database=d", narrow.display());
        for connection in ["/opt/lib/libdb2.so", &string, link.to_str().unwrap()] {
            let trap = driver_trap(connection);
            assert!(matches!(trap, Some(DriverTrap::NarrowLengths { .. })), "{connection}: {trap:?}");
        }
        assert!(trap_words("/opt/lib/libdb2.so").contains("libdb2o.so"));
        for connection in ["/opt/lib/libdb2o.so", "/opt/lib/libdb2o.so.1", "Driver={no such};Server=h"] {
            assert_eq!(driver_trap(connection), None, "{connection}");
        }
    }

    fn trap_words(connection: &str) -> String {
        driver_trap(connection).unwrap().to_string()
    }

    #[test]
    fn pooling_of_the_driver_manager_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("odbcinst.ini");
        let found = |text: &str| {
            std::fs::write(&file, text).unwrap();
            manager_pooling(&file).is_some()
        };
        assert!(found("[ODBC]\nTrace = no\nPooling = Yes\n"));
        assert!(found("[a]\nPooling=No\n[odbc]\npooling=1"));
        assert!(!found("[ODBC]\nPooling = No\n"));
        assert!(!found("[PostgreSQL]\nPooling = Yes\n"));
        assert!(manager_pooling(&folder.path().join("none")).is_none());
    }
}
