//! What happened when: every kill, stop and command with its time, and everything that was found wrong.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Lines of the end that are shown when something is wrong.
const TAIL_LINES: usize = 60;

/// Faults that are shown; a broken platform makes thousands of the same kind.
const FAULTS_SHOWN_MAX: usize = 25;

/// Characters of a fault that are shown; `chaos.log` has all of it.
const FAULT_CHARACTERS: usize = 500;

/// The log of a run.
pub(super) struct Chronicle {
    begin: Instant,
    written: Mutex<Written>,
}

struct Written {
    file: Option<File>,
    lines: Vec<String>,
    faults: Vec<String>,
}

impl Chronicle {
    /// An empty chronicle that is also written to `chaos.log` in `folder`, for whoever looks into a failure.
    pub(super) fn new(folder: &Path) -> Self {
        let file = File::create(folder.join("chaos.log")).ok();
        let written = Written { file, lines: Vec::new(), faults: Vec::new() };
        Self { begin: Instant::now(), written: Mutex::new(written) }
    }

    /// Notes something.
    pub(super) fn note(&self, words: &str) {
        let line = format!("{:9.3} {words}", self.begin.elapsed().as_secs_f64());
        let mut written = self.lock();
        if let Some(file) = written.file.as_mut() {
            // A full disk must not end the run: the lines are kept here as well.
            let _written = writeln!(file, "{line}");
        }
        written.lines.push(line);
    }

    /// Notes something that must not be.
    pub(super) fn fault(&self, words: &str) {
        self.note(&format!("FAULT {words}"));
        self.lock().faults.push(words.to_owned());
    }

    /// How many faults there are.
    pub(super) fn faults_count(&self) -> usize {
        self.lock().faults.len()
    }

    /// The faults, with what happened last, as text.
    pub(super) fn verdict(&self) -> String {
        let written = self.lock();
        let mut text = format!("{} faults:\n", written.faults.len());
        for fault in written.faults.iter().take(FAULTS_SHOWN_MAX) {
            text.push_str(&format!("  {}\n", shortened(fault)));
        }
        let first_fault = written.lines.iter().position(|line| line.contains(" FAULT "));
        let end = first_fault.map_or(written.lines.len(), |at| (at + 5).min(written.lines.len()));
        text.push_str("what happened before the first of them:\n");
        for line in &written.lines[end.saturating_sub(TAIL_LINES)..end] {
            text.push_str(&format!("  {}\n", shortened(line)));
        }
        text
    }

    /// Whether a fault was noted that has these words.
    pub(super) fn has_fault(&self, words: &str) -> bool {
        self.lock().faults.iter().any(|fault| fault.contains(words))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(FAULT_CHARACTERS) {
        Some((at, _)) => format!("{} …", &words[..at]),
        None => words.to_owned(),
    }
}
