//! Finding or making the segments of a node when its supervisor starts.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use gantry_ring::{Owner, Recovered, Slots, State, recover_worker};
use gantry_segment::{Backend, BlockClass, Control, Dimensions, Found, ProcessState, SegmentError, Segments};
use gantry_settings::{IpcBackend, Settings};
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;

use crate::limits::{LIBRARY_ROWS, PROCESS_ROWS_SPARE};
use crate::{SupervisorError, living_processes};

/// Rows of the process table that are not workers': the supervisor's and the communication process's.
pub(crate) const FIXED_ROWS: u32 = 2;

/// Where the configuration wants the segments.
#[must_use]
pub fn backend(settings: &Settings) -> Backend {
    match settings.ipc.backend {
        IpcBackend::SysV => Backend::SysV { key: settings.ipc.key },
        IpcBackend::Posix => Backend::Posix,
    }
}

/// The sizes that a configuration asks for.
#[must_use]
pub fn dimensions(settings: &Settings) -> Dimensions {
    let rows = FIXED_ROWS + settings.workers.read + settings.workers.write + PROCESS_ROWS_SPARE;
    let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
    Dimensions {
        slots: settings.ipc.slots,
        processes: rows.min(gantry_segment::PROCESSES_MAX),
        io_threads: settings.comm.threads,
        connections: settings.comm.connections_max,
        receive_buffers: settings.comm.receive_buffers,
        receive_buffer_bytes: bytes(settings.comm.receive_buffer),
        out_records: settings.comm.out_records,
        services: settings.ipc.services_max,
        libraries: LIBRARY_ROWS,
        window_entries: settings.idempotency.entries.next_multiple_of(8),
        classes: settings
            .ipc
            .blocks
            .iter()
            .map(|class| BlockClass { block_bytes: bytes(class.size), blocks_count: class.count })
            .collect(),
    }
}

/// Requests that were accepted and whose processing is not over, so that a next start would go on with them.
#[must_use]
pub fn unprocessed_count(control: &Control) -> usize {
    let slots = Slots::new(control.slots());
    let is_open =
        |state| matches!(state, Some(State::Queued | State::Running | State::Executed | State::Uncommitted));
    slots.words().filter(|(_, word)| is_open(word.state())).count()
}

/// Removes the segments of a node that is over, unless accepted requests wait in them for the next start.
pub(crate) fn remove_unless_needed(segments: &Segments) -> Result<(), SupervisorError> {
    let unprocessed_count = unprocessed_count(segments.control());
    if unprocessed_count == 0 {
        return Ok(segments.remove()?);
    }
    tracing::warn!(
        unprocessed_count,
        "accepted requests are left; the segments stay, and the next start goes on with them (`gantry stop --now` gives \
         them up)"
    );
    Ok(())
}

/// Requests that wait for a worker.
pub(crate) fn queued_count(control: &Control) -> usize {
    Slots::new(control.slots()).words().filter(|(_, word)| word.is(State::Queued)).count()
}

/// Finds the node's segments and goes on with what is in them, or makes new ones.
pub(crate) fn open(settings: &Settings) -> Result<Segments, SupervisorError> {
    let (backend, name, wanted) = (backend(settings), &settings.node.name, dimensions(settings));
    match Segments::find(backend, name, &wanted) {
        Ok(Found::Nothing) => {}
        Ok(Found::Ours(segments)) => {
            refuse_living(name, segments.control())?;
            let recovered = recover_all(segments.control());
            let queued_count = queued_count(segments.control());
            tracing::warn!(
                queued_count,
                lost_count = recovered.lost_count,
                uncommitted_count = recovered.uncommitted_count,
                "segments of an earlier start found; going on with what is in them"
            );
            return Ok(*segments);
        }
        Err(cause @ SegmentError::OtherSizes { .. }) => remove_unused(settings, cause)?,
        Err(error) => return Err(error.into()),
    }
    Ok(Segments::create(backend, name, &wanted, random(), clock::realtime_ms())?)
}

/// Removes segments of other sizes if nobody lives on them and no accepted request is inside.
fn remove_unused(settings: &Settings, cause: SegmentError) -> Result<(), SupervisorError> {
    let (backend, name) = (backend(settings), &settings.node.name);
    if let Some(handoff) = Segments::look_up(backend, name)? {
        let old = Segments::attach(&handoff)?;
        refuse_living(name, old.control())?;
        let requests_count = unprocessed_count(old.control());
        if requests_count > 0 {
            let (name, cause) = (name.clone(), Box::new(cause));
            return Err(SupervisorError::WorkInside { name, requests_count, cause });
        }
    }
    tracing::warn!(%cause, "segments of other sizes are empty; they are made anew");
    Segments::remove_all(backend, name)?;
    Ok(())
}

fn refuse_living(name: &str, control: &Control) -> Result<(), SupervisorError> {
    let living = living_processes(control);
    if living.is_empty() {
        return Ok(());
    }
    let processes = living.iter().map(crate::LivingProcess::name).collect();
    Err(SupervisorError::StillRunning { name: name.to_owned(), processes })
}

/// Recovers what every process of the table held. Only called when all of them are dead, so every owner that a slot
/// names is dead too, also one whose row has gone on to a later life.
pub(crate) fn recover_all(control: &Control) -> Recovered {
    let slots = Slots::new(control.slots());
    let holds = |state| matches!(state, Some(State::Running | State::Executed));
    let owners: BTreeSet<(u8, u32)> = slots
        .words()
        .filter(|(_, word)| holds(word.state()))
        .map(|(_, word)| (word.owner().row(), word.owner().epoch()))
        .collect();
    let mut sum = Recovered::default();
    for (row, epoch) in owners {
        let recovered = recover_worker(slots, Owner::new(row, epoch));
        sum.lost_count += recovered.lost_count;
        sum.uncommitted_count += recovered.uncommitted_count;
    }
    for row in control.processes() {
        // Whoever was started for it and comes late finds it closed.
        let _is_closed = row.end_life(row.life());
        row.set_state(ProcessState::Free);
    }
    for thread in control.threads() {
        thread.sweep.store(1, Ordering::Release);
    }
    sum
}

/// A number that no other making of segments has: the standard library seeds its hashers from the kernel.
fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(clock::monotonic_ns());
    hasher.write_u32(std::process::id());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_ring::Cursor;
    use std::path::Path;

    use crate::testing::small_dimensions;

    #[test]
    fn sizes_of_the_defaults_can_be_laid_out() {
        let settings = Settings::from_text("", Path::new("/tmp/gantry.toml")).unwrap();
        let dimensions = dimensions(&settings);
        dimensions.check().unwrap();
        assert_eq!(dimensions.processes, 2 + settings.workers.read + settings.workers.write + 8);
        assert_eq!(dimensions.slots, settings.ipc.slots);
        assert_eq!(dimensions.classes.len(), settings.ipc.blocks.len());
    }

    #[test]
    fn sizes_of_the_largest_configuration_can_be_laid_out() {
        let text =
            "[workers]\nread = 120\nwrite = 120\n[idempotency]\nentries = 1008\n[ipc]\nslots = 65536\n";
        let settings = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let dimensions = dimensions(&settings);
        dimensions.check().unwrap();
        assert_eq!((dimensions.processes, dimensions.window_entries), (250, 1008));
    }

    #[test]
    fn recovery_of_all_takes_what_every_dead_owner_held_and_leaves_what_waits() {
        let control = Control::heap(small_dimensions()).unwrap();
        let slots = Slots::new(control.slots());
        let comm = Owner::new(1, 7);
        let mut cursor = Cursor::default();
        let mut published = Vec::new();
        for _ in 0..3 {
            let slot = slots.claim(comm, &mut cursor).unwrap();
            slots.publish(slot, comm).unwrap();
            published.push(slot);
        }
        // The row's present life is 9; the slot was taken in life 4, which nobody recovered.
        control.processes()[2].begin_life(9);
        control.processes()[2].set_state(ProcessState::Busy);
        slots.take(published[0], Owner::new(2, 4)).unwrap();
        slots.take(published[1], Owner::new(3, 1)).unwrap();
        slots.execute(published[1], Owner::new(3, 1)).unwrap();
        let recovered = recover_all(&control);
        assert_eq!((recovered.lost_count, recovered.uncommitted_count), (1, 1));
        assert!(slots.word(published[0].index).is(State::Lost));
        assert!(slots.word(published[1].index).is(State::Uncommitted));
        assert!(slots.word(published[2].index).is(State::Queued));
        assert_eq!((queued_count(&control), unprocessed_count(&control)), (1, 2));
        assert_eq!(control.processes()[2].state(), ProcessState::Free);
        assert!(control.threads().iter().all(|thread| thread.sweep.load(Ordering::Relaxed) == 1));
        assert_eq!(recover_all(&control), Recovered::default());
    }
}
