//! Swapping libraries under a running worker.

use std::path::{Path, PathBuf};

use crate::bench::{Bench, compile_hostile, diag, number};
use gantry_service_host::{Container, Environment, LoadError};

/// A node that has every source, and configures nothing.
struct Node;

impl Environment for Node {
    fn configuration(&self, _: &str, _: &str) -> String {
        String::new()
    }

    fn has_source(&self, _: &str) -> bool {
        true
    }
}

/// A copy of diag under another path, as a deployment makes it.
fn copy_of_diag(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::copy(diag(), &path).unwrap();
    path
}

#[test]
fn builds_are_served_side_by_side_until_one_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut container = Container::new();
    let mut bench = Bench::new();
    let first = container.load(&copy_of_diag(folder.path(), "diag-1.so"), &Node).unwrap();
    let in_flight = container.get(first.path(), number(19_000_001)).unwrap();
    let second = container.load(&copy_of_diag(folder.path(), "diag-2.so"), &Node).unwrap();
    let fresh = container.get(second.path(), number(19_000_001)).unwrap();
    assert_eq!(in_flight.library().path(), first.path());
    assert_eq!(fresh.library().path(), second.path());
    assert!(container.get(first.path(), number(19_000_001)).is_some(), "both serve");
    container.retain(|path| path == second.path());
    assert!(container.get(first.path(), number(19_000_001)).is_none());
    assert_eq!(bench.done(&in_flight, b"old"), b"old");
    assert_eq!(bench.done(&fresh, b"new"), b"new");
    drop(in_flight);
    assert_eq!((container.served_count(), container.held_count()), (1, 2));

    // Rolling back opens nothing new.
    container.load(first.path(), &Node).unwrap();
    assert_eq!(container.get(first.path(), number(19_000_001)).unwrap().library().path(), first.path());
    assert_eq!((container.served_count(), container.held_count()), (2, 2));
    assert!(container.get(first.path(), number(11_111_111)).is_none(), "it has no such service");
}

#[test]
fn library_that_will_not_be_created_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut container = Container::new();
    let hostile = compile_hostile("refuse_in_create.c", folder.path(), &[]);
    let error = container.load(&hostile, &Node).unwrap_err();
    assert!(error.to_string().contains("the toll tables are missing"), "{error}");
    assert_eq!(container.served_count(), 0);
}

/// Goal: the old code never runs in silence in place of the new. Method: put another file where one was
/// loaded; the dynamic linker would give the old one again.
#[test]
fn other_file_under_a_path_loaded_before_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy_of_diag(folder.path(), "same.so");
    let mut container = Container::new();
    container.load(&path, &Node).unwrap();
    let other = copy_of_diag(folder.path(), "other.so");
    std::fs::rename(other, &path).unwrap();
    let error = container.load(&path, &Node).unwrap_err();
    assert!(matches!(error, LoadError::PathReused { .. }), "{error}");
}

#[test]
fn configuration_reaches_the_service_that_it_is_for() {
    #[derive(Default)]
    struct Asked(std::cell::RefCell<Vec<String>>);
    impl Environment for Asked {
        fn configuration(&self, library: &str, service: &str) -> String {
            assert_eq!(library, "diag");
            self.0.borrow_mut().push(service.to_owned());
            String::new()
        }
        fn has_source(&self, _: &str) -> bool {
            true
        }
    }
    let asked = Asked::default();
    Container::new().load(&diag(), &asked).unwrap();
    let asked = asked.0.into_inner();
    assert_eq!(asked.len(), 8);
    assert!(asked.contains(&"diag.counter".to_owned()));
}

#[test]
fn library_whose_needs_are_not_met_is_refused_with_all_of_them() {
    let error = Container::new().load(&diag(), &gantry_service_host::Bare).unwrap_err();
    let missing = matches!(&error, LoadError::Missing { missing, .. } if missing.len() == 2);
    assert!(missing && error.to_string().contains("[data.main]"), "{error}");
}
