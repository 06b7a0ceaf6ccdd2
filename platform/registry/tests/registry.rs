//! The registry over a real file: deployments, rules, quarantine, several processes at once, death in between.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gantry_datasource::{Access, Connection, SqliteConnection, SqliteOptions};
use gantry_registry::{
    Action, Author, Canary, LibraryDescription, Policy, Registry, RegistryError, Rule, ServiceDescription,
    ServiceKind, Snapshot,
};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Node {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("registry.db"), _folder: folder }
    }

    fn open(&self) -> Registry {
        Registry::open(&self.path).unwrap()
    }
}

fn service(number: u32, kind: ServiceKind) -> ServiceDescription {
    ServiceDescription {
        number,
        name: format!("service {number}"),
        kind,
        timeout_ms: 3_000,
        idempotent: kind == ServiceKind::Read,
        description: "查询余额".to_owned(),
        example: "{\"card\":\"1\"}".to_owned(),
        example_reply: "{}".to_owned(),
        sources: vec!["main".to_owned(), "passages".to_owned()],
    }
}

/// A build whose hash is made of `build`, with these services.
fn build(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn library(name: &str, version: &str, number: u8, numbers: &[u32]) -> LibraryDescription {
    LibraryDescription {
        name: name.to_owned(),
        version: version.to_owned(),
        build: build(number),
        file: PathBuf::from(format!("/var/lib/gantry/{name}-{version}.so")),
        services: numbers
            .iter()
            .map(|number| {
                let kind = match number / 10_000_000 {
                    1 => ServiceKind::Read,
                    2 => ServiceKind::Write,
                    _ => ServiceKind::Other,
                };
                service(*number, kind)
            })
            .collect(),
    }
}

fn numbers(snapshot: &Snapshot) -> Vec<u32> {
    snapshot.services.iter().map(|service| service.number).collect()
}

/// For the sections `[service.NAME]` of a configuration.
#[test]
fn name_of_neither_a_library_nor_a_service_is_unknown() {
    let node = Node::new();
    let mut registry = node.open();
    registry.deploy(&library("acme.card", "1.0.0", 1, &[10_000_001])).unwrap();
    let mut renamed = library("acme.card", "2.0.0", 2, &[10_000_002]);
    renamed.services[0].name = "card.show".to_owned();
    let snapshot = registry.deploy(&renamed).unwrap();
    let names = ["card.shwo", "acme.card", "card.show", "card", "service 10000001", "gantry_card"];
    let unknown = snapshot.unknown_names(names);
    assert_eq!(unknown, ["card.shwo", "card", "service 10000001", "gantry_card"]);
    assert!(snapshot.unknown_names([]).is_empty());
}

#[test]
fn new_registry_is_empty_and_everything_survives_reopening() {
    let node = Node::new();
    let empty = node.open().snapshot().unwrap();
    assert_eq!((empty.generation, empty.libraries.len(), empty.services.len()), (0, 0, 0));

    let card = library("card", "1.0.0", 1, &[10_000_001, 20_000_002, 30_000_001]);
    let deployed = node.open().deploy(&card).unwrap();
    assert_eq!(deployed.generation, 1);
    let read = node.open().snapshot().unwrap();
    assert_eq!(read, deployed);
    assert_eq!(numbers(&read), [10_000_001, 20_000_002, 30_000_001]);
    let balance = read.service(10_000_001).unwrap();
    assert_eq!(balance.sources, ["main", "passages"]);
    assert_eq!((balance.description.as_str(), balance.timeout_ms), ("查询余额", 3_000));
    assert!(balance.enabled && !balance.quarantined && balance.idempotent);
    assert_eq!((balance.kind.code(), balance.policy), (1, Policy::Kill));
    assert_eq!(read.service(30_000_001).unwrap().kind.code(), 3);
    assert_eq!(node.open().find_library("card").unwrap().unwrap().build, card.build);
    assert_eq!(node.open().find_library("tag").unwrap(), None);
}

#[test]
fn snapshot_is_the_same_after_json() {
    let node = Node::new();
    let mut registry = node.open();
    registry.deploy(&library("card", "1.0.0", 1, &[10_000_001, 20_000_002])).unwrap();
    let snapshot = registry.set_rule(10_000_001, &["rate=1", "policy=answer", "threshold=0.7"]).unwrap();
    let json = serde_json::to_string(&snapshot).unwrap();
    assert!(json.contains("\"kind\":\"read\"") && json.contains("\"policy\":\"answer\""), "{json}");
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    let description = library("card", "1.0.0", 1, &[10_000_001]);
    let json = serde_json::to_string(&description).unwrap();
    assert_eq!(serde_json::from_str::<LibraryDescription>(&json).unwrap(), description);
}

#[test]
fn new_version_keeps_what_the_operator_set_and_drops_services_that_are_gone() {
    let node = Node::new();
    let mut registry = node.open();
    registry.deploy(&library("card", "1.0.0", 1, &[10_000_001, 10_000_002, 10_000_003])).unwrap();
    registry.deploy(&library("tag", "1.0.0", 2, &[10_000_009])).unwrap();
    registry.set_enabled(10_000_001, false).unwrap();
    registry.set_rule(10_000_002, &["timeout=500ms", "concurrency=4", "refuse=true"]).unwrap();
    registry.set_quarantined(10_000_002, &build(1), true).unwrap();

    let mut next = library("card", "2.0.0", 3, &[10_000_001, 10_000_002, 10_000_004]);
    next.services[1].name = "renamed".to_owned();
    let snapshot = registry.deploy(&next).unwrap();
    assert_eq!(snapshot.generation, 6);
    assert_eq!(numbers(&snapshot), [10_000_001, 10_000_002, 10_000_004, 10_000_009]);
    assert!(!snapshot.service(10_000_001).unwrap().enabled);
    let ruled = snapshot.service(10_000_002).unwrap();
    assert_eq!((ruled.timeout_ms, ruled.rule.concurrency, ruled.rule.refuse), (500, Some(4), true));
    assert_eq!(
        (ruled.name.as_str(), ruled.version.as_str(), &ruled.build),
        ("renamed", "2.0.0", &next.build)
    );
    assert!(!ruled.quarantined, "the crashes were the old build's");
    assert!(snapshot.service(10_000_004).unwrap().enabled);
    assert_eq!(snapshot.library("card").unwrap().build, next.build);
    let builds: Vec<_> = snapshot.libraries.iter().map(|library| (&*library.name, library.active)).collect();
    assert_eq!(builds, [("card", true), ("card", false), ("tag", true)]);
}

/// A build without a service comes and goes: the operator stopped that service and must not find it serving.
#[test]
fn service_that_comes_back_is_as_the_operator_left_it() {
    let node = Node::new();
    let mut registry = node.open();
    let whole = library("card", "1.0.0", 1, &[10_000_001, 10_000_002]);
    registry.deploy(&whole).unwrap();
    registry.set_enabled(10_000_002, false).unwrap();
    registry
        .set_rule(10_000_002, &["timeout=500ms", "rate=7", "burst=9", "threshold=0.5", "policy=answer"])
        .unwrap();
    let before = registry.snapshot().unwrap().service(10_000_002).unwrap().clone();
    for _ in 0..2 {
        let fewer = registry.deploy(&library("card", "1.1.0", 2, &[10_000_001])).unwrap();
        assert_eq!(numbers(&fewer), [10_000_001]);
        let back = registry.roll_back(&whole).unwrap();
        assert_eq!(back.service(10_000_002), Some(&before));
    }
    // Another library's service of that number is another service, and so is one after an unload.
    registry.deploy(&library("card", "1.1.0", 2, &[10_000_001])).unwrap();
    let other = registry.deploy(&library("tag", "1.0.0", 3, &[10_000_002])).unwrap();
    let plain = |snapshot: &Snapshot| {
        let service = snapshot.service(10_000_002).unwrap();
        (service.enabled, service.timeout_ms, service.rule.clone())
    };
    assert_eq!(plain(&other), (true, 3_000, Rule::default()));
    registry.unload("tag").unwrap();
    registry.unload("card").unwrap();
    assert_eq!(plain(&registry.roll_back(&whole).unwrap()), (true, 3_000, Rule::default()));
}

/// What lies between the build in force and the one that is gone back to is nothing to go back to next.
#[test]
fn roll_back_over_several_builds_leaves_them_all() {
    let node = Node::new();
    let mut registry = node.open();
    let builds: Vec<_> =
        (1..=4).map(|build| library("card", &format!("1.{build}.0"), build, &[10_000_001])).collect();
    for build in &builds {
        registry.deploy(build).unwrap();
    }
    registry.roll_back(&builds[1]).unwrap();
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.1.0", "not forward to 1.3.0");
    assert!(registry.fall_backs(10_000_001).unwrap().iter().all(|build| build.version == "1.1.0"));
    assert_eq!(registry.find_rollback("card", Some("1.3.0")).unwrap().version, "1.3.0", "asked for by name");
    registry.roll_back(&builds[2]).unwrap();
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.1.0");
    // One that is taken back: what lay between is as good as before.
    registry.roll_back(&builds[0]).unwrap();
    registry.roll_back(&builds[3]).unwrap();
    registry.find_rollback("card", None).unwrap_err();
    assert_eq!(registry.restore("card", &[]).unwrap(), None);
    registry.restore("card", &[build(2), build(3)]).unwrap().unwrap();
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.3.0");
}

#[test]
fn build_that_serves_is_refused_and_an_older_one_may_come_back() {
    let node = Node::new();
    let mut registry = node.open();
    let (first, second) =
        (library("card", "1.0.0", 1, &[10_000_001]), library("card", "1.1.0", 2, &[10_000_001]));
    registry.deploy(&first).unwrap();
    let error = registry.deploy(&first).unwrap_err();
    let RegistryError::AlreadyDeployed { build, version, .. } = &error else { panic!("{error}") };
    assert_eq!((build, version.as_str()), (&first.build, "1.0.0"));
    assert!(error.to_string().contains("already deployed: build 0101"), "{error}");
    registry.deploy(&second).unwrap();
    let back = registry.deploy(&first).unwrap();
    assert_eq!((back.generation, &back.library("card").unwrap().build), (3, &first.build));
    assert_eq!(back.libraries.len(), 2);
}

#[test]
fn number_of_another_library_is_refused_with_both_names_and_nothing_changes() {
    let node = Node::new();
    let mut registry = node.open();
    let before = registry.deploy(&library("card", "1.0.0", 1, &[10_000_001])).unwrap();
    let error = registry.deploy(&library("tag", "1.0.0", 2, &[10_000_005, 10_000_001])).unwrap_err();
    let words = error.to_string();
    assert!(matches!(error, RegistryError::NumberTaken { number: 10_000_001, .. }));
    assert!(words.contains("library tag") && words.contains("library card"), "{words}");
    assert_eq!(registry.snapshot().unwrap(), before);
}

#[test]
fn start_and_stop_raise_the_generation_only_by_a_change() {
    let node = Node::new();
    let mut registry = node.open();
    registry.deploy(&library("card", "1.0.0", 1, &[10_000_001])).unwrap();
    let state = |snapshot: Snapshot| {
        let service = snapshot.service(10_000_001).unwrap();
        (snapshot.generation, service.enabled, service.quarantined)
    };
    assert_eq!(state(registry.set_enabled(10_000_001, true).unwrap()), (1, true, false));
    assert_eq!(state(registry.set_enabled(10_000_001, false).unwrap()), (2, false, false));
    assert_eq!(state(registry.set_enabled(10_000_001, false).unwrap()), (2, false, false));
    assert_eq!(state(registry.set_quarantined(10_000_001, &build(1), true).unwrap()), (3, false, true));
    assert_eq!(state(registry.set_quarantined(10_000_001, &build(1), true).unwrap()), (3, false, true));
    assert_eq!(
        state(registry.set_enabled(10_000_001, false).unwrap()),
        (3, false, true),
        "stop lifts nothing"
    );
    assert_eq!(state(registry.set_enabled(10_000_001, true).unwrap()), (4, true, false), "start lifts it");

    let unknown = registry.set_enabled(10_000_002, true).unwrap_err();
    assert!(matches!(unknown, RegistryError::UnknownService { number: 10_000_002 }));
    let late = registry.set_quarantined(10_000_001, &build(9), true).unwrap_err();
    assert!(matches!(&late, RegistryError::VersionReplaced { current, .. } if current == "1.0.0"), "{late}");
    assert_eq!(state(registry.snapshot().unwrap()), (4, true, false));
}

#[test]
fn canary_stands_beside_the_build_in_force_until_it_is_promoted_or_aborted() {
    let node = Node::new();
    let mut registry = node.open();
    let (one, two) = (library("card", "1.0.0", 1, &[10_000_001]), library("card", "1.1.0", 2, &[10_000_001]));
    let canary = |share_ppm| Canary { share_ppm, promote_after_ms: Some(5) };
    assert!(matches!(registry.begin_canary(&one, &canary(7)), Err(RegistryError::UnknownLibrary { .. })));
    registry.deploy(&one).unwrap();
    assert!(matches!(registry.begin_canary(&one, &canary(7)), Err(RegistryError::AlreadyDeployed { .. })));
    let more = library("card", "1.1.0", 3, &[10_000_002]);
    let differs = registry.begin_canary(&more, &canary(7)).unwrap_err();
    assert!(matches!(differs, RegistryError::CanaryDiffers { number: 10_000_001, .. }), "{differs}");
    registry.begin_canary(&two, &canary(7)).unwrap();
    let snapshot = registry.begin_canary(&two, &canary(9)).unwrap();
    let tried = snapshot.canary("card").unwrap();
    assert_eq!(
        (tried.build.as_str(), tried.canary, tried.active),
        (build(2).as_str(), Some(canary(9)), false)
    );
    assert_eq!(
        snapshot.service(10_000_001).unwrap().build,
        build(1),
        "the service is that of the build in force"
    );
    let third = library("card", "1.2.0", 3, &[10_000_001]);
    assert!(matches!(registry.begin_canary(&third, &canary(7)), Err(RegistryError::CanaryRuns { .. })));
    assert!(matches!(registry.deploy(&third), Err(RegistryError::CanaryRuns { .. })));
    assert!(matches!(registry.abort_canary("card", Some(&build(3))), Err(RegistryError::NoCanary { .. })));
    assert!(registry.abort_canary("card", Some(&build(2))).unwrap().canary("card").is_none());
    assert!(matches!(registry.promote(&two), Err(RegistryError::NoCanary { .. })));
    registry.begin_canary(&two, &canary(7)).unwrap();
    let snapshot = registry.promote(&two).unwrap();
    assert!(snapshot.canary("card").is_none());
    assert_eq!(snapshot.service(10_000_001).unwrap().build, build(2));
    let told: Vec<Action> = registry.history("card").unwrap().into_iter().map(|event| event.action).collect();
    assert_eq!(
        told,
        [Action::Promote, Action::Canary, Action::Abort, Action::Canary, Action::Canary, Action::Deploy]
    );
}

#[test]
fn canary_of_an_unloaded_library_is_nothing_to_go_back_to() {
    let node = Node::new();
    let mut registry = node.open();
    let builds = [1, 2].map(|number| library("card", &format!("1.{number}"), number, &[10_000_001]));
    registry.deploy(&builds[0]).unwrap();
    registry.begin_canary(&builds[1], &Canary { share_ppm: 10_000, promote_after_ms: None }).unwrap();
    registry.unload("card").unwrap();
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.1");
}

#[test]
fn service_falls_back_alone_to_builds_that_served_before() {
    let node = Node::new();
    let mut registry = node.open();
    let numbers = &[10_000_001, 10_000_002];
    let builds = [1, 2, 3].map(|number| library("card", &format!("1.{number}"), number, numbers));
    builds.iter().for_each(|build| drop(registry.deploy(build).unwrap()));
    let candidates = |registry: &mut Registry| -> Vec<String> {
        registry.fall_backs(10_000_001).unwrap().into_iter().map(|found| found.version).collect()
    };
    assert_eq!(candidates(&mut registry), ["1.2", "1.1"]);
    let snapshot = registry.serve_by(10_000_001, &build(3), &builds[1], Action::Fallback).unwrap();
    let build_of = |snapshot: &Snapshot, number| snapshot.service(number).unwrap().build.clone();
    assert_eq!((build_of(&snapshot, 10_000_001), build_of(&snapshot, 10_000_002)), (build(2), build(3)));
    assert_eq!(candidates(&mut registry), ["1.1"], "never a younger one");
    let late = registry.serve_by(10_000_001, &build(3), &builds[0], Action::Fallback).unwrap_err();
    assert!(matches!(late, RegistryError::VersionReplaced { .. }), "{late}");
    let snapshot = registry.deploy(&library("card", "1.4", 4, numbers)).unwrap();
    assert_eq!(build_of(&snapshot, 10_000_001), build(4), "the next deployment brings it back");
    // What a service had to leave is no build to go back to.
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.2");
    assert_eq!(candidates(&mut registry), ["1.2", "1.1"]);
}

#[test]
fn rules_are_set_together_or_not_at_all_and_none_clears() {
    let node = Node::new();
    let mut registry = node.open();
    registry.deploy(&library("card", "1.0.0", 1, &[10_000_001])).unwrap();
    let set =
        registry.set_rule(10_000_001, &["rate=250", "burst=50", "timeout=2s", "policy=answer"]).unwrap();
    let service = set.service(10_000_001).unwrap();
    assert_eq!((service.timeout_ms, service.policy), (2_000, Policy::Answer));
    assert_eq!((service.rule.rate, service.rule.burst), (Some(250.0), Some(50)));

    let error = registry.set_rule(10_000_001, &["rate=1", "burst=lots"]).unwrap_err();
    assert!(error.to_string().contains("1 to 10000000"), "{error}");
    assert_eq!(registry.snapshot().unwrap(), set);
    assert_eq!(registry.set_rule(10_000_001, &["rate=250"]).unwrap().generation, set.generation);

    let none = ["rate=none", "burst=none", "timeout=none", "policy=none"];
    let cleared = registry.set_rule(10_000_001, &none).unwrap();
    let service = cleared.service(10_000_001).unwrap();
    assert_eq!((service.timeout_ms, service.policy), (3_000, Policy::Kill), "the library's own again");
    assert_eq!(service.rule, Rule::default());
    assert!(matches!(registry.set_rule(10_000_002, &none), Err(RegistryError::UnknownService { .. })));
}

#[test]
fn descriptions_that_cannot_be_stored_are_refused() {
    let node = Node::new();
    let mut registry = node.open();
    let good = || library("card", "1.0.0", 1, &[10_000_001, 10_000_002]);
    let refused = |registry: &mut Registry, change: &dyn Fn(&mut LibraryDescription), words: &str| {
        let mut bad = good();
        change(&mut bad);
        let error = registry.deploy(&bad).unwrap_err();
        assert!(
            matches!(error, RegistryError::BadDescription { .. }) && error.to_string().contains(words),
            "{error}"
        );
    };
    refused(&mut registry, &|it| it.name = "../card".into(), "a name is");
    refused(&mut registry, &|it| it.name = String::new(), "a name is");
    refused(&mut registry, &|it| it.version = "1/2".into(), "version `1/2`");
    refused(&mut registry, &|it| it.build = "AB".repeat(32), "64 lowercase");
    refused(&mut registry, &|it| it.build = "ab".into(), "64 lowercase");
    refused(&mut registry, &|it| it.file = PathBuf::new(), "path");
    refused(&mut registry, &|it| it.services.clear(), "0 services");
    refused(&mut registry, &|it| it.services[1].number = 10_000_001, "twice");
    refused(&mut registry, &|it| it.services[0].number = 9_999_999, "09999999: a number is");
    refused(&mut registry, &|it| it.services[0].number = 100_000_000, "a number is");
    refused(&mut registry, &|it| it.services[0].name = String::new(), "its name has 0");
    refused(&mut registry, &|it| it.services[0].description = "x".repeat(401), "401 bytes");
    refused(&mut registry, &|it| it.services[0].example = "x".repeat(4_001), "4001 bytes");
    refused(&mut registry, &|it| it.services[0].timeout_ms = 3_600_001, "one hour");
    refused(&mut registry, &|it| it.services[0].sources = vec!["a,b".into()], "data sources");
    assert_eq!(registry.snapshot().unwrap().generation, 0);
    registry.deploy(&good()).unwrap();
}

/// Goal: the newest is the newest also where the clock says nothing. Method: far more deployments than milliseconds pass.
#[test]
fn builds_are_in_the_order_of_their_deployments() {
    let node = Node::new();
    let mut registry = node.open();
    for build in 0..12 {
        // The hashes fall where the order rises.
        registry.deploy(&library("card", &format!("1.0.{build}"), 12 - build, &[10_000_001])).unwrap();
    }
    let snapshot = registry.snapshot().unwrap();
    let versions: Vec<&str> = snapshot.libraries.iter().map(|library| library.version.as_str()).collect();
    let expected: Vec<String> = (0..12).rev().map(|build| format!("1.0.{build}")).collect();
    assert_eq!(versions, expected);
    let times: Vec<i64> = snapshot.libraries.iter().map(|library| library.deployed_ms).collect();
    assert!(times.is_sorted_by(|later, earlier| later > earlier), "{times:?}");
}

#[test]
fn only_so_many_replaced_builds_are_remembered_and_the_active_one_always() {
    let node = Node::new();
    let mut registry = node.open();
    for build in 0..30 {
        registry.deploy(&library("card", &format!("1.0.{build}"), build, &[10_000_001])).unwrap();
    }
    let snapshot = registry.snapshot().unwrap();
    assert_eq!(snapshot.libraries.len(), 1 + gantry_registry::limits::HISTORY_MAX);
    assert_eq!(snapshot.library("card").unwrap().version, "1.0.29");
    assert!(snapshot.libraries.iter().any(|library| library.version == "1.0.28"));
}

#[test]
fn roll_back_goes_further_back_each_time_and_the_history_says_who_and_why() {
    let node = Node::new();
    let mut registry = node.open();
    let builds: Vec<_> =
        (1..=3).map(|build| library("card", &format!("1.{build}.0"), build, &[10_000_001])).collect();
    let by = |why: &str| Author { asker: "uid 7".to_owned(), why: why.to_owned() };
    for build in &builds {
        registry.deploy(build).unwrap();
        // Milliseconds tell them apart.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.2.0");
    registry.set_author(by("it answers nonsense"));
    let back = registry.roll_back(&builds[1]).unwrap();
    assert_eq!(back.library("card").unwrap().version, "1.2.0");
    assert_eq!(back.service(10_000_001).unwrap().version, "1.2.0");
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.1.0", "1.3.0 was rolled back");
    assert_eq!(registry.find_rollback("card", Some("1.3.0")).unwrap().version, "1.3.0", "asked for by name");
    assert_eq!(registry.find_rollback("card", Some("0303")).unwrap().version, "1.3.0", "or by its build");
    registry.roll_back(&builds[0]).unwrap();
    let error = registry.find_rollback("card", None).unwrap_err().to_string();
    assert!(error.contains("1.3.0 0303") && error.contains("1.2.0 0202"), "{error}");
    let error = registry.find_rollback("tag", None).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownLibrary { .. }), "{error}");
    registry.deploy(&builds[2]).unwrap();
    registry.deploy(&builds[0]).unwrap();
    assert_eq!(registry.find_rollback("card", None).unwrap().version, "1.3.0", "deployed again since");

    let history = registry.history("card").unwrap();
    assert_eq!(history.len(), 7);
    let event = &history[3];
    assert_eq!(
        (event.action, event.asker.as_str(), event.why.as_str()),
        (Action::Rollback, "uid 7", "it answers nonsense")
    );
    assert_eq!((event.version.as_str(), event.before.as_str()), ("1.2.0", "1.3.0 0303030303030303"));
    assert_eq!((history[6].action, history[6].asker.as_str()), (Action::Deploy, "platform"));
    assert!(
        history[6].before.is_empty() && history.is_sorted_by(|later, earlier| later.at_ms >= earlier.at_ms)
    );
}

#[test]
fn unloaded_library_serves_no_number_and_may_come_back() {
    let node = Node::new();
    let mut registry = node.open();
    let card = library("card", "1.0.0", 1, &[10_000_001, 10_000_002]);
    registry.deploy(&card).unwrap();
    registry.deploy(&library("tag", "1.0.0", 2, &[10_000_009])).unwrap();
    let snapshot = registry.unload("card").unwrap();
    assert_eq!((snapshot.generation, numbers(&snapshot)), (3, vec![10_000_009]));
    assert!(snapshot.library("card").is_none());
    assert!(matches!(registry.unload("card").unwrap_err(), RegistryError::UnknownLibrary { .. }));
    // Its numbers are free for others now, and its build is there to go back to.
    assert_eq!(registry.find_rollback("card", None).unwrap().build, card.build);
    registry.deploy(&library("purse", "1.0.0", 3, &[10_000_001])).unwrap();
    assert!(matches!(registry.roll_back(&card).unwrap_err(), RegistryError::NumberTaken { .. }));
    registry.unload("purse").unwrap();
    assert_eq!(numbers(&registry.roll_back(&card).unwrap()), [10_000_001, 10_000_002, 10_000_009]);
    registry.set_enabled(10_000_001, false).unwrap();
    let actions: Vec<_> =
        registry.history("card").unwrap().iter().map(|event| (event.action, event.number)).collect();
    let expected = [
        (Action::Stop, Some(10_000_001)),
        (Action::Rollback, None),
        (Action::Unload, None),
        (Action::Deploy, None),
    ];
    assert_eq!(actions, expected);
}

#[test]
fn only_so_many_events_are_kept_of_each_library() {
    let node = Node::new();
    let mut registry = node.open();
    registry.deploy(&library("tag", "1.0.0", 2, &[10_000_009])).unwrap();
    registry.deploy(&library("card", "1.0.0", 1, &[10_000_001])).unwrap();
    registry.set_author(Author { asker: "uid 7".to_owned(), why: "\u{e9}".repeat(300) });
    for round in 0..gantry_registry::limits::EVENTS_MAX + 5 {
        registry.set_enabled(10_000_001, round % 2 == 1).unwrap();
    }
    let history = registry.history("card").unwrap();
    assert_eq!(history.len(), gantry_registry::limits::EVENTS_MAX);
    assert!(history.iter().all(|event| event.number.is_some() && event.why.len() == 400));
    assert_eq!(registry.history("tag").unwrap().len(), 1);
}

#[test]
fn damaged_row_is_told_with_its_place() {
    let node = Node::new();
    node.open().deploy(&library("card", "1.0.0", 1, &[10_000_001, 10_000_002])).unwrap();
    let options = SqliteOptions::new(&node.path);
    let mut raw = SqliteConnection::open(&Arc::from("raw"), &options, Access::ReadWrite).unwrap();
    let damage = "UPDATE gantry_service SET kind = 'rwad' WHERE number = 10000002";
    raw.execute(damage, &[], Duration::from_secs(5)).unwrap();
    let error = node.open().snapshot().unwrap_err();
    assert!(matches!(error, RegistryError::Damaged { table: "gantry_service", row: 1 }), "{error}");
}

#[test]
fn helper_processes_that_change_together_lose_no_change() {
    let node = Node::new();
    node.open().deploy(&library("card", "1.0.0", 1, &[10_000_001, 10_000_002, 10_000_003])).unwrap();
    std::thread::scope(|scope| {
        for number in 10_000_001..=10_000_003 {
            let node = &node;
            scope.spawn(move || {
                for round in 1..=20 {
                    node.open().set_rule(number, &[format!("concurrency={round}")]).unwrap();
                }
            });
        }
    });
    let snapshot = node.open().snapshot().unwrap();
    assert_eq!(snapshot.generation, 61);
    assert!(snapshot.services.iter().all(|service| service.rule.concurrency == Some(20)));
}

/// A child that does not outlive its test, also when that fails.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Goal: a change is there whole or not at all. Method: a child deploys builds in turn and is killed at no
/// particular point; every service must then be of the one build that is active.
#[test]
fn deploy_killed_at_any_point_leaves_the_old_or_the_new() {
    const CHILD: &str = "GANTRY_TEST_DEPLOY_INTO";
    let build =
        |round: u8| library("card", &format!("1.0.{round}"), round, &[10_000_001, 10_000_002, 20_000_003]);
    if let Some(path) = std::env::var_os(CHILD) {
        let mut registry = Registry::open(Path::new(&path)).unwrap();
        for round in (0..200_u8).cycle().skip(1) {
            registry.deploy(&build(round)).unwrap();
        }
    }
    let node = Node::new();
    node.open().deploy(&build(0)).unwrap();
    let mut generation = 1;
    for _ in 0..8 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "deploy_killed_at_any_point_leaves_the_old_or_the_new", "--nocapture"])
            .env(CHILD, &node.path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = KilledOnDrop(child);
        let target = generation + 10;
        let mut watcher = node.open();
        while watcher.snapshot().unwrap().generation < target {
            assert_eq!(child.0.try_wait().unwrap(), None, "the child ended by itself");
        }
        drop(child);
        let snapshot = node.open().snapshot().unwrap();
        assert!(snapshot.generation >= target);
        let active = snapshot.library("card").unwrap();
        assert_eq!(numbers(&snapshot), [10_000_001, 10_000_002, 20_000_003]);
        assert!(snapshot.services.iter().all(|service| service.build == active.build));
        assert_eq!(snapshot.libraries.iter().filter(|library| library.active).count(), 1);
        // The next child must not begin with the build that serves.
        node.open().deploy(&build(250 - u8::try_from(snapshot.generation % 2).unwrap())).unwrap();
        generation = snapshot.generation + 1;
    }
}
