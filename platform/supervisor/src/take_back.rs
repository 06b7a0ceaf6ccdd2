//! A build that passed every check and that a worker cannot load all the same: it is taken back at once. Workers serve what
//! was before for as long as they live; one that starts later would serve nobody.

use std::time::{SystemTime, UNIX_EPOCH};

use gantry_segment::{Control, LibraryFacts};
use gantry_sys::atomic::Ordering::Acquire;
use serde_json::{Value, json};

use crate::children::Place;
use crate::commands::Task;
use crate::helper::{Job, Lane};
use crate::limits::{HELPER_LIMIT, SERVED_LIMIT};
use crate::protocol::Response;
use crate::receipt::{Goal, is_loaded_by_none, is_served_by_all, late, receipt};
use crate::run::{Phase, Supervisor};
use crate::snapshot::{HelperAnswer, Snapshot};

/// How far a change has come that workers are to take up.
pub(crate) enum Progress {
    /// Workers still run what was before.
    Waiting,
    /// All serve it.
    Served,
    /// All have looked at it, and some cannot load it.
    Refused,
}

impl Progress {
    pub(crate) fn of(control: &Control, places: &[Place], goal: Goal) -> Self {
        if is_served_by_all(control, places, goal) {
            Self::Served
        } else if is_served_by_all(control, places, Goal { libraries: 0, ..goal }) {
            Self::Refused
        } else {
            Self::Waiting
        }
    }
}

impl Supervisor {
    /// Has a helper undo a change that workers refuse; its client is answered when that is done.
    pub(crate) fn take_back(&mut self, client: Option<u64>, goal: Goal, result: &Value) {
        let receipt = receipt(self.segments.control(), &self.places, goal, result);
        let library = result["library"].as_str().unwrap_or_default();
        let Some(undo) = undo_of(library, result) else {
            return self.answer_if_waiting(client, &refused(receipt, "; it stays in the registry"));
        };
        tracing::error!(
            library,
            workers = late(&receipt),
            "workers cannot load the library; it is taken back"
        );
        let by = ["helper-registry", "--by=platform", "--why=workers cannot load it"].map(str::to_owned);
        let task = Task::TakeBack { client, receipt: receipt.clone() };
        let lane =
            if undo.first().is_some_and(|word| word == "abort") { Lane::Urgent } else { Lane::Registry };
        let job = Job::new(task, lane, [by.to_vec(), undo].concat(), HELPER_LIMIT);
        if self.helpers.ask(job).is_err() {
            self.follow_take_back(client, receipt, Err("too many changes are waiting".to_owned()));
        }
    }

    /// Publishes what was before again, and answers whoever asked for the change.
    pub(crate) fn follow_take_back(
        &mut self,
        client: Option<u64>,
        receipt: Value,
        answer: Result<HelperAnswer, String>,
    ) {
        let published = answer.and_then(|answer| {
            let snapshot = answer.snapshot.ok_or("the helper gave no snapshot")?;
            self.publish(snapshot).map_err(|error| error.to_string())
        });
        let words = match published {
            Ok(_) => "; it is taken back, and what was before serves".to_owned(),
            Err(error) => {
                self.look_at_registry();
                format!("; it could not be taken back: {error}")
            }
        };
        self.answer_if_waiting(client, &refused(receipt, &words));
    }

    /// Undoes what the supervisor before this one would have taken back: what is in force and no worker can load, although
    /// an earlier build is there.
    pub(crate) fn finish_deployments(&mut self) {
        let control = self.segments.control();
        let generation = control.node().directory_generation.load(Acquire);
        let looked = Goal { generation, libraries: 0 };
        let can_tell = self.is_prepared && is_served_by_all(control, &self.places, looked);
        if !self.may_be_cut_off || !matches!(self.phase, Phase::Serving) || !can_tell {
            return;
        }
        self.may_be_cut_off = false;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let rows = (0..).zip(control.libraries());
        let refused = rows.filter(|(row, _)| is_loaded_by_none(control, &self.places, *row));
        let changes: Vec<Value> = refused
            .filter_map(|(_, library)| change_that_brought(&self.snapshot, &library.read()?, now_ms))
            .collect();
        for change in changes {
            let library = change["library"].as_str().unwrap_or_default();
            let goal = Goal::new(self.segments.control(), generation, library);
            self.take_back(None, goal, &change);
        }
    }

    fn answer_if_waiting(&mut self, client: Option<u64>, response: &Response) {
        if let Some(client) = client {
            self.answer(client, response);
        }
    }
}

/// The change that put a build into force or to the trial, as its helper told it; `None` without an earlier build that can
/// serve instead.
///
/// Only of a build that came so lately that the supervisor before may not have been told: one that served for longer may be
/// loaded again when what it needs is back.
fn change_that_brought(snapshot: &Snapshot, build: &LibraryFacts, now_ms: i64) -> Option<Value> {
    let of_library = || snapshot.libraries.iter().filter(|known| known.name == build.name);
    let brought = of_library().find(|known| known.build == build.build)?;
    let lately_ms = i64::try_from(SERVED_LIMIT.as_millis() * 2).unwrap_or(i64::MAX);
    if now_ms.saturating_sub(brought.deployed_ms) > lately_ms {
        return None;
    }
    let before = of_library()
        .find(|known| known.build != build.build && known.canary.is_none() && !known.set_aside)?;
    (brought.active || brought.canary.is_some()).then(|| {
        json!({
            "library": brought.name,
            "version": brought.version,
            "build": brought.build,
            "changed": true,
            "canary": brought.canary.map(|canary| json!({ "share_ppm": canary.share_ppm })),
            "in_place_of": { "version": before.version, "build": before.build },
        })
    })
}

/// The arguments of the registry's helper that undo a change; `None` for one that put no build into force.
pub(crate) fn undo_of(library: &str, result: &Value) -> Option<Vec<String>> {
    let build = result["build"].as_str()?;
    // Only while that build is in force: the undoing may wait behind the next deployment.
    let from = format!("--from={build}");
    // What the change itself set aside is not to blame.
    let restored = result["set_aside"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let restored: Vec<String> = restored.map(|build| format!("--restore={build}")).collect();
    let restored = || restored.iter().map(String::as_str);
    let words = match (result["canary"].is_null(), result["in_place_of"]["build"].as_str()) {
        _ if result["changed"] != true => return None,
        (false, _) => vec!["abort", "--", library, build],
        (true, Some(before)) => {
            ["rollback", &from].into_iter().chain(restored()).chain(["--", library, before]).collect()
        }
        (true, None) => vec!["unload", &from, "--", library],
    };
    Some(words.into_iter().map(str::to_owned).collect())
}

fn refused(receipt: Value, what_follows: &str) -> Response {
    let error = format!("workers cannot load it, see their logs: {}{what_follows}", late(&receipt));
    Response { result: Some(receipt), ..Response::failed(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Canary, SnapshotLibrary};
    use serde_json::json;

    #[test]
    fn what_was_cut_off_goes_back_to_the_newest_build_that_is_good() {
        let library = |build: &str, active, set_aside| SnapshotLibrary {
            name: "card".to_owned(),
            version: "1".to_owned(),
            build: build.to_owned(),
            file: "/x.so".into(),
            deployed_ms: 0,
            active,
            set_aside,
            canary: None,
        };
        let snapshot =
            |libraries: &[SnapshotLibrary]| Snapshot { libraries: libraries.to_vec(), ..Snapshot::default() };
        let facts = |build: &str| LibraryFacts {
            name: "card".to_owned(),
            build: build.to_owned(),
            ..LibraryFacts::default()
        };
        let undo = |snapshot: &Snapshot, build: &str| {
            undo_of("card", &change_that_brought(snapshot, &facts(build), 100_000)?)
                .map(|words| words.join(" "))
        };
        let [active, bad, good] =
            [library("b3", true, false), library("b2", false, true), library("b1", false, false)];
        let all = snapshot(&[active.clone(), bad.clone(), good.clone()]);
        assert_eq!(undo(&all, "b3").unwrap(), "rollback --from=b3 -- card b1");
        assert_eq!(change_that_brought(&all, &facts("b3"), 200_000), None, "it served for longer");
        assert_eq!(undo(&all, "b1"), None, "a worker that cannot load what is out of force");
        assert_eq!(undo(&snapshot(&[active, bad]), "b3"), None, "there is nothing to go back to");
        let canary = SnapshotLibrary {
            canary: Some(Canary { share_ppm: 1, promote_after_ms: None }),
            ..library("b4", false, false)
        };
        assert_eq!(undo(&snapshot(&[library("b3", true, false), canary]), "b4").unwrap(), "abort -- card b4");
    }

    #[test]
    fn what_puts_a_build_into_force_can_be_undone() {
        let undo = |result: Value| undo_of("card", &result).map(|words| words.join(" "));
        let result = |canary: Value, before: Value| json!({ "library": "card", "build": "b2", "changed": true, "canary": canary, "in_place_of": before });
        let before = json!({ "version": "1.0", "build": "b1" });
        assert_eq!(undo(result(Value::Null, before.clone())).unwrap(), "rollback --from=b2 -- card b1");
        let mut back = result(Value::Null, before.clone());
        back["set_aside"] = json!(["b3", "b4"]);
        assert_eq!(undo(back).unwrap(), "rollback --from=b2 --restore=b3 --restore=b4 -- card b1");
        assert_eq!(undo(result(Value::Null, Value::Null)).unwrap(), "unload --from=b2 -- card");
        assert_eq!(undo(result(json!({ "share_ppm": 1 }), before)).unwrap(), "abort -- card b2");
        assert_eq!(undo(json!({ "library": "card", "build": "b2", "changed": false })), None);
        assert_eq!(undo(json!({ "number": 7, "enabled": true })), None);
    }
}
