//! Setting up the log of a process.

use crate::file::LogFile;
use crate::json::JsonLine;
use crate::plain::PlainLine;
use crate::written::{MARK, Written};
use crate::{Level, TelemetryError, panic};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tracing::Dispatch;
use tracing::dispatcher::set_global_default;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Records that may wait for the writing thread; one more blocks its caller until there is room. Enough for
/// a burst, and small enough for the memory of a supervisor.
pub const QUEUE_RECORDS: usize = 1024;

/// How long [`LogGuard::flush`] waits for the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest role, in bytes.
const ROLE_BYTES_MAX: usize = 32;

pub(crate) const WRITER_THREAD: &str = "gantry-log";

/// The level of this process's log, for [`set_level`].
static LEVEL: OnceLock<LevelSwitch> = OnceLock::new();

type LevelSwitch = reload::Handle<LevelFilter, Registry>;

/// What the log of a process is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// What the process is, such as `worker`: 1 to 32 of `a-z 0-9 _ -`; the beginning of the file's name.
    pub role: String,
    /// Its row in the process table, for roles with several processes: two processes must not write one file.
    pub row: Option<u16>,
    /// The folder of the file; it is made, for this user only, if it is not there.
    pub dir: PathBuf,
    /// The least severe level that is recorded.
    pub level: Level,
    /// Bytes after which the file is set aside and a new one begun. A single record may go beyond it.
    pub rotate_bytes: u64,
    /// Files set aside that are kept, from 1; the oldest goes.
    pub keep: u32,
}

impl LogOptions {
    /// The file that is written: `<dir>/<role>-<row>.log`, or `<dir>/<role>.log` without a row.
    pub fn file(&self) -> PathBuf {
        match self.row {
            Some(row) => self.dir.join(format!("{}-{row}.log", self.role)),
            None => self.dir.join(format!("{}.log", self.role)),
        }
    }
}

/// Gives this process its log, in a file. Starts one thread, so call it after the last fork; panics are
/// recorded from now on.
///
/// # Errors
/// [`TelemetryError::Role`], [`TelemetryError::File`], or [`TelemetryError::AlreadySet`] the second time.
pub fn init(options: &LogOptions) -> Result<LogGuard, TelemetryError> {
    let (dispatch, guard) = to_file(options)?;
    adopt(dispatch, &guard)?;
    if let Some(writer) = &guard.writer {
        panic::record_panics(writer.clone());
    }
    Ok(guard)
}

/// Gives this process a log on standard error, as plain text and written at once: for short-lived helpers.
///
/// # Errors
/// [`TelemetryError::Role`], or [`TelemetryError::AlreadySet`] the second time.
pub fn init_stderr(role: &str, level: Level) -> Result<LogGuard, TelemetryError> {
    check_role(role)?;
    let (filter, switch) = reload::Layer::new(level.filter());
    let format = PlainLine::new(role, std::process::id());
    let lines = fmt::layer().event_format(format).with_ansi(false).with_writer(io::stderr);
    let guard = LogGuard { switch, file: None, writer: None, thread: None };
    adopt(Dispatch::new(Registry::default().with(filter).with(lines)), &guard)?;
    Ok(guard)
}

/// Changes the level of this process's log while it runs: for code that has no [`LogGuard`] at hand.
///
/// # Errors
/// [`TelemetryError::NotSet`] before [`init`].
pub fn set_level(level: Level) -> Result<(), TelemetryError> {
    switch(LEVEL.get().ok_or(TelemetryError::NotSet)?, level)
}

/// The log of a process. Dropping it writes what is queued and ends the writing thread.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    switch: LevelSwitch,
    file: Option<PathBuf>,
    writer: Option<Writer>,
    /// Ends the thread when it is dropped, which must be after the last flush.
    thread: Option<WorkerGuard>,
}

impl LogGuard {
    /// Changes the least severe level that is recorded; in force for all threads on return.
    ///
    /// # Errors
    /// [`TelemetryError::Ended`] if the log is gone.
    pub fn set_level(&self, level: Level) -> Result<(), TelemetryError> {
        switch(&self.switch, level)
    }

    /// Waits until every record made so far is in the file; at once for standard error. Blocks for 10 s at
    /// the most, once the queue has room.
    ///
    /// # Errors
    /// [`TelemetryError::NotWritten`] if the disk hangs, [`TelemetryError::Ended`] if the log is gone.
    pub fn flush(&self) -> Result<(), TelemetryError> {
        self.writer.as_ref().map_or(Ok(()), Writer::flush)
    }

    /// Records that could not be written since the start of the process, because the disk was full or the
    /// folder gone.
    pub fn lost(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.written.lost())
    }

    /// The file that is written; `None` for standard error.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl std::fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogGuard")
            .field("file", &self.file)
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

impl Drop for LogGuard {
    /// `WorkerGuard` alone gives up after 100 ms when the queue is full, and loses it.
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            let _ = writeln!(io::stderr(), "the log was not written to its end: {error}");
        }
        self.thread.take();
    }
}

/// The way to the writing thread.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: NonBlocking,
    written: Arc<Written>,
    /// Held by the one who waits for a mark, so that no other's mark is taken for it.
    turn: Arc<Mutex<()>>,
}

impl Writer {
    /// Waits until every record queued so far is in the file.
    pub(crate) fn flush(&self) -> Result<(), TelemetryError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours is the last of those sent, and not one more than those that came: a mark that somebody gave
        // up on may still come.
        let marks = self.written.send_mark();
        self.queue.clone().write_all(MARK).map_err(|_| TelemetryError::Ended)?;
        if self.written.wait(marks, FLUSH_TIMEOUT) {
            return Ok(());
        }
        Err(TelemetryError::NotWritten { waited_ms: FLUSH_TIMEOUT.as_millis() })
    }
}

/// A log in a file that no process has adopted yet.
pub(crate) fn to_file(options: &LogOptions) -> Result<(Dispatch, LogGuard), TelemetryError> {
    check_role(&options.role)?;
    let (path, pid) = (options.file(), std::process::id());
    let format = || JsonLine::new(&options.role, options.row, pid);
    let written = Arc::new(Written::default());
    let file = LogFile::open(
        path.clone(),
        options.rotate_bytes,
        options.keep.max(1),
        format(),
        Arc::clone(&written),
    )
    .map_err(|cause| TelemetryError::File { file: path.clone(), cause })?;
    let (queue, thread) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_RECORDS)
        .lossy(false)
        .thread_name(WRITER_THREAD)
        .finish(file);
    let (filter, switch) = reload::Layer::new(options.level.filter());
    let lines = fmt::layer().event_format(format()).with_ansi(false).with_writer(queue.clone());
    let dispatch = Dispatch::new(Registry::default().with(filter).with(lines));
    let writer = Writer { queue, written, turn: Arc::default() };
    Ok((dispatch, LogGuard { switch, file: Some(path), writer: Some(writer), thread: Some(thread) }))
}

/// Makes a log the one of this process.
fn adopt(dispatch: Dispatch, guard: &LogGuard) -> Result<(), TelemetryError> {
    set_global_default(dispatch).map_err(|_| TelemetryError::AlreadySet)?;
    LEVEL.set(guard.switch.clone()).map_err(|_| TelemetryError::AlreadySet)
}

fn switch(handle: &LevelSwitch, level: Level) -> Result<(), TelemetryError> {
    handle.reload(level.filter()).map_err(|_| TelemetryError::Ended)
}

fn check_role(role: &str) -> Result<(), TelemetryError> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.bytes().all(good) {
        return Err(TelemetryError::Role { role: role.to_owned() });
    }
    Ok(())
}
