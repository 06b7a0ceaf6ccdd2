//! From a snapshot of the registry to the tables that all processes read.
//!
//! The order is library rows, service rows, directory, generation: whoever sees a number finds its rows written, and
//! workers adopt when they see the generation. A death in between leaves the old generation in force, and the next
//! supervisor publishes everything again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;

use gantry_message::{Policy, ServiceNumber};
use gantry_segment::{Control, DirectoryEntry, LibraryFacts, LibraryRow, ServiceRow};
use gantry_sys::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::PublishError;
use crate::snapshot::{Snapshot, SnapshotLibrary, SnapshotService};

/// Bit of `ServiceRow::flags`: running it twice harms nobody.
const FLAG_IDEMPOTENT: u32 = 1;
/// Bit of `ServiceRow::flags`: it uses a data source.
const FLAG_SOURCES: u32 = 2;

/// What holds for services that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Time-out in milliseconds.
    pub(crate) timeout_ms: u32,
    /// What follows a time-out.
    pub(crate) policy: Policy,
}

/// Publishes a snapshot and gives the generation that workers have to reach. `enter` writes the directory.
///
/// Nothing is changed when the snapshot does not fit.
pub(crate) fn publish(
    control: &Control,
    snapshot: &Snapshot,
    defaults: Defaults,
    mut enter: impl FnMut(ServiceNumber, Option<DirectoryEntry>),
) -> Result<u64, PublishError> {
    let plan = plan(control, snapshot)?;
    for (index, facts) in &plan.new_libraries {
        control.libraries()[*index].write(facts);
    }
    for (index, service) in plan.services.iter().zip(&snapshot.services) {
        let row = &control.services()[*index];
        let canary =
            canary_of(snapshot, service).map(|canary| (plan.libraries[canary.build.as_str()], canary));
        write_service(row, service, plan.libraries[service.build.as_str()], defaults);
        write_canary(row, canary);
        // Release: whoever sees that it may be called finds the builds that serve it.
        row.quarantined.store(u32::from(service.quarantined), Release);
    }
    let known: BTreeSet<u32> = snapshot.services.iter().map(|service| service.number.get()).collect();
    for row in control.services() {
        let number = row.number.load(Relaxed);
        if number == 0 || known.contains(&number) {
            continue;
        }
        // Out of the directory first, so that nobody finds a row that says nothing.
        if let Ok(number) = ServiceNumber::new(number) {
            enter(number, None);
        }
        row.enabled.store(0, Relaxed);
        row.kind.store(0, Relaxed);
    }
    for (index, service) in plan.services.iter().zip(&snapshot.services) {
        let service_index = u32::try_from(*index).unwrap_or(u32::MAX);
        enter(service.number, Some(DirectoryEntry { kind: service.kind.code(), service_index }));
    }
    // Release: pairs with the Acquire of whoever adopts; the rows above are whole.
    Ok(control.node().directory_generation.fetch_add(1, Release) + 1)
}

/// Frees the rows of libraries that no service names any more. Only called when every worker serves the present
/// generation, so that nobody still looks for the library behind such a row.
pub(crate) fn free_libraries(control: &Control) {
    let named: BTreeSet<u32> = control
        .services()
        .iter()
        .filter(|row| row.number.load(Relaxed) != 0 && row.kind.load(Relaxed) != 0)
        .flat_map(|row| {
            let canary = row.canary_library.load(Relaxed).checked_sub(1);
            std::iter::once(row.library.load(Relaxed)).chain(canary)
        })
        .collect();
    for (index, row) in control.libraries().iter().enumerate() {
        let is_named = u32::try_from(index).is_ok_and(|index| named.contains(&index));
        if row.used.load(Acquire) == 1 && !is_named {
            row.clear();
        }
    }
}

/// Where everything of a snapshot goes.
struct Plan<'a> {
    /// Row of each build that serves.
    libraries: BTreeMap<&'a str, usize>,
    /// Libraries that have no row yet.
    new_libraries: Vec<(usize, LibraryFacts)>,
    /// Row of each service, in the order of the snapshot.
    services: Vec<usize>,
}

fn plan<'a>(control: &Control, snapshot: &'a Snapshot) -> Result<Plan<'a>, PublishError> {
    let (libraries, new_libraries) = plan_libraries(control, snapshot)?;
    for service in &snapshot.services {
        if !libraries.contains_key(service.build.as_str()) {
            let library = service.library.clone();
            return Err(PublishError::LibraryUnknown { number: service.number, library });
        }
    }
    let rows = control.services();
    let mut known = BTreeMap::new();
    let mut free = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match row.number.load(Relaxed) {
            0 => free.push(index),
            number => drop(known.insert(number, index)),
        }
    }
    let mut free = free.into_iter();
    let place = |service: &SnapshotService| {
        let row = known.get(&service.number.get()).copied().or_else(|| free.next());
        row.ok_or(PublishError::ServicesFull {
            numbers_count: snapshot.services.len(),
            rows_count: rows.len(),
        })
    };
    let services = snapshot.services.iter().map(place).collect::<Result<_, _>>()?;
    Ok(Plan { libraries, new_libraries, services })
}

type LibraryPlaces<'a> = (BTreeMap<&'a str, usize>, Vec<(usize, LibraryFacts)>);

/// The canary of a service's library.
fn canary_of<'a>(snapshot: &'a Snapshot, service: &SnapshotService) -> Option<&'a SnapshotLibrary> {
    let mut libraries = snapshot.libraries.iter();
    libraries.find(|library| library.canary.is_some() && library.name == service.library)
}

/// A build keeps its row as long as its file stays the same; otherwise it gets a free one, since workers may still read
/// the old one.
fn plan_libraries<'a>(control: &Control, snapshot: &'a Snapshot) -> Result<LibraryPlaces<'a>, PublishError> {
    let present: Vec<Option<LibraryFacts>> = control.libraries().iter().map(LibraryRow::read).collect();
    let mut free = present.iter().enumerate().filter(|(_, facts)| facts.is_none()).map(|(index, _)| index);
    let (mut places, mut new) = (BTreeMap::new(), Vec::new());
    let named: BTreeSet<&str> = snapshot.services.iter().map(|service| service.build.as_str()).collect();
    let is_used =
        |library: &&SnapshotLibrary| library.canary.is_some() || named.contains(library.build.as_str());
    for library in snapshot.libraries.iter().filter(is_used) {
        let bytes = library.file.as_os_str().as_bytes();
        if bytes.len() > LibraryRow::FILE_BYTES_MAX {
            let (file, bytes_max) = (library.file.display().to_string(), LibraryRow::FILE_BYTES_MAX);
            return Err(PublishError::PathTooLong { file, bytes_max });
        }
        let facts = LibraryFacts {
            name: library.name.clone(),
            version: library.version.clone(),
            build: library.build.clone(),
            file: library.file.to_string_lossy().into_owned(),
        };
        // By content and place alone: a row keeps only the first bytes of a long version.
        let is_it = |row: &LibraryFacts| row.build == facts.build && row.file == facts.file;
        let index = match present.iter().position(|row| row.as_ref().is_some_and(is_it)) {
            Some(index) => index,
            None => {
                let rows_count = present.len();
                let index = free.next().ok_or(PublishError::LibrariesFull { rows_count })?;
                new.push((index, facts));
                index
            }
        };
        places.insert(library.build.as_str(), index);
    }
    Ok((places, new))
}

fn write_service(row: &ServiceRow, service: &SnapshotService, library: usize, defaults: Defaults) {
    let rule = &service.rule;
    row.name.set(service.name.as_bytes());
    row.version.set(service.version.as_bytes());
    row.library.store(u32::try_from(library).unwrap_or(u32::MAX), Relaxed);
    let timeout_ms = if service.timeout_ms == 0 { defaults.timeout_ms } else { service.timeout_ms };
    row.timeout_ms.store(timeout_ms, Relaxed);
    row.policy.store(u32::from(rule.policy.unwrap_or(defaults.policy).code()), Relaxed);
    let idempotent = if service.idempotent { FLAG_IDEMPOTENT } else { 0 };
    let sources = if service.sources.is_empty() { 0 } else { FLAG_SOURCES };
    row.flags.store(idempotent | sources, Relaxed);
    row.rule_concurrency.store(rule.concurrency.unwrap_or(0), Relaxed);
    let rate = rule.rate.map_or(0, at_least_one);
    row.rule_rate.store(rate, Relaxed);
    // Without a word about bursts, a second's worth may come at once.
    row.rule_burst.store(rule.burst.unwrap_or(rate), Relaxed);
    let threshold_ppm = rule.threshold.map_or(0, |threshold| at_least_one(threshold * 1_000_000.0));
    row.rule_threshold_ppm.store(threshold_ppm, Relaxed);
    row.rule_refuse.store(u32::from(rule.refuse), Relaxed);
    row.kind.store(u32::from(service.kind.code()), Relaxed);
    row.enabled.store(u32::from(service.enabled), Relaxed);
    // Release, and last: a row with a number is a row that was written.
    row.number.store(service.number.get(), Release);
}

/// The share is written last when there is one, and first when there is none any more, so that no request is sent to
/// a canary that is not there.
fn write_canary(row: &ServiceRow, canary: Option<(usize, &SnapshotLibrary)>) {
    let Some((library, canary)) = canary else {
        row.canary_ppm.store(0, Relaxed);
        row.canary_library.store(0, Release);
        return;
    };
    row.canary_library.store(u32::try_from(library + 1).unwrap_or(0), Relaxed);
    // Release: whoever sees the share finds the build.
    row.canary_ppm.store(canary.canary.map_or(0, |canary| canary.share_ppm), Release);
}

/// A figure of a rule in a row, where 0 would mean that there is no rule.
fn at_least_one(figure: f64) -> u32 {
    // The cast cuts what is out of range to the ends of the range.
    (figure.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_message::Kind;
    use std::path::PathBuf;

    use crate::snapshot::{Canary, Rule};
    use crate::testing::small_dimensions;

    const DEFAULTS: Defaults = Defaults { timeout_ms: 15_000, policy: Policy::Kill };

    fn library(name: &str, build: &str) -> SnapshotLibrary {
        SnapshotLibrary {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            build: build.to_owned(),
            file: PathBuf::from(format!("/state/libraries/{name}-{build}.so")),
            deployed_ms: 0,
            active: true,
            set_aside: false,
            canary: None,
        }
    }

    fn service(number: u32, library: &str) -> SnapshotService {
        SnapshotService {
            number: ServiceNumber::new(number).unwrap(),
            name: format!("{library}.{number}"),
            kind: if number < 20_000_000 { Kind::Read } else { Kind::Write },
            library: library.to_owned(),
            version: "1.0.0".to_owned(),
            build: "b1".to_owned(),
            enabled: true,
            quarantined: false,
            timeout_ms: 0,
            idempotent: false,
            sources: vec!["main".to_owned()],
            rule: Rule::default(),
        }
    }

    fn control() -> Control {
        Control::heap(small_dimensions()).unwrap()
    }

    type Entries = BTreeMap<u32, DirectoryEntry>;

    fn publish_into(
        control: &Control,
        snapshot: &Snapshot,
        entries: &mut Entries,
    ) -> Result<u64, PublishError> {
        publish(control, snapshot, DEFAULTS, |number, entry| match entry {
            Some(entry) => drop(entries.insert(number.get(), entry)),
            None => drop(entries.remove(&number.get())),
        })
    }

    #[test]
    fn a_snapshot_becomes_rows_that_lead_from_number_to_file() {
        let (control, mut entries) = (control(), Entries::new());
        let mut limited = service(20_000_004, "card");
        let mut echo = service(19_000_001, "diag");
        echo.build = "b2".to_owned();
        limited.timeout_ms = 300;
        limited.idempotent = true;
        limited.rule = Rule {
            concurrency: Some(4),
            rate: Some(50.0),
            threshold: Some(0.5),
            policy: Some(Policy::Answer),
            ..Rule::default()
        };
        let snapshot = Snapshot {
            generation: 1,
            libraries: vec![library("card", "b1"), library("diag", "b2")],
            services: vec![echo, limited],
        };
        assert_eq!(publish_into(&control, &snapshot, &mut entries), Ok(1));
        assert_eq!(control.node().directory_generation.load(Relaxed), 1);
        let entry = entries[&20_000_004];
        assert_eq!(entry.kind, 2);
        let row = &control.services()[entry.service_index as usize];
        assert_eq!((row.number.load(Relaxed), row.timeout_ms.load(Relaxed)), (20_000_004, 300));
        assert_eq!((row.policy.load(Relaxed), row.flags.load(Relaxed)), (2, FLAG_IDEMPOTENT | FLAG_SOURCES));
        assert_eq!((row.rule_rate.load(Relaxed), row.rule_burst.load(Relaxed)), (50, 50));
        assert_eq!(row.rule_threshold_ppm.load(Relaxed), 500_000);
        let facts = control.libraries()[row.library.load(Relaxed) as usize].read().unwrap();
        assert_eq!(facts.file, "/state/libraries/card-b1.so");
        let row = &control.services()[entries[&19_000_001].service_index as usize];
        assert_eq!((row.timeout_ms.load(Relaxed), row.policy.load(Relaxed)), (15_000, 1), "the node's own");
    }

    #[test]
    fn a_number_keeps_its_row_when_others_go_and_it_comes_back() {
        let (control, mut entries) = (control(), Entries::new());
        let mut snapshot = Snapshot {
            generation: 1,
            libraries: vec![library("diag", "b1")],
            services: vec![service(19_000_001, "diag"), service(19_000_002, "diag")],
        };
        publish_into(&control, &snapshot, &mut entries).unwrap();
        let index = entries[&19_000_002].service_index;
        let gone = snapshot.services.remove(1);
        assert_eq!(publish_into(&control, &snapshot, &mut entries), Ok(2));
        assert!(!entries.contains_key(&19_000_002));
        let row = &control.services()[index as usize];
        let figures = [&row.number, &row.kind, &row.enabled].map(|figure| figure.load(Relaxed));
        assert_eq!(figures, [19_000_002, 0, 0]);
        snapshot.services = vec![service(19_000_009, "diag"), gone];
        publish_into(&control, &snapshot, &mut entries).unwrap();
        assert_eq!(entries[&19_000_002].service_index, index);
        assert_ne!(entries[&19_000_009].service_index, index);
    }

    #[test]
    fn a_new_build_gets_a_row_of_its_own_and_the_old_one_is_freed_later() {
        let (control, mut entries) = (control(), Entries::new());
        let mut snapshot = Snapshot {
            generation: 1,
            libraries: vec![library("diag", "b1")],
            services: vec![service(19_000_001, "diag")],
        };
        publish_into(&control, &snapshot, &mut entries).unwrap();
        let old = control.services()[0].library.load(Relaxed);
        snapshot.libraries =
            vec![library("diag", "b2"), SnapshotLibrary { active: false, ..library("diag", "b1") }];
        snapshot.services[0].build = "b2".to_owned();
        publish_into(&control, &snapshot, &mut entries).unwrap();
        let new = control.services()[0].library.load(Relaxed);
        assert_ne!(old, new);
        assert!(control.libraries()[old as usize].read().is_some(), "a worker may still look for it");
        free_libraries(&control);
        assert!(control.libraries()[old as usize].read().is_none());
        assert!(control.libraries()[new as usize].read().is_some());
    }

    #[test]
    fn a_canary_is_published_beside_the_build_in_force_and_kept_while_it_is_one() {
        let (control, mut entries) = (control(), Entries::new());
        let canary = |share_ppm| SnapshotLibrary {
            active: false,
            canary: (share_ppm > 0).then_some(Canary { share_ppm, promote_after_ms: None }),
            ..library("diag", "b2")
        };
        let mut snapshot = Snapshot {
            generation: 1,
            libraries: vec![library("diag", "b1"), canary(50_000)],
            services: vec![service(19_000_001, "diag")],
        };
        publish_into(&control, &snapshot, &mut entries).unwrap();
        free_libraries(&control);
        let row = &control.services()[0];
        let build_at = |index: u32| control.libraries()[index as usize].read().map(|facts| facts.build);
        assert_eq!(build_at(row.library.load(Relaxed)).as_deref(), Some("b1"));
        assert_eq!(build_at(row.canary_library.load(Relaxed) - 1).as_deref(), Some("b2"));
        assert_eq!(row.canary_ppm.load(Relaxed), 50_000);
        let was_canary = row.canary_library.load(Relaxed) - 1;
        snapshot.libraries[1] = canary(0);
        publish_into(&control, &snapshot, &mut entries).unwrap();
        free_libraries(&control);
        assert_eq!((row.canary_library.load(Relaxed), row.canary_ppm.load(Relaxed)), (0, 0));
        assert_eq!(build_at(was_canary), None);
    }

    #[test]
    fn a_service_that_fell_back_leads_to_the_build_that_it_fell_back_to() {
        let (control, mut entries) = (control(), Entries::new());
        let old = SnapshotLibrary { active: false, ..library("diag", "b1") };
        let mut fresh = service(19_000_002, "diag");
        fresh.build = "b2".to_owned();
        let snapshot = Snapshot {
            generation: 1,
            libraries: vec![library("diag", "b2"), old],
            services: vec![service(19_000_001, "diag"), fresh],
        };
        publish_into(&control, &snapshot, &mut entries).unwrap();
        let build_of = |number: u32| {
            let row = &control.services()[entries[&number].service_index as usize];
            control.libraries()[row.library.load(Relaxed) as usize].read().map(|facts| facts.build)
        };
        assert_eq!(
            (build_of(19_000_001).as_deref(), build_of(19_000_002).as_deref()),
            (Some("b1"), Some("b2"))
        );
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (control, mut entries) = (control(), Entries::new());
        let libraries = vec![library("diag", "b1")];
        let services = (0..9).map(|index| service(19_000_001 + index, "diag")).collect();
        let error = publish_into(&control, &Snapshot { generation: 1, libraries, services }, &mut entries)
            .unwrap_err();
        assert_eq!(error, PublishError::ServicesFull { numbers_count: 9, rows_count: 8 });
        let libraries = (0..5).map(|index| library(&format!("l{index}"), &format!("b{index}"))).collect();
        let of = |index: u32| SnapshotService {
            build: format!("b{index}"),
            ..service(19_000_001 + index, &format!("l{index}"))
        };
        let services = (0..5).map(of).collect();
        let error = publish_into(&control, &Snapshot { generation: 1, libraries, services }, &mut entries)
            .unwrap_err();
        assert_eq!(error, PublishError::LibrariesFull { rows_count: 4 });
        let snapshot =
            Snapshot { generation: 1, libraries: Vec::new(), services: vec![service(19_000_001, "diag")] };
        let error = publish_into(&control, &snapshot, &mut entries).unwrap_err();
        assert!(matches!(error, PublishError::LibraryUnknown { .. }), "{error}");
        assert!(entries.is_empty());
        assert!(control.services().iter().all(|row| row.number.load(Relaxed) == 0));
        assert!(control.libraries().iter().all(|row| row.read().is_none()));
    }

    #[test]
    fn a_small_rule_is_still_a_rule() {
        assert_eq!([0.0, 0.4, 1.5, 1e12].map(at_least_one), [1, 1, 2, u32::MAX]);
    }

    #[test]
    fn the_registrys_json_is_understood() {
        let json = serde_json::json!({"generation": 3, "libraries": [{"name": "diag", "version": "1.0.0", "build": "b1",
            "file": "/x.so", "deployed_ms": 5, "active": true}], "services": [{"number": 19000001, "name": "diag.echo",
            "library": "diag", "kind": "read", "enabled": true, "timeout_ms": 0, "policy": "kill", "version": "1.0.0",
            "build": "b1", "idempotent": true, "description": "d", "example": "e", "sources": ["main"],
            "quarantined": false, "rule": {"concurrency": null, "rate": 2.5, "burst": null, "threshold": null,
            "refuse": false, "timeout_ms": null, "policy": "answer"}}]});
        let snapshot: Snapshot = serde_json::from_value(json).unwrap();
        assert_eq!(snapshot.services[0].rule.policy, Some(Policy::Answer));
        assert_eq!(snapshot.services[0].rule.rate, Some(2.5));
        assert_eq!(publish_into(&control(), &snapshot, &mut Entries::new()), Ok(1));
    }
}
