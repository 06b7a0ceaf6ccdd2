//! Which workers serve what was changed, and which still serve what was there before.

use gantry_message::ServiceNumber;
use gantry_segment::{Control, LibraryFacts, library_bit};
use gantry_sys::atomic::Ordering::{Acquire, Relaxed};
use serde_json::{Value, json};

use crate::children::Place;
use crate::snapshot::Snapshot;

/// What workers have to serve until a change is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) generation: u64,
    /// Rows of the library table that must have been loaded, as in `ProcessRow::failed_libraries`.
    pub(crate) libraries: u64,
}

impl Goal {
    /// That a generation is served, and of the builds in it those of the library of this name.
    pub(crate) fn new(control: &Control, generation: u64, library: &str) -> Self {
        let rows = control.libraries().iter().zip(0..);
        let of_it = rows.filter(|(row, _)| row.read().is_some_and(|facts| facts.name == library));
        Self { generation, libraries: of_it.fold(0, |bits, (_, row)| bits | library_bit(row)) }
    }
}

/// What a worker serves.
struct Serving {
    name: &'static str,
    pid: i32,
    generation: u64,
    /// Libraries of it that it could not load.
    failed: u64,
    /// It serves builds that are out of force.
    serves_former: bool,
    /// The service that it runs now.
    running: Option<ServiceNumber>,
    /// The library of that.
    running_library: Option<LibraryFacts>,
}

impl Serving {
    fn has_reached(&self, goal: Goal) -> bool {
        self.generation >= goal.generation && self.failed & goal.libraries == 0
    }
}

/// Whether every worker that is ready has reached a goal. Those that are just starting will begin with it.
pub(crate) fn is_served_by_all(control: &Control, places: &[Place], goal: Goal) -> bool {
    serving(control, places).all(|worker| worker.has_reached(goal))
}

/// Whether no worker serves anything but what was published last.
pub(crate) fn is_former_free(control: &Control, places: &[Place]) -> bool {
    let generation = control.node().directory_generation.load(Acquire);
    serving(control, places).all(|worker| worker.generation >= generation && !worker.serves_former)
}

/// Whether there are workers, all have looked at what was published last, and none of them can load the library in this
/// row.
pub(crate) fn is_loaded_by_none(control: &Control, places: &[Place], row: u32) -> bool {
    let generation = control.node().directory_generation.load(Acquire);
    let mut workers = serving(control, places).peekable();
    workers.peek().is_some()
        && workers.all(|worker| worker.generation >= generation && worker.failed & library_bit(row) != 0)
}

/// What was changed, with the workers that serve it and those that do not yet. A worker changes between two requests, so
/// one that serves the generation has none left that runs on what was before.
pub(crate) fn receipt(control: &Control, places: &[Place], goal: Goal, result: &Value) -> Value {
    let mut is_in_force = true;
    let workers: Vec<Value> = serving(control, places)
        .map(|worker| {
            let serves = worker.has_reached(goal);
            is_in_force &= serves;
            let build = if serves { &result["build"] } else { &Value::Null };
            let running = worker.running.filter(|_| !serves);
            let is_older = worker.running_library.is_some_and(|library| {
                result["library"] == *library.name && result["build"] != *library.build
            });
            json!({
                "worker": worker.name,
                "pid": worker.pid,
                "in_force": serves,
                "generation": worker.generation,
                "build": build,
                "requests_on_older": u32::from(running.is_some() && is_older),
                "running": running,
                "cannot_load": worker.generation >= goal.generation && !serves,
            })
        })
        .collect();
    let mut receipt = result.clone();
    if let Some(receipt) = receipt.as_object_mut() {
        receipt.insert("in_force".to_owned(), is_in_force.into());
        receipt.insert("workers".to_owned(), workers.into());
    }
    receipt
}

/// The build of its library that came into force in place of the one that a change put there.
pub(crate) fn replaced_by(snapshot: &Snapshot, result: &Value) -> Option<String> {
    let (library, build) = (result["library"].as_str()?, result["build"].as_str()?);
    let builds = || snapshot.libraries.iter().filter(|known| known.name == library);
    if builds().any(|known| known.build == build && (known.active || known.canary.is_some())) {
        return None;
    }
    let active = builds().find(|known| known.active);
    Some(active.map_or_else(
        || format!("no build of {library}"),
        |active| format!("{} (build {})", active.version, active.build.get(..12).unwrap_or(&active.build)),
    ))
}

/// The workers that a receipt calls late, in words.
pub(crate) fn late(receipt: &Value) -> String {
    let workers = receipt["workers"].as_array().into_iter().flatten();
    let late = workers.filter(|worker| worker["in_force"] == false);
    let words = late.map(|worker| {
        let (name, pid) = (worker["worker"].as_str().unwrap_or("-"), &worker["pid"]);
        match worker["running"].as_u64() {
            _ if worker["cannot_load"] == true => format!("{name} {pid} (cannot load it; see its log)"),
            Some(number) => format!("{name} {pid} (running {number:08})"),
            None => format!("{name} {pid}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

fn serving(control: &Control, places: &[Place]) -> impl Iterator<Item = Serving> {
    let workers = places.iter().filter(|place| place.kind.is_worker() && place.is_ready());
    workers.filter_map(|place| {
        let row = control.processes().get(usize::from(place.row))?;
        let number = row.running_service.load(Relaxed);
        let library = row.running_library.load(Relaxed).checked_sub(1);
        Some(Serving {
            name: place.kind.name,
            pid: place.running()?.pid,
            // Acquire: pairs with the worker's store after it adopted.
            generation: row.generation_served.load(Acquire),
            failed: row.failed_libraries.load(Relaxed),
            serves_former: row.serves_former.load(Relaxed) != 0,
            running: ServiceNumber::new(number).ok().filter(|_| number != 0),
            running_library: library.and_then(|library| control.libraries().get(library as usize)?.read()),
        })
    })
}
