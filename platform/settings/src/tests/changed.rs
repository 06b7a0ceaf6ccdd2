//! What SIGHUP can apply.

use super::good;
use crate::{Changes, changes, keys};

fn between(old: &str, new: &str) -> Changes {
    changes(&good(old), &good(new))
}

#[test]
fn equal_settings_have_no_changes_even_if_one_file_writes_the_defaults_out() {
    let written =
        "[comm]\nthreads = 1\nheader_timeout = \"10000ms\"\n[data.main]\n[serial.types.card]\nrange = 1000\n";
    assert!(between("", written).is_empty());
}

#[test]
fn changes_are_parted_into_what_applies_now_and_what_needs_a_restart() {
    let new = "[log]\nlevel = \"debug\"\nkeep = 3\n[admission]\nread_threshold = 0.9\nreply_share = 0.5\n\
               [service]\ntimeout = \"1s\"\npolicy = \"answer\"\nquarantine_deaths = 2\nlibraries = []\n\
               [comm]\nidle_timeout = \"1m\"\nthreads = 2\n[ipc]\nkey = 7\n";
    let changes = between("", new);
    let live = [
        "admission.read_threshold",
        "comm.idle_timeout",
        "log.level",
        "service.policy",
        "service.quarantine_deaths",
        "service.timeout",
    ];
    assert_eq!(changes.applicable, live);
    let later = ["admission.reply_share", "comm.threads", "ipc.key", "log.keep", "service.libraries"];
    assert_eq!(changes.needs_restart, later);
}

/// The keys that the supervisor writes into the node's row or uses itself, and no others: a key that is called
/// applicable and is not applied would be reported as taken.
#[test]
fn live_keys_are_those_that_a_running_node_takes_up() {
    let live = keys::ALL.iter().filter(|key| key.change() == keys::Change::Live);
    let names: Vec<String> = live.map(|key| format!("{}.{}", key.section(), key.name())).collect();
    let taken_up = [
        "comm.header_timeout",
        "comm.body_timeout",
        "comm.idle_timeout",
        "comm.write_timeout",
        "admission.read_threshold",
        "admission.read_resume",
        "service.timeout",
        "service.policy",
        "service.quarantine_deaths",
        "service.quarantine_window",
        "service.canary_deaths",
        "service.canary_calls",
        "service.canary_errors",
        "service.canary_slowness",
        "log.level",
    ];
    assert_eq!(names, taken_up);
}

#[test]
fn sections_that_come_or_go_name_their_keys() {
    let changes =
        between("[data.main]\n[service.x]\na = 1\n", "[data.main]\n[data.more]\n[serial.types.toll]\n");
    assert!(changes.applicable.is_empty());
    let wanted = [
        "data.more.busy_timeout",
        "data.more.driver",
        "data.more.path",
        "data.more.synchronous",
        "serial.types.toll.format",
        "serial.types.toll.range",
        "service.x.a",
    ];
    assert_eq!(changes.needs_restart, wanted);
}

/// Goal: the service's own sub-table cannot pass for a key of `[service]`, nor a secret's change be missed.
#[test]
fn changed_secret_is_seen_although_it_is_hidden() {
    let (old, mut new) = (good(""), good(""));
    new.serial.redis = crate::Secret::new("redis://a");
    let seen = changes(&old, &new);
    assert_eq!(seen.needs_restart, ["serial.redis"]);
    let (old, mut new) = (new.clone(), new);
    new.serial.redis = crate::Secret::new("redis://b");
    assert_eq!(changes(&old, &new).needs_restart, ["serial.redis"]);
}
