//! What a dying worker leaves: the signal that kills it, or that a service called `exit`, and the stack that it had.
//!
//! Only deaths that the worker itself notes count for quarantine, so a `kill -9` from outside never sets a service
//! aside. A worker that is told to end (SIGTERM) inside a service notes its stack too: when the service overran its
//! time-out, the KILL that follows leaves no other trace of where it hung.
//!
//! The hooks run in the middle of a crash: they load and store atomics and walk the stack, they never allocate or lock.
//! The death is noted first; should the walk itself fault or hang on a damaged stack, what was found until then stands.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use gantry_segment::{FrameNote, ProcessNote, ProcessRow, STACK_MODULES_MAX, StackEnd};
use gantry_sys::atomic::{AtomicBool, Ordering};
use gantry_sys::signal::{self, Interrupted};

use crate::WorkerError;
use crate::modules::{self, Module};

/// Bit of `ProcessRow::death_note`: the process ended by `exit` while a service was running.
const EXITED_INSIDE_A_SERVICE: u32 = 0x100;
/// What a stack has for a signal when the exit hook noted it.
const NO_SIGNAL: u32 = 0;

/// Whose hooks these are.
struct Own {
    row: &'static ProcessRow,
    note: &'static ProcessNote,
    /// The thread that runs services.
    thread: i32,
}

static OWN: OnceLock<Own> = OnceLock::new();
/// Whether the stack is being noted for a SIGTERM, after which the worker would go on.
static IS_WALKING: AtomicBool = AtomicBool::new(false);

/// Installs the hooks for this process, which keeps its row as long as it lives. Called on the thread that runs
/// services.
pub(crate) fn install(row: &'static ProcessRow, note: &'static ProcessNote) -> Result<(), WorkerError> {
    row.death_note.store(0, Ordering::Relaxed);
    note.clear();
    if OWN.set(Own { row, note, thread: signal::thread_id() }).is_err() {
        return Ok(());
    }
    modules::look();
    signal::warm_up_stack_walk();
    signal::on_fatal(note_signal).map_err(|cause| WorkerError::Hook { hook: "fatal-signal", cause })?;
    signal::on_terminate(note_terminate).map_err(|cause| WorkerError::Hook { hook: "SIGTERM", cause })?;
    signal::on_exit(note_exit).map_err(|cause| WorkerError::Hook { hook: "exit", cause })
}

fn note_signal(interrupted: &Interrupted) {
    let Some(own) = OWN.get() else { return };
    if IS_WALKING.load(Ordering::SeqCst) {
        // Not the service's fault: it was its stack, or what the unwinder made of it, that could not be read.
        return own.note.end_stack(StackEnd::Faulted);
    }
    own.row.death_note.store(interrupted.signal as u32 & 0xff, Ordering::SeqCst);
    note_stack(own, interrupted);
}

fn note_terminate(interrupted: &Interrupted) {
    let Some(own) = OWN.get() else { return };
    let is_inside_a_service = own.row.running_slot.load(Ordering::SeqCst) != 0;
    // Another thread's stack says nothing of the service.
    if !is_inside_a_service || interrupted.thread != own.thread {
        return;
    }
    IS_WALKING.store(true, Ordering::SeqCst);
    note_stack(own, interrupted);
    IS_WALKING.store(false, Ordering::SeqCst);
}

extern "C" fn note_exit() {
    let Some(own) = OWN.get() else { return };
    if own.row.running_slot.load(Ordering::SeqCst) == 0 {
        return;
    }
    own.row.death_note.fetch_or(EXITED_INSIDE_A_SERVICE, Ordering::SeqCst);
    own.note.begin_stack(own.row.running_slot.load(Ordering::SeqCst), NO_SIGNAL);
    let mut frames = Frames::new(own.note);
    let ended = signal::walk_own_stack(&mut |address| frames.push(address));
    frames.end(ended);
}

fn note_stack(own: &Own, interrupted: &Interrupted) {
    own.note.begin_stack(own.row.running_slot.load(Ordering::SeqCst), interrupted.signal as u32);
    let mut frames = Frames::new(own.note);
    let first = frames.push(interrupted.address);
    let ended = if modules::of(interrupted.address).is_some() {
        interrupted.walk_callers(&mut |address| frames.push(address))
    } else {
        // It jumped to where no code is, and the unwinder would read there. Where it came from is on its stack.
        match interrupted.return_address() {
            Some(address) => frames.push(address.saturating_sub(1)),
            None => first,
        }
    };
    frames.end(ended);
}

/// Frames on their way into a note.
struct Frames<'a> {
    note: &'a ProcessNote,
    /// The modules that the note has, by their places in it.
    noted: [Option<&'static Module>; STACK_MODULES_MAX],
}

impl<'a> Frames<'a> {
    fn new(note: &'a ProcessNote) -> Self {
        Self { note, noted: [None; STACK_MODULES_MAX] }
    }

    fn push(&mut self, address: usize) -> ControlFlow<()> {
        let found = modules::of(address);
        let place = found.and_then(|module| self.place_of(module));
        let offset = match (found, place) {
            (Some(module), Some(_)) => module.offset(address),
            _ => address,
        };
        let frame = FrameNote { module: place, offset: offset as u64 };
        if self.note.push_frame(frame) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn place_of(&mut self, module: &'static Module) -> Option<u8> {
        let is_it = |noted: &Option<&Module>| noted.is_some_and(|noted| std::ptr::eq(noted, module));
        if let Some(place) = self.noted.iter().position(is_it) {
            return u8::try_from(place).ok();
        }
        let place = self.note.push_module(module.path(), module.build())?;
        *self.noted.get_mut(usize::from(place))? = Some(module);
        Some(place)
    }

    fn end(&self, ended: ControlFlow<()>) {
        self.note.end_stack(if ended.is_break() { StackEnd::Cut } else { StackEnd::Whole });
    }
}
