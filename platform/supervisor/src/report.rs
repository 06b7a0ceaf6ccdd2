//! What is written down when a worker dies inside a service or a process has to be killed, so that it can be looked into
//! later: which request it ran, of whom, with which version, at which statement, and where in the code. Facts of shared
//! memory only; no byte of a request's body, no parameter of a statement.
//!
//! Addresses of a stack are written as offsets in their files. Who shows a report looks their names up: the supervisor
//! reads no library.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gantry_message::{Kind, RequestId};
use gantry_ring::SlotRef;
use gantry_segment::{Control, FrameNote, StackEnd, StackNote, StatementNote};
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;
use gantry_sys::process::ExitState;
use gantry_sys::signal::Signal;
use serde_json::{Value, json};

use crate::children::{COMM_ROW, ChildKind, Ending, Reason, Running};
use crate::limits::REPORTS_MAX;
use crate::reap::{LastState, NOTE_EXIT, NOTE_SIGNAL};
use crate::run::Supervisor;

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Death<'a> {
    pub(crate) kind: &'a ChildKind,
    pub(crate) row: u8,
    pub(crate) dead: &'a Running,
    pub(crate) exit: ExitState,
    pub(crate) last: &'a LastState,
}

/// What shared memory tells of a dead process, read before its row, its slot and its note are used again.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    request: Option<Value>,
    /// Library and version that served the request.
    library: Option<(String, String)>,
    statement: Option<Value>,
    stack: Option<Value>,
    ran_ms: Option<u64>,
    timeout_ms: u32,
}

/// Why a process died, in one word and in a sentence.
#[derive(Debug, PartialEq, Eq)]
struct Why {
    word: &'static str,
    text: String,
    /// Why there may be no stack.
    without_stack: &'static str,
}

impl Supervisor {
    /// Writes a report of a death, if it is one to look into: one inside a service, one by the supervisor's own hand, or
    /// any unwanted one of the communication process.
    pub(crate) fn write_report(&self, death: &Death<'_>, noted: &Noted) {
        if !death.is_worth_a_report() {
            return;
        }
        let what = death.last.service.map_or_else(|| death.kind.word.to_owned(), |number| number.to_string());
        let name = format!("{what}-{}", death.dead.pid);
        let folder = self.settings.node.state_dir.join("reports");
        if let Err(error) = write(&folder, &name, &report(death, noted)) {
            tracing::error!(folder = %folder.display(), %error, "a report cannot be written");
        }
    }
}

impl Death<'_> {
    fn is_worth_a_report(&self) -> bool {
        let killed_for = self.dead.ending.filter(|ending| ending.is_killed).map(|ending| ending.reason);
        let is_signalled = matches!(self.exit, ExitState::Killed { .. }) || self.last.note != 0;
        self.last.service.is_some()
            || killed_for.is_some_and(|reason| reason != Reason::Stop)
            || self.row == COMM_ROW && is_signalled && killed_for.is_none()
    }

    fn why(&self, timeout_ms: u32) -> Why {
        let why = |word, text: String, without_stack| Why { word, text, without_stack };
        match self.dead.ending {
            Some(Ending { reason: Reason::OverTime, is_killed, .. }) => {
                let end = if is_killed { "killed" } else { "it ended when it was told to" };
                let text = format!("the service overran its time-out of {timeout_ms} ms; {end}");
                return why("over_time", text, "the process noted none between SIGTERM and SIGKILL");
            }
            Some(Ending { reason, is_killed: true, .. }) => {
                let word = match reason {
                    Reason::Hung => "hung",
                    Reason::NotReady => "not_ready",
                    Reason::Stop | Reason::OverTime => "stopped",
                };
                let text = format!("{}; killed", reason.text());
                return why(word, text, "the process was killed without a word before");
            }
            _ => {}
        }
        let note = self.last.note;
        if note & NOTE_SIGNAL != 0 {
            let text = format!("fatal signal {}", signal_name((note & NOTE_SIGNAL) as i32));
            return why("fatal_signal", text, "the stack could not be walked");
        }
        if note & NOTE_EXIT != 0 {
            let text = format!("the service ended its process by exit ({})", self.exit);
            return why("exit", text, "the stack could not be walked");
        }
        match self.exit {
            ExitState::Killed { signal, .. } => {
                let text = format!(
                    "killed by {}, which neither the process nor the supervisor sent: by hand, or by the kernel for lack of memory",
                    signal_name(signal)
                );
                why("killed", text, "killed from outside: the process could not note it")
            }
            ExitState::Exited { code } => {
                let text = format!("the process ended with code {code} and without its exit hooks");
                why("ended", text, "its exit hooks did not run: the process could not note it")
            }
            ExitState::Unknown | ExitState::Running => {
                let text =
                    "how it ended is not known: it outlived the supervisor that had started it".to_owned();
                why("unknown", text, "the process noted none")
            }
        }
    }
}

/// A signal's name with its number.
fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| format!("{number} ({signal})"))
}

/// What shared memory tells of the process that died in a row of the process table.
pub(crate) fn noted(control: &Control, row: u8) -> Noted {
    let (process, note) = (&control.processes()[usize::from(row)], &control.notes()[usize::from(row)]);
    let running = process.running_slot.load(Relaxed);
    let Some(slot) = SlotRef::from_bits(running) else { return Noted::default() };
    let now_ns = clock::monotonic_ns();
    let ms_since = |ns: u64| now_ns.saturating_sub(ns) / 1_000_000;
    let timeout_ms =
        control.slots().get(usize::from(slot.index)).map_or(0, |row| row.timeout_ms.load(Relaxed));
    Noted {
        request: request_of(control, slot),
        library: note.library(running),
        statement: note.statement().map(|statement| statement_json(&statement, ms_since(statement.since_ns))),
        // An earlier request's stack says nothing of this one.
        stack: note.stack().filter(|stack| stack.request == running).map(|stack| stack_json(&stack)),
        ran_ms: Some(ms_since(process.running_since_ns.load(Relaxed))),
        timeout_ms,
    }
}

/// The header of a request; `None` when there is no such slot.
fn request_of(control: &Control, slot: SlotRef) -> Option<Value> {
    let found = control.slots().get(usize::from(slot.index))?;
    let words =
        [&found.request_id[0], &found.request_id[1], &found.request_id[2]].map(|word| word.load(Relaxed));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let id = <[u8; 24]>::try_from(bytes).ok().and_then(|bytes| RequestId::new(bytes).ok());
    let (arrival_ns, deadline_ns) = (found.arrival_ns.load(Relaxed), found.deadline_ns.load(Relaxed));
    let arrived_ms_ago = clock::monotonic_ns().saturating_sub(arrival_ns) / 1_000_000;
    Some(json!({
        "id": id.map(|id| id.to_string()),
        "caller": found.caller.text(),
        "service": format!("{:08}", found.service.load(Relaxed)),
        "kind": Kind::from_code((found.flags.load(Relaxed) >> 8) as u8).map(Kind::name),
        "body_bytes": found.request_bytes.load(Relaxed),
        "arrived_at_ms": clock::realtime_ms().saturating_sub(arrived_ms_ago),
        "budget_ms": deadline_ns.saturating_sub(arrival_ns) / 1_000_000,
        "timeout_ms": found.timeout_ms.load(Relaxed),
        "attempt": slot.generation.attempt(),
    }))
}

fn statement_json(statement: &StatementNote, ran_ms: u64) -> Value {
    json!({
        "source": statement.source,
        "text": statement.text,
        "bytes": statement.bytes,
        "is_cut": statement.text.len() < statement.bytes as usize,
        "ran_ms": ran_ms,
    })
}

fn stack_json(stack: &StackNote) -> Value {
    let modules = stack.modules.iter().map(|module| {
        let build: String = module.build.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "path": module.path, "build": build })
    });
    let frame = |frame: &FrameNote| {
        let module = frame.module.and_then(|place| stack.modules.get(usize::from(place)));
        json!({ "module": module.map(|module| &module.path), "offset": format!("{:#x}", frame.offset), "symbol": null })
    };
    json!({
        "noted_by": match stack.signal { 0 => "exit hook".to_owned(), signal => signal_name(signal as i32) },
        "end": match stack.end {
            StackEnd::Whole => "whole",
            StackEnd::Cut => "cut",
            StackEnd::Unfinished => "unfinished",
            StackEnd::Faulted => "faulted",
        },
        "modules": modules.collect::<Vec<_>>(),
        "frames": stack.frames.iter().map(frame).collect::<Vec<_>>(),
    })
}

fn report(death: &Death<'_>, noted: &Noted) -> Value {
    let why = death.why(noted.timeout_ms);
    let (library, version) = noted.library.clone().unzip();
    json!({
        "at_ms": clock::realtime_ms(),
        "why": why.word,
        "why_text": why.text,
        "role": death.kind.word,
        "queue": death.kind.queue.map(gantry_message::Queue::name),
        "row": death.row,
        "pid": death.dead.pid,
        "epoch": death.dead.epoch,
        "exit": death.exit.to_string(),
        "service": death.last.service.map(|number| number.to_string()),
        "library": library,
        "version": version.or_else(|| death.last.library.as_ref().map(|library| library.version.clone())),
        "ran_ms": noted.ran_ms,
        "request": noted.request,
        "statement": noted.statement,
        "stack": noted.stack,
        "stack_missing": noted.stack.is_none().then_some(why.without_stack),
    })
}

/// Extension of a report that is being written.
const PART: &str = "part";

/// Writes a report into the folder and gives its path. The oldest report goes when there are too many. A reader meets
/// whole reports only.
fn write(folder: &Path, name: &str, report: &Value) -> io::Result<PathBuf> {
    make_room(folder)?;
    // The time comes first, so that names sort by age.
    let path = folder.join(format!("{:013}-{name}.json", clock::realtime_ms()));
    let part = path.with_extension(PART);
    let mut options = fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    serde_json::to_writer_pretty(file, report)?;
    fs::rename(&part, &path)?;
    Ok(path)
}

/// Removes the oldest reports that are too many, and what a supervisor left that died while it wrote.
fn make_room(folder: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => names.push(path),
            Some(PART) => fs::remove_file(path)?,
            _ => {}
        }
    }
    names.sort_unstable();
    let excess = (names.len() + 1).saturating_sub(REPORTS_MAX);
    names.iter().take(excess).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests;
