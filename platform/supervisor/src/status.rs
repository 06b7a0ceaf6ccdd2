//! How the node is, as JSON for `status` and `service list`.

use std::collections::BTreeMap;

use gantry_message::{Queue, ServiceNumber};
use gantry_ring::{Blocks, Slots, State};
use gantry_segment::{Control, ProcessState, Role};
use gantry_sys::atomic::Ordering::{Acquire, Relaxed};
use gantry_sys::clock;
use gantry_sys::process::memory;
use gantry_sys::shm::{self, SegmentId};
use serde_json::{Value, json};

use crate::children::{Life, Place};
use crate::limits::LIBRARY_ROWS;
use crate::living::{LivingProcess, living_keepers, living_processes};
use crate::node_row::level_of;
use crate::run::{Phase, Supervisor};
use crate::shutdown::Drain;

/// Where a slot's flags have the kind of its service.
const KIND_SHIFT: u32 = 8;
/// The code of kind `read`.
const KIND_READ: u32 = 1;

impl Supervisor {
    /// The node in one word.
    pub(crate) fn state_word(&self) -> &'static str {
        match (&self.phase, self.drain) {
            (Phase::Preparing | Phase::Starting, _) => "starting",
            (Phase::Serving, Drain::None) => "serving",
            (Phase::Serving, Drain::Grace { .. }) => "draining",
            (Phase::Serving, Drain::Drained) => "drained",
            (Phase::Stopping(_) | Phase::Ended, _) => "stopping",
        }
    }

    /// The answer to `status`.
    pub(crate) fn status(&self) -> Value {
        let control = self.segments.control();
        let node = control.node();
        let counts = slot_counts(control);
        let waiting: Vec<Value> = self.places.iter().filter_map(vacancy).collect();
        let mut status = json!({
            "node": self.settings.node.name,
            "state": self.state_word(),
            "version": env!("CARGO_PKG_VERSION"),
            "configuration": self.settings.file.to_string_lossy(),
            "uptime_ms": clock::realtime_ms().saturating_sub(node.started_ms.load(Relaxed)),
            "cpu_load": f64::from(node.cpu_load_ppm.load(Relaxed)) / 1_000_000.0,
            "log_level": level_of(node.log_level.load(Relaxed)).map(gantry_settings::LogLevel::as_str),
            "generation": node.directory_generation.load(Acquire),
            "processes": self.processes(),
            "rings": [
                ring("read", node.read_queue_max.load(Relaxed), counts.queued_read),
                ring("write", node.write_queue_max.load(Relaxed), counts.queued_write),
            ],
            "slots": counts.to_json(),
            "connections": node.connections_open.load(Relaxed),
            "blocks": self.blocks(),
            "directory": self.directory(),
            "segments": self.segment_facts(),
            "counters": counters(control),
            "needs_restart": self.needs_restart,
            "executable": self.executable.to_string_lossy(),
            "upgrade": self.upgrade_state(),
            "segments_removed": self.are_segments_removed,
            "registry_fault": self.registry_fault.as_ref().map(|(reason, _)| reason),
        });
        if !waiting.is_empty() {
            status["waiting"] = Value::from(waiting);
        }
        status
    }

    fn processes(&self) -> Vec<Value> {
        let control = self.segments.control();
        let row = &control.processes()[0];
        let own = json!({
            "role": "supervisor",
            "queue": null,
            "row": 0,
            "pid": std::process::id(),
            "state": row.state().name(),
            "restarts": row.restarts.load(Relaxed),
            "service": null,
            "memory": memory_of(i32::try_from(std::process::id()).unwrap_or(0)),
        });
        // By kind, since a spare may have any row.
        let mut places: Vec<&Place> = self.places.iter().collect();
        places.sort_by_key(|place| (place.kind.role as u32, place.row));
        let children = places.into_iter().filter_map(|place| process(control, place));
        let keepers = living_keepers(control).into_iter().map(|keeper| of_keeper(keeper.pid));
        std::iter::once(own).chain(children).chain(keepers).collect()
    }

    fn blocks(&self) -> Vec<Value> {
        let control = self.segments.control();
        let classes = &control.dimensions().classes;
        let tags =
            classes.iter().enumerate().map(|(index, class)| (class.block_bytes, control.block_tags(index)));
        let blocks = Blocks::new(tags, Slots::new(control.slots()));
        let class = |(index, class): (usize, &gantry_segment::BlockClass)| {
            let taken = u8::try_from(index).map_or(0, |index| blocks.taken_count(index));
            json!({ "bytes": class.block_bytes, "count": class.blocks_count, "taken": taken })
        };
        classes.iter().enumerate().map(class).collect()
    }

    fn directory(&self) -> Value {
        let resident =
            shm::stat(&self.segments.handoff().directory).ok().and_then(|stat| stat.resident_bytes);
        let rows = self.segments.control().libraries().iter();
        let builds_count = rows.filter(|row| row.used.load(Relaxed) != 0).count();
        json!({
            "numbers": self.snapshot.services.len(),
            "builds": { "count": builds_count, "max": LIBRARY_ROWS },
            "resident_bytes": resident,
        })
    }

    fn segment_facts(&self) -> Vec<Value> {
        let handoff = self.segments.handoff();
        let named =
            [("control", &handoff.control), ("blocks", &handoff.blocks), ("directory", &handoff.directory)];
        named.into_iter().map(|(name, id)| segment(name, id)).collect()
    }

    /// The answer to `service list`.
    pub(crate) fn service_list(&self) -> Value {
        let control = self.segments.control();
        let rows = rows_by_number(control);
        let service = |service: &crate::snapshot::SnapshotService| {
            let row = rows.get(&service.number).map(|index| (*index, &control.services()[*index]));
            let mut facts = json!({
                "number": service.number,
                "name": service.name,
                "kind": service.kind,
                "library": service.library,
                "version": service.version,
                "build": service.build,
                "enabled": service.enabled,
                "quarantined": self.is_quarantined(service),
                "fallen_back": self.is_fallen_back(service),
                "canary": self.canary_of(service),
                "timeout_ms": row.map(|(_, row)| row.timeout_ms.load(Relaxed)),
                "idempotent": service.idempotent,
                "sources": service.sources,
                "rule": service.rule,
            });
            if let Some((index, _)) = row {
                add_statistics(control, index, &mut facts);
            }
            facts
        };
        self.snapshot.services.iter().map(service).collect()
    }

    /// Whether an earlier build serves it than the rest of its library.
    fn is_fallen_back(&self, service: &crate::snapshot::SnapshotService) -> bool {
        let mut libraries = self.snapshot.libraries.iter();
        libraries.any(|library| {
            library.active && library.name == service.library && library.build != service.build
        })
    }

    fn canary_of(&self, service: &crate::snapshot::SnapshotService) -> Option<Value> {
        let mut libraries = self.snapshot.libraries.iter().filter(|library| library.name == service.library);
        libraries.find_map(|library| {
            let share = f64::from(library.canary?.share_ppm) / 1_000_000.0;
            Some(json!({ "version": library.version, "build": library.build, "share": share }))
        })
    }

    /// Adds what the node knows of a service to what the registry says of it.
    pub(crate) fn add_counters(&self, number: ServiceNumber, facts: &mut Value) {
        let control = self.segments.control();
        let Some(index) = rows_by_number(control).get(&number).copied() else { return };
        let row = &control.services()[index];
        if facts.is_object() {
            if let Some(service) = self.snapshot.services.iter().find(|service| service.number == number) {
                facts["fallen_back"] = Value::from(self.is_fallen_back(service));
                facts["canary"] = Value::from(self.canary_of(service));
            }
            facts["timeout_ms"] = Value::from(row.timeout_ms.load(Relaxed));
            facts["quarantined"] = Value::from(row.quarantined.load(Relaxed) != 0);
            facts["in_flight"] = Value::from(row.in_flight.load(Relaxed));
            add_statistics(control, index, facts);
        }
    }
}

fn rows_by_number(control: &Control) -> BTreeMap<ServiceNumber, usize> {
    let rows = control.services().iter().enumerate();
    rows.filter_map(|(index, row)| {
        let number = ServiceNumber::new(row.number.load(Acquire)).ok()?;
        (number != ServiceNumber::ZERO).then_some((number, index))
    })
    .collect()
}

fn add_statistics(control: &Control, index: usize, facts: &mut Value) {
    let sum = |pick: fn(&gantry_segment::ServiceStatistics) -> u64| -> u64 {
        let threads = 0..control.dimensions().io_threads as usize;
        let both =
            |thread| [control.statistics(thread).get(index), control.canary_statistics(thread).get(index)];
        threads.flat_map(both).flatten().map(pick).sum()
    };
    let calls = sum(|row| row.calls.load(Relaxed));
    let latency_ns = sum(|row| row.latency_sum_ns.load(Relaxed));
    facts["calls"] = Value::from(calls);
    facts["errors"] = Value::from(sum(|row| row.errors.load(Relaxed)));
    facts["business_errors"] = Value::from(sum(|row| row.business_errors.load(Relaxed)));
    facts["refusals"] = Value::from(sum(|row| row.refusals.load(Relaxed)));
    facts["timeouts"] = Value::from(sum(|row| row.timeouts.load(Relaxed)));
    facts["latency_mean_us"] =
        latency_ns.checked_div(sum(|row| row.served())).map_or(Value::Null, |mean| Value::from(mean / 1_000));
}

fn process(control: &Control, place: &Place) -> Option<Value> {
    let running = place.running()?;
    let row = &control.processes()[usize::from(place.row)];
    let now_ns = clock::monotonic_ns();
    let state = match row.state() {
        // Between a death and its recovery, or before the child wrote its row.
        ProcessState::Free | ProcessState::Dead => ProcessState::Starting,
        state => state,
    };
    let service = row.running_service.load(Relaxed);
    let is_busy = state == ProcessState::Busy && service != 0;
    let since_ns = row.running_since_ns.load(Relaxed);
    Some(json!({
        "role": place.kind.word,
        "queue": place.kind.queue.map(Queue::name),
        "row": place.row,
        "pid": running.pid,
        "state": state.name(),
        "restarts": row.restarts.load(Relaxed),
        "service": is_busy.then_some(service),
        "running_ms": is_busy.then(|| now_ns.saturating_sub(since_ns) / 1_000_000),
        "requests": row.requests_count.load(Relaxed),
        "generation": row.generation_served.load(Relaxed),
        "versions_held": row.versions_held.load(Relaxed),
        "memory": memory_of(running.pid),
    }))
}

/// A keeper does nothing but hold sockets.
fn of_keeper(pid: i32) -> Value {
    json!({
        "role": "keeper",
        "queue": null,
        "row": null,
        "pid": pid,
        "state": "idle",
        "restarts": 0,
        "service": null,
        "memory": memory_of(pid),
    })
}

/// The processes of a node that live, as their rows tell; for commands that look at it while no supervisor answers.
#[must_use]
pub fn living_rows(control: &Control) -> Value {
    let row_of = |process: &LivingProcess| {
        if process.is_keeper {
            return of_keeper(process.pid);
        }
        let row = &control.processes()[usize::from(process.row)];
        let (word, queue) = match process.role {
            Role::Supervisor => ("supervisor", None),
            Role::Comm => ("comm", None),
            Role::ReadWorker => ("worker", Some(Queue::Read)),
            Role::WriteWorker => ("worker", Some(Queue::Write)),
            Role::Spare => ("spare", None),
            Role::None => ("process", None),
        };
        let service = row.running_service.load(Relaxed);
        let is_busy = row.state() == ProcessState::Busy && service != 0;
        json!({
            "role": word,
            "queue": queue.map(Queue::name),
            "row": process.row,
            "pid": process.pid,
            "state": row.state().name(),
            "restarts": row.restarts.load(Relaxed),
            "service": is_busy.then_some(service),
            "requests": row.requests_count.load(Relaxed),
        })
    };
    living_processes(control).iter().map(row_of).collect()
}

/// A place that waits to be filled.
fn vacancy(place: &Place) -> Option<Value> {
    let Life::Vacant { not_before_ns } = place.life else { return None };
    Some(json!({
        "role": place.kind.word,
        "queue": place.kind.queue.map(Queue::name),
        "row": place.row,
        "restart_in_ms": not_before_ns.saturating_sub(clock::monotonic_ns()) / 1_000_000,
        "early_deaths": place.back_off.early_deaths_count(),
    }))
}

fn memory_of(pid: i32) -> Value {
    memory(pid).map_or(Value::Null, |memory| {
        json!({ "rss_anon": memory.rss_anon, "rss_shmem": memory.rss_shmem, "rss_file": memory.rss_file })
    })
}

fn ring(name: &str, capacity: u32, used: usize) -> Value {
    json!({ "name": name, "capacity": capacity, "used": used })
}

fn segment(name: &str, id: &SegmentId) -> Value {
    match shm::stat(id) {
        Ok(stat) => json!({
            "name": name,
            "id": id.to_string(),
            "bytes": stat.bytes,
            "resident_bytes": stat.resident_bytes,
            "attached": stat.attached,
        }),
        Err(error) => json!({ "name": name, "id": id.to_string(), "error": error.to_string() }),
    }
}

/// The counters of all I/O threads together, in the order of the communication process's own list.
fn counters(control: &Control) -> Vec<u64> {
    let mut sums = vec![0_u64; control.threads().first().map_or(0, |thread| thread.counters.len())];
    for thread in control.threads() {
        for (sum, counter) in sums.iter_mut().zip(&thread.counters) {
            *sum = sum.wrapping_add(counter.load(Relaxed));
        }
    }
    sums
}

/// How many slots are in each state.
#[derive(Debug, Default, PartialEq, Eq)]
struct SlotCounts {
    by_state: [usize; 10],
    corrupt: usize,
    total: usize,
    queued_read: usize,
    queued_write: usize,
}

impl SlotCounts {
    fn of(&self, state: State) -> usize {
        self.by_state[state as usize]
    }

    fn to_json(&self) -> Value {
        json!({
            "total": self.total,
            "free": self.of(State::Free),
            "filling": self.of(State::Filling),
            "queued": self.of(State::Queued),
            "running": self.of(State::Running),
            "done": self.of(State::Done),
            "executed": self.of(State::Executed),
            "lost": self.of(State::Lost),
            "expired": self.of(State::Expired),
            "joined": self.of(State::Joined),
            "uncommitted": self.of(State::Uncommitted),
            "corrupt": self.corrupt,
        })
    }
}

fn slot_counts(control: &Control) -> SlotCounts {
    let slots = Slots::new(control.slots());
    let mut counts = SlotCounts { total: slots.count(), ..SlotCounts::default() };
    for (index, word) in slots.words() {
        let Some(state) = word.state() else {
            counts.corrupt += 1;
            continue;
        };
        counts.by_state[state as usize] += 1;
        if state == State::Queued {
            let flags = slots.row(index).map_or(0, |row| row.flags.load(Relaxed));
            let is_read = flags >> KIND_SHIFT & 0xff == KIND_READ;
            *(if is_read { &mut counts.queued_read } else { &mut counts.queued_write }) += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_ring::{Cursor, Owner};

    use crate::testing::small_dimensions;

    #[test]
    fn slots_are_counted_by_state_and_queued_ones_by_queue() {
        let control = Control::heap(small_dimensions()).unwrap();
        let slots = Slots::new(control.slots());
        let (comm, mut cursor) = (Owner::new(1, 1), Cursor::default());
        for flags in [KIND_READ << KIND_SHIFT, 2 << KIND_SHIFT, 3 << KIND_SHIFT | 5] {
            let slot = slots.claim(comm, &mut cursor).unwrap();
            slots.row(slot.index).unwrap().flags.store(flags, Relaxed);
            slots.publish(slot, comm).unwrap();
        }
        slots.claim(comm, &mut cursor).unwrap();
        let taken = slots.word(0).slot(0);
        slots.take(taken, Owner::new(2, 1)).unwrap();
        control.slots()[15].word.store(u64::MAX, Relaxed);
        let counts = slot_counts(&control);
        assert_eq!((counts.queued_read, counts.queued_write, counts.corrupt), (0, 2, 1));
        let json = counts.to_json();
        let figures =
            ["total", "free", "filling", "queued", "running", "done"].map(|name| json[name].as_u64());
        assert_eq!(figures, [16, 11, 1, 2, 1, 0].map(Some));
    }

    #[test]
    fn counters_and_statistics_are_sums_over_the_threads() {
        let control = Control::heap(small_dimensions()).unwrap();
        control.threads()[0].counters[3].store(5, Relaxed);
        control.threads()[1].counters[3].store(6, Relaxed);
        assert_eq!(counters(&control)[3], 11);
        control.services()[2].number.store(19_000_001, Relaxed);
        for thread in 0..2 {
            control.statistics(thread)[2].calls.store(2, Relaxed);
            control.statistics(thread)[2].latency_sum_ns.store(8_000_000, Relaxed);
        }
        let number = ServiceNumber::new(19_000_001).unwrap();
        assert_eq!(rows_by_number(&control), BTreeMap::from([(number, 2)]));
        let mut facts = json!({});
        add_statistics(&control, 2, &mut facts);
        assert_eq!((&facts["calls"], &facts["latency_mean_us"]), (&json!(4), &json!(4_000)));
        add_statistics(&control, 5, &mut facts);
        assert_eq!(facts["latency_mean_us"], Value::Null);
    }
}
