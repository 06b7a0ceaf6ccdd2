//! What the tests of this crate share: building libraries, and a worker's side that lends real things.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use gantry_message::{CallerName, RequestId, ServiceNumber};
use gantry_service_host::{
    DocumentAnswer, DocumentCommand, Instance, Lender, Level, Library, Outcome, ReplyError, RequestView,
    ResultSet, SerialError, SerialErrorKind, SourceKind, SqlError, SqlErrorKind, SqlValue, call,
};
use rusqlite::types::Value;

/// Largest reply that [`Bench`] allows, in bytes.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 20;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where cargo puts what it builds: this test lies in its `deps`.
fn build_folder() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    executable.parent().and_then(Path::parent).unwrap().to_owned()
}

/// Builds a package with cargo and gives the file it left. It has a target folder of its own: built into that of the
/// tests, it would replace libraries there while other tests deploy them.
fn build(arguments: &[&str], file: &str) -> PathBuf {
    let folder = build_folder().parent().unwrap().join("nested");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).env("CARGO_TARGET_DIR", &folder);
    let output = cargo.arg("build").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("debug").join(file)
}

/// The library of the diagnostic services.
pub(crate) fn diag() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&["-p", "gantry-service-diag"], "libgantry_diag.so")).clone()
}

/// The library that uses everything that is lent.
pub(crate) fn tour() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["-p", "gantry-abi", "--features", "json", "--example", "api_tour"];
    BUILT.get_or_init(|| build(&arguments, "examples/libapi_tour.so")).clone()
}

/// The example that probes a library in a process of its own.
pub(crate) fn probe_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| build(&["-p", "gantry-service-host", "--example", "probe"], "examples/probe"))
        .clone()
}

/// Compiles a C or C++ library into `folder`.
pub(crate) fn compile(source: &Path, folder: &Path, more: &[&str]) -> PathBuf {
    let stem = source.file_stem().unwrap().to_str().unwrap();
    let library = folder.join(format!("libhostile_{stem}{}.so", more.concat()));
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let (compiler, standard) = if is_cpp { ("c++", "-std=gnu++17") } else { ("cc", "-std=gnu11") };
    let include = repository().join("abi/include");
    let output = Command::new(compiler)
        .args([
            standard,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-pthread",
            "-fvisibility=hidden",
        ])
        .args(more)
        .arg("-I")
        .arg(include)
        .arg("-o")
        .args([&library, source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    library
}

/// Compiles one of `tests/plugins`.
pub(crate) fn compile_hostile(file: &str, folder: &Path, more: &[&str]) -> PathBuf {
    compile(&repository().join("tests/plugins").join(file), folder, more)
}

/// A worker's side: replies go into memory, SQL to an embedded SQLite of its own.
pub(crate) struct Bench {
    room: Vec<u8>,
    committed_bytes: usize,
    database: rusqlite::Connection,
    serial: u64,
    pub(crate) time_left: Duration,
    pub(crate) log: Vec<(Level, String)>,
    /// The next statement panics, as a driver might.
    pub(crate) panics: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            room: Vec::new(),
            committed_bytes: 0,
            database: rusqlite::Connection::open_in_memory().unwrap(),
            serial: 0,
            time_left: Duration::from_secs(15),
            log: Vec::new(),
            panics: false,
        }
    }

    /// Applies the library's migrations.
    pub(crate) fn migrate(&self, library: &Library) {
        for step in &library.description().migrations {
            assert_eq!(step.source, "main");
            self.database.execute_batch(&step.sql).unwrap();
        }
    }

    /// Runs one request; the reply if it was done.
    pub(crate) fn call(&mut self, instance: &Instance, request: &[u8]) -> (Outcome, Vec<u8>) {
        self.room.clear();
        self.committed_bytes = 0;
        let request = RequestView {
            number: instance.number(),
            caller: CallerName::new(b"toll-server-7").unwrap(),
            request_id: RequestId::new(*b"bench-000000000000000001").unwrap(),
            body: NonNull::from(request),
        };
        let outcome = call(instance, self, request);
        (outcome, self.room[..self.committed_bytes].to_vec())
    }

    /// Runs one request that must be done, and gives the reply.
    pub(crate) fn done(&mut self, instance: &Instance, request: &[u8]) -> Vec<u8> {
        let (outcome, reply) = self.call(instance, request);
        assert_eq!(outcome, Outcome::Done);
        reply
    }

    /// Runs one request that must be a `bad_request`, and gives the field.
    pub(crate) fn bad_request(&mut self, instance: &Instance, request: &[u8]) -> String {
        match self.call(instance, request).0 {
            Outcome::Business { code, field, message } => {
                assert_eq!(code, "bad_request");
                assert!(!message.is_empty());
                field.unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Runs one request that must fail, and gives the reason.
    pub(crate) fn failed(&mut self, instance: &Instance, request: &[u8]) -> String {
        match self.call(instance, request).0 {
            Outcome::Failed { message } => message,
            other => panic!("{other:?}"),
        }
    }

    fn look_out(&mut self) {
        assert!(!std::mem::take(&mut self.panics), "the driver lost its mind");
    }
}

/// The dialect of SQLite, as far as the services tested here need it.
fn translate(text: &str) -> String {
    text.replace("{for update}", "")
}

fn sql_error(error: rusqlite::Error) -> SqlError {
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    let kind = match code {
        rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
            SqlErrorKind::Unique
        }
        rusqlite::ffi::SQLITE_ERROR => SqlErrorKind::BadStatement,
        _ => SqlErrorKind::Other,
    };
    let message = error.to_string();
    SqlError { kind, native_code: code, sqlstate: "HY000".to_owned(), message }
}

fn owned(value: &SqlValue<'_>) -> Value {
    match *value {
        SqlValue::Null => Value::Null,
        SqlValue::I64(number) => Value::Integer(number),
        SqlValue::F64(number) => Value::Real(number),
        SqlValue::Text(text) => Value::Text(text.to_owned()),
        SqlValue::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

impl Lender for Bench {
    fn time_left(&self) -> Duration {
        self.time_left
    }

    fn is_cancelled(&self) -> bool {
        self.time_left.is_zero()
    }

    fn reply_reserve(&mut self, bytes: usize) -> Result<NonNull<[u8]>, ReplyError> {
        if bytes > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLarge { bytes, bytes_max: REPLY_BYTES_MAX });
        }
        let bytes = bytes.max(64);
        if bytes > self.room.len() {
            self.room.resize(bytes, 0xee);
        }
        Ok(NonNull::from(self.room.as_mut_slice()))
    }

    fn reply_commit(&mut self, bytes: usize) -> Result<(), ReplyError> {
        self.committed_bytes = bytes;
        Ok(())
    }

    fn sql_execute(&mut self, _: &str, text: &str, params: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        self.look_out();
        let mut statement = self.database.prepare(&translate(text)).map_err(sql_error)?;
        let params = rusqlite::params_from_iter(params.iter().map(owned));
        let touched = statement.execute(params).map_err(sql_error)?;
        Ok(touched as u64)
    }

    fn sql_query(
        &mut self,
        _: &str,
        text: &str,
        params: &[SqlValue<'_>],
        rows_max: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError> {
        self.look_out();
        let mut statement = self.database.prepare(&translate(text)).map_err(sql_error)?;
        let columns = statement.column_count();
        let params = rusqlite::params_from_iter(params.iter().map(owned));
        let mut found = statement.query(params).map_err(sql_error)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(sql_error)? {
            if rows.len() == rows_max as usize {
                return Err(SqlError::new(SqlErrorKind::TooManyRows, format!("over {rows_max} rows")));
            }
            rows.push((0..columns).map(|column| row.get(column).unwrap()).collect());
        }
        Ok(Box::new(Rows { columns, rows, position: 0 }))
    }

    fn source_kind(&self, source: &str) -> Option<SourceKind> {
        match source {
            "main" => Some(SourceKind::Sql),
            "papers" => Some(SourceKind::Document),
            _ => None,
        }
    }

    /// Gives the documents of the command back, as a command that knows what it was asked would.
    fn document_run(&mut self, _: &str, command: &DocumentCommand<'_>) -> Result<DocumentAnswer, SqlError> {
        self.look_out();
        if command.collection == "broken" {
            return Err(SqlError::new(SqlErrorKind::BadStatement, "the collection is broken"));
        }
        let documents =
            if command.documents.is_empty() { Vec::new() } else { vec![command.documents.into()] };
        Ok(DocumentAnswer { documents, matched: command.operation.into(), modified: 1 })
    }

    fn serial_next(&mut self, kind: &str, count: u32, serials: &mut Vec<String>) -> Result<(), SerialError> {
        if kind != "recharge" {
            let message = format!("there is no serial type `{kind}`");
            return Err(SerialError { kind: SerialErrorKind::UnknownType, message });
        }
        for _ in 0..count {
            self.serial += 1;
            serials.push(format!("R{:08}", self.serial));
        }
        Ok(())
    }

    fn is_log_enabled(&self, level: Level) -> bool {
        level >= Level::Warn
    }

    fn log(&mut self, level: Level, text: &str) {
        self.log.push((level, text.to_owned()));
    }
}

struct Rows {
    columns: usize,
    rows: Vec<Vec<Value>>,
    /// Rows already stepped onto.
    position: usize,
}

impl ResultSet for Rows {
    fn columns(&self) -> usize {
        self.columns
    }

    fn next(&mut self) -> Result<bool, SqlError> {
        if self.position < self.rows.len() {
            self.position += 1;
            return Ok(true);
        }
        Ok(false)
    }

    fn value(&self, column: usize) -> Result<SqlValue<'_>, SqlError> {
        Ok(match &self.rows[self.position - 1][column] {
            Value::Null => SqlValue::Null,
            Value::Integer(number) => SqlValue::I64(*number),
            Value::Real(number) => SqlValue::F64(*number),
            Value::Text(text) => SqlValue::Text(text),
            Value::Blob(bytes) => SqlValue::Blob(bytes),
        })
    }
}

/// A service's number.
pub(crate) fn number(number: u32) -> ServiceNumber {
    ServiceNumber::new(number).unwrap()
}
