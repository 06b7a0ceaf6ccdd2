//! Finding or making the segments of a node when its supervisor starts.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use gantry_ring::{Owner, Recovered, Slots, State, recover_worker};
use gantry_segment::{Backend, BlockClass, Control, Dimensions, ProcessState, Role, SegmentError, Segments};
use gantry_settings::{IpcBackend, Settings};
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;
use gantry_sys::shm::ShmCause;

use crate::limits::{KILL_LIMIT, LIBRARY_ROWS, PROCESS_ROWS_SPARE};
use crate::living::{LivingProcess, children_of, end_processes, living_processes};
use crate::{SupervisorError, folder};

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

/// Whether somebody removed the segments while the node lives on them (`ipcrm`, `RemoveIPC` of systemd-logind). Those
/// who are attached go on, and by their ids others can still join them; nobody finds them by key.
#[must_use]
pub fn are_removed(segments: &Segments) -> bool {
    gantry_sys::shm::stat(&segments.handoff().control).map_or(true, |stat| stat.marked_for_removal)
}

/// Removes the segments of a node that is over, unless accepted requests wait in them for the next start.
pub(crate) fn remove_unless_needed(segments: &Segments) -> Result<bool, SupervisorError> {
    let unprocessed_count = unprocessed_count(segments.control());
    if unprocessed_count == 0 {
        return remove(segments).map(|()| true);
    }
    if are_removed(segments) {
        tracing::error!(
            unprocessed_count,
            "accepted requests are lost: the segments were removed under the node, so no next start can find them"
        );
        return Ok(true);
    }
    tracing::warn!(
        unprocessed_count,
        "accepted requests are left; the segments stay, and the next start goes on with them (`gantry stop --now` gives \
         them up)"
    );
    Ok(false)
}

/// Removes the segments, if somebody else has not done so.
pub(crate) fn remove(segments: &Segments) -> Result<(), SupervisorError> {
    match segments.remove() {
        Err(error) if !matches!(error.cause, ShmCause::Missing | ShmCause::Removed) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Requests that wait for a worker.
pub(crate) fn queued_count(control: &Control) -> usize {
    Slots::new(control.slots()).words().filter(|(_, word)| word.is(State::Queued)).count()
}

/// The segments of a node and who lives on them.
pub(crate) struct Opened {
    pub(crate) segments: Segments,
    /// The communication process and workers.
    pub(crate) children: Vec<LivingProcess>,
    /// Who holds the sockets of communication processes.
    pub(crate) keepers: Vec<LivingProcess>,
}

/// The node's segments, as a command that looks at it from outside finds them: by the ids that the supervisor wrote down,
/// if anybody lives there, else by their key. `None` when there are none.
///
/// # Errors
/// What lies under the key cannot be read.
pub fn find_segments(settings: &Settings) -> Result<Option<Segments>, SegmentError> {
    if let Some(segments) = noted_and_living(settings) {
        return Ok(Some(segments));
    }
    let handoff = Segments::look_up(backend(settings), &settings.node.name)?;
    handoff.as_ref().map(Segments::attach).transpose()
}

/// The segments that the last supervisor wrote down, if processes of the node live on them. This is how they are found
/// when somebody removed them, and made others under their key or did not.
fn noted_and_living(settings: &Settings) -> Option<Segments> {
    let segments = Segments::attach(&folder::noted_segments(settings)?).ok()?;
    let is_ours = segments.control().header().node_name() == settings.node.name;
    let is_lived_on = || living_processes(segments.control()).iter().any(|process| !process.is_keeper);
    (is_ours && is_lived_on()).then_some(segments)
}

/// Finds the node's segments and goes on with what is in them and who lives on them, or makes new ones.
pub(crate) fn open(settings: &Settings) -> Result<Opened, SupervisorError> {
    end_the_unreachable(settings)?;
    let opened = match find(settings)? {
        Some(opened) => opened,
        None => {
            let (backend, name, wanted) = (backend(settings), &settings.node.name, dimensions(settings));
            let segments = Segments::create(backend, name, &wanted, random(), clock::realtime_ms())?;
            Opened { segments, children: Vec::new(), keepers: Vec::new() }
        }
    };
    folder::note_segments(settings, opened.segments.handoff())?;
    Ok(opened)
}

/// Ends processes of the node that live on segments which nobody can join any more: POSIX objects have only their names,
/// and somebody removed those. They hold the node's sockets, and what is inside is lost with them.
fn end_the_unreachable(settings: &Settings) -> Result<(), SupervisorError> {
    let Some(handoff) = folder::noted_segments(settings) else { return Ok(()) };
    let is_gone = |error: &SegmentError| {
        matches!(error, SegmentError::System { cause, .. }
            if matches!(cause.cause, ShmCause::Missing | ShmCause::Removed))
    };
    if !Segments::attach(&handoff).is_err_and(|error| is_gone(&error)) {
        return Ok(());
    }
    let left = children_of(&handoff.to_string());
    if !left.is_empty() {
        tracing::error!(
            processes_count = left.len(),
            "the segments were removed, and processes of the earlier supervisor live where no other can join them; they are \
             ended, and accepted requests are lost"
        );
        end_processes(&left, KILL_LIMIT)?;
    }
    Ok(())
}

/// What there is to go on with; `None` when there is nothing, or nothing any more.
fn find(settings: &Settings) -> Result<Option<Opened>, SupervisorError> {
    let (backend, name) = (backend(settings), &settings.node.name);
    let Some(segments) = find_segments(settings)? else { return Ok(None) };
    let header = segments.control().header();
    if header.node_name() != *name {
        let (id, found) = (segments.handoff().control.to_string(), header.node_name());
        return Err(SegmentError::OtherNode { what: "control", id, found, wanted: name.clone() }.into());
    }
    let is_supervisor = |process: &LivingProcess| process.role == Role::Supervisor;
    if let Some(supervisor) = living_processes(segments.control()).into_iter().find(is_supervisor) {
        // It has the lock of another state folder.
        return Err(SupervisorError::Supervised { name: name.clone(), pid: supervisor.pid });
    }
    let living = close_the_dead(segments.control());
    let (keepers, children): (Vec<_>, Vec<_>) = living.into_iter().partition(|process| process.is_keeper);
    if let Some(cause) = size_that_differs(&segments, settings)
        && children.is_empty()
    {
        let requests_count = unprocessed_count(segments.control());
        if requests_count > 0 {
            return Err(SupervisorError::WorkInside {
                name: name.clone(),
                requests_count,
                cause: Box::new(cause),
            });
        }
        tracing::warn!(%cause, "segments of other sizes are empty; they are made anew");
        end_processes(&keepers, KILL_LIMIT)?;
        Segments::remove_all(backend, name)?;
        return Ok(None);
    }
    let recovered = recover_dead(segments.control(), &children);
    let names: Vec<String> = children.iter().chain(&keepers).map(LivingProcess::name).collect();
    tracing::warn!(
        living = names.join(", "),
        queued_count = queued_count(segments.control()),
        lost_count = recovered.lost_count,
        uncommitted_count = recovered.uncommitted_count,
        "segments of an earlier start found; going on with what is in them"
    );
    Ok(Some(Opened { segments, children, keepers }))
}

/// The first size in which the segments differ from what the configuration asks for.
fn size_that_differs(segments: &Segments, settings: &Settings) -> Option<SegmentError> {
    let found = segments.control().dimensions();
    let Difference { field, found, wanted, .. } =
        differences(found, &dimensions(settings)).into_iter().next()?;
    let id = segments.handoff().control.to_string();
    Some(SegmentError::OtherSizes { what: "control", id, field, found, wanted })
}

/// Keys of the configuration that ask for other sizes than the segments have. They wait for a restart, since nobody who
/// lives there can be moved.
pub(crate) fn waiting_keys(control: &Control, settings: &Settings) -> Vec<String> {
    let differences = differences(control.dimensions(), &dimensions(settings));
    differences.into_iter().map(|difference| difference.key.to_owned()).collect()
}

/// A size of which the configuration asks for another.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    key: &'static str,
    field: &'static str,
    found: u64,
    wanted: u64,
}

/// Rows of the process table beyond those that are needed are no difference.
fn differences(found: &Dimensions, wanted: &Dimensions) -> Vec<Difference> {
    let figures = [
        ("ipc.slots", "slots", found.slots, wanted.slots),
        ("workers", "processes", found.processes.min(wanted.processes), wanted.processes),
        ("comm.threads", "io_threads", found.io_threads, wanted.io_threads),
        ("comm.connections_max", "connections", found.connections, wanted.connections),
        ("comm.receive_buffers", "receive_buffers", found.receive_buffers, wanted.receive_buffers),
        (
            "comm.receive_buffer",
            "receive_buffer_bytes",
            found.receive_buffer_bytes,
            wanted.receive_buffer_bytes,
        ),
        ("comm.out_records", "out_records", found.out_records, wanted.out_records),
        ("ipc.services_max", "services", found.services, wanted.services),
        ("ipc.services_max", "libraries", found.libraries, wanted.libraries),
        ("idempotency.entries", "window_entries", found.window_entries, wanted.window_entries),
    ];
    let mut differences: Vec<Difference> = figures
        .into_iter()
        .filter(|(_, _, found, wanted)| found != wanted)
        .map(|(key, field, found, wanted)| Difference {
            key,
            field,
            found: u64::from(found),
            wanted: u64::from(wanted),
        })
        .collect();
    if found.classes != wanted.classes {
        let total = |dimensions: &Dimensions| -> u64 {
            dimensions.classes.iter().map(|c| u64::from(c.block_bytes) * u64::from(c.blocks_count)).sum()
        };
        let (found, wanted) = (total(found), total(wanted));
        differences.push(Difference { key: "ipc.blocks", field: "bytes of all blocks", found, wanted });
    }
    differences
}

/// Who lives on the segments. All other rows are closed: a child that an earlier supervisor started, and that has not
/// taken its life yet, finds it refused and ends.
fn close_the_dead(control: &Control) -> Vec<LivingProcess> {
    loop {
        let living = living_processes(control);
        let lives = lives_of(&living);
        let mut is_anybody_late = false;
        // The supervisor's own row is its own to write, and still tells what the one before it was doing.
        for (index, row) in (0..=u8::MAX).zip(control.processes()).skip(1) {
            let life = row.life();
            if lives.contains(&(index, life.epoch)) {
                continue;
            }
            if !row.end_life(life) && row.pid().is_some() {
                // It took its life between the two looks; each child can do that once.
                is_anybody_late = true;
                continue;
            }
            row.kill_at_ns.store(0, Ordering::Relaxed);
            row.set_state(ProcessState::Free);
        }
        if !is_anybody_late {
            return living;
        }
    }
}

/// Rows and life numbers.
fn lives_of(living: &[LivingProcess]) -> BTreeSet<(u8, u32)> {
    living.iter().filter(|process| !process.is_keeper).map(|process| (process.row, process.epoch)).collect()
}

/// Recovers what everybody held who is not among the living, also in earlier lives of their rows. May be killed anywhere
/// and run again.
pub(crate) fn recover_dead(control: &Control, living: &[LivingProcess]) -> Recovered {
    let lives = lives_of(living);
    let slots = Slots::new(control.slots());
    let holds = |state| matches!(state, Some(State::Running | State::Executed));
    let dead: BTreeSet<(u8, u32)> = slots
        .words()
        .filter(|(_, word)| holds(word.state()))
        .map(|(_, word)| (word.owner().row(), word.owner().epoch()))
        .filter(|owner| !lives.contains(owner))
        .collect();
    let mut sum = Recovered::default();
    for (row, epoch) in dead {
        let recovered = recover_worker(slots, Owner::new(row, epoch));
        sum.lost_count += recovered.lost_count;
        sum.uncommitted_count += recovered.uncommitted_count;
    }
    for thread in control.threads() {
        // Release: pairs with the Acquire of the thread that takes the flag; the recovered words are seen.
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
    fn sizes_that_differ_are_named_by_their_key_and_rows_to_spare_are_none() {
        let found = small_dimensions();
        let keys = |wanted: &Dimensions| -> Vec<&str> {
            differences(&found, wanted).iter().map(|difference| difference.key).collect()
        };
        assert!(keys(&Dimensions { processes: 5, ..found.clone() }).is_empty());
        assert_eq!(keys(&Dimensions { processes: 9, slots: 17, ..found.clone() }), ["ipc.slots", "workers"]);
        // The same bytes in other classes.
        let classes = vec![BlockClass { block_bytes: 2048, blocks_count: 8 }];
        assert_eq!(keys(&Dimensions { classes, ..found.clone() }), ["ipc.blocks"]);
    }

    #[test]
    fn what_the_living_hold_stays_theirs_and_what_their_rows_held_before_is_lost() {
        let control = Control::heap(small_dimensions()).unwrap();
        let slots = Slots::new(control.slots());
        let (comm, mut cursor) = (Owner::new(1, 7), Cursor::default());
        let mut take = |owner: Owner| {
            let slot = slots.claim(comm, &mut cursor).unwrap();
            slots.publish(slot, comm).unwrap();
            slots.take(slot, owner).unwrap();
            slot.index
        };
        // Row 2 lives its third life and held something in its second; row 3 was begun and nobody took it.
        let (alive, before) = (take(Owner::new(2, 3)), take(Owner::new(2, 2)));
        let (pid, own) = (std::process::id(), i32::try_from(std::process::id()).unwrap());
        control.processes()[2].begin_life(3);
        control.processes()[2].take_life(3, pid).unwrap();
        control.processes()[2].set_state(ProcessState::Busy);
        let living = LivingProcess {
            row: 2,
            epoch: 3,
            role: Role::ReadWorker,
            is_keeper: false,
            pid: own,
            pidfd: gantry_sys::process::PidFd::open(own).unwrap(),
        };
        let recovered = recover_dead(&control, std::slice::from_ref(&living));
        assert_eq!((recovered.lost_count, recovered.uncommitted_count), (1, 0));
        assert!(slots.word(alive).is(State::Running) && slots.word(before).is(State::Lost));
        assert_eq!(
            (control.processes()[2].pid(), control.processes()[2].state()),
            (Some(pid), ProcessState::Busy)
        );
        assert_eq!(recover_dead(&control, &[living]), Recovered::default());
    }

    #[test]
    fn a_child_that_comes_late_finds_its_life_closed() {
        let control = Control::heap(small_dimensions()).unwrap();
        let row = &control.processes()[3];
        row.set_state(ProcessState::Starting);
        row.begin_life(5);
        for _ in 0..2 {
            assert!(close_the_dead(&control).is_empty());
            assert_eq!(row.state(), ProcessState::Free);
            assert!(row.take_life(5, 4711).is_err());
        }
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
        assert!(close_the_dead(&control).is_empty());
        let recovered = recover_dead(&control, &[]);
        assert_eq!((recovered.lost_count, recovered.uncommitted_count), (1, 1));
        assert!(slots.word(published[0].index).is(State::Lost));
        assert!(slots.word(published[1].index).is(State::Uncommitted));
        assert!(slots.word(published[2].index).is(State::Queued));
        assert_eq!((queued_count(&control), unprocessed_count(&control)), (1, 2));
        assert_eq!(control.processes()[2].state(), ProcessState::Free);
        assert!(control.threads().iter().all(|thread| thread.sweep.load(Ordering::Relaxed) == 1));
        assert_eq!(recover_dead(&control, &[]), Recovered::default());
    }
}
