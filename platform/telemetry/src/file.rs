//! The file of a log: appended to, set aside by size, and mended when something happens to it.

use crate::json::JsonLine;
use crate::written::{MARK, Written};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are gathered before they are written, when records come faster than that.
const BATCH_BYTES: usize = 16 << 10;

/// The file of a log and what is about to be written to it. Owned by the writing thread.
pub(crate) struct LogFile {
    path: PathBuf,
    /// `None` after it could not be opened again.
    file: Option<File>,
    /// Bytes in the file.
    bytes: u64,
    /// Bytes in the file after which it is set aside.
    rotate_at: u64,
    rotate_bytes: u64,
    keep: u32,
    /// Whole records that are not yet written.
    batch: Vec<u8>,
    /// The file ends within a record that could not be written whole.
    torn: bool,
    /// Lost records that the file does not tell of yet.
    lost_untold: u64,
    format: JsonLine,
    written: Arc<Written>,
}

impl LogFile {
    /// Opens `path` to append to it; its folder is made if it is not there.
    pub(crate) fn open(
        path: PathBuf,
        rotate_bytes: u64,
        keep: u32,
        format: JsonLine,
        written: Arc<Written>,
    ) -> io::Result<Self> {
        let (file, bytes, torn) = open(&path)?;
        Ok(Self {
            path,
            file: Some(file),
            bytes,
            rotate_at: rotate_bytes,
            rotate_bytes,
            keep,
            batch: Vec::with_capacity(BATCH_BYTES),
            torn,
            lost_untold: 0,
            format,
            written,
        })
    }

    fn append(&mut self, record: &[u8]) {
        let full = self.bytes + (self.batch.len() + record.len()) as u64 > self.rotate_at;
        let begun = self.bytes > 0 || !self.batch.is_empty();
        if full && begun {
            self.commit();
            self.rotate();
        }
        self.batch.extend_from_slice(record);
        if self.batch.len() >= BATCH_BYTES {
            self.commit();
        }
    }

    /// Writes the batch. What cannot be written is counted and told, and the log goes on.
    fn commit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let result = self.mend().and_then(|()| self.tell_losses()).map_err(|cause| (0, cause));
        if let Err((done, cause)) = result.and_then(|()| self.write_whole(&batch)) {
            let lost =
                batch.get(done..).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count() as u64;
            if self.lost_untold == 0 {
                self.complain(&format!("records are being lost, they cannot be written: {cause}"));
            }
            self.lost_untold += lost;
            self.written.lose(lost);
        }
        batch.clear();
        self.batch = batch;
    }

    /// Puts a record about lost ones into the file, once it takes records again.
    fn tell_losses(&mut self) -> io::Result<()> {
        if self.lost_untold == 0 {
            return Ok(());
        }
        let message =
            format!("{} records before this one could not be written and are lost", self.lost_untold);
        let record = self.format.own_record(&message);
        self.write_whole(record.as_bytes()).map_err(|(_, cause)| cause)?;
        self.lost_untold = 0;
        Ok(())
    }

    /// Writes all of `records`, or says how many bytes of them were written before the error.
    fn write_whole(&mut self, records: &[u8]) -> Result<(), (usize, io::Error)> {
        let Some(mut file) = self.file.as_ref() else {
            return Err((0, io::Error::from(io::ErrorKind::NotFound)));
        };
        if self.torn {
            file.write_all(b"\n").map_err(|cause| (0, cause))?;
            self.bytes += 1;
            self.torn = false;
        }
        let mut done = 0;
        while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
            match file.write(rest) {
                Ok(0) => return Err((done, io::Error::from(io::ErrorKind::WriteZero))),
                Ok(count) => {
                    done += count;
                    self.bytes += count as u64;
                    self.torn = records.get(done - 1) != Some(&b'\n');
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err((done, cause)),
            }
        }
        Ok(())
    }

    /// Opens the file again if it was moved or removed by somebody else: records written to a file without
    /// a name would be lost in silence. Costs one system call for a batch.
    fn mend(&mut self) -> io::Result<()> {
        if let (Some(file), Ok(named)) = (&self.file, fs::metadata(&self.path)) {
            let held = file.metadata()?;
            if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
                self.bytes = held.len();
                return Ok(());
            }
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        let (file, bytes, torn) = open(&self.path)?;
        (self.file, self.bytes, self.torn) = (Some(file), bytes, torn);
        Ok(())
    }

    /// Sets the file aside as `.1`, after the older ones moved up by one and the oldest went. When that
    /// fails the file grows on, and it is tried again after as many bytes.
    fn rotate(&mut self) {
        match self.shift_files().and_then(|()| self.reopen()) {
            Ok(()) => self.rotate_at = self.rotate_bytes,
            Err(cause) => {
                self.rotate_at = self.bytes + self.rotate_bytes;
                self.complain(&format!("cannot be set aside, it grows on: {cause}"));
            }
        }
    }

    fn shift_files(&self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            // The oldest is replaced by the one before it; numbers that are not there are skipped.
            absent_is_fine(fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)))?;
        }
        absent_is_fine(fs::rename(&self.path, numbered(&self.path, 1)))
    }

    /// Standard error is the last place left; when it is gone too, the count in the guard remains.
    fn complain(&self, what: &str) {
        let _ = writeln!(io::stderr(), "log {}: {what}", self.path.display());
    }
}

/// Never fails: the writing thread would drop the record in silence.
impl Write for LogFile {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if record == MARK {
            self.commit();
            self.written.mark();
        } else {
            self.append(record);
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.commit();
        Ok(())
    }
}

/// Opens a log to append to it: the file, its bytes, and whether its last record is torn because a process
/// was killed while writing.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    let mut last = [b'\n'];
    if bytes > 0 {
        file.seek(SeekFrom::Start(bytes - 1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, bytes, last != [b'\n']))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
