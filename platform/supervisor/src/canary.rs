//! A build that is tried on a share of the requests: what it does is compared with what the build in force does at the
//! same time, and it is set aside when it does worse.
//!
//! The figures are those that the communication process keeps for each service, apart for the requests that a canary got;
//! what was there before the comparison began is taken off. A supervisor that takes a node over begins to compare anew.

mod figures;

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_message::ServiceNumber;
use gantry_segment::{Control, LibraryFacts};
use gantry_settings::ServiceSettings;
use gantry_sys::atomic::Ordering::Acquire;
use gantry_sys::clock;
use serde_json::{Value, json};

use crate::commands::Task;
use crate::helper::{Job, Lane};
use crate::limits::HELPER_LIMIT;
use crate::receipt::{Goal, is_served_by_all};
use crate::run::Supervisor;
use crate::snapshot::{Snapshot, SnapshotLibrary};
use crate::time::after;

use figures::Figures;

/// Half of the first wait until a promotion that failed is tried again.
const PROMOTE_AGAIN: Duration = Duration::from_secs(1);

/// One canary under comparison.
#[derive(Debug)]
pub(crate) struct Trial {
    library: String,
    version: String,
    build: String,
    share_ppm: u32,
    promote_after: Option<Duration>,
    began_ns: u64,
    /// Workers that died inside the canary.
    deaths_count: u32,
    /// What stood there when it began, by service: of the build in force, and of the canary.
    before: BTreeMap<ServiceNumber, Pair>,
    /// Its end was asked for.
    is_ending: bool,
    /// How often it could not be put into force.
    failures_count: u32,
    /// Before then that is not tried again.
    promote_again_ns: u64,
}

/// Figures of the build in force and of its canary.
#[derive(Debug, Clone, Default)]
struct Pair {
    in_force: Figures,
    canary: Figures,
}

/// What follows from the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Promote,
    Abort { why: String },
}

impl Trial {
    fn begin(control: &Control, snapshot: &Snapshot, library: &SnapshotLibrary, now_ns: u64) -> Option<Self> {
        let canary = library.canary?;
        Some(Self {
            library: library.name.clone(),
            version: library.version.clone(),
            build: library.build.clone(),
            share_ppm: canary.share_ppm,
            promote_after: canary.promote_after_ms.map(Duration::from_millis),
            began_ns: now_ns,
            deaths_count: 0,
            before: pairs(control, snapshot, &library.name),
            is_ending: false,
            failures_count: 0,
            promote_again_ns: 0,
        })
    }

    fn is_of(&self, library: &SnapshotLibrary) -> bool {
        self.build == library.build
            && library.canary.is_some_and(|canary| {
                canary.share_ppm == self.share_ppm
                    && canary.promote_after_ms.map(Duration::from_millis) == self.promote_after
            })
    }

    /// The figures since the comparison began, by service.
    fn since(&self, control: &Control, snapshot: &Snapshot) -> BTreeMap<ServiceNumber, Pair> {
        let mut now = pairs(control, snapshot, &self.library);
        for (number, pair) in &mut now {
            if let Some(before) = self.before.get(number) {
                pair.in_force.take_off(&before.in_force);
                pair.canary.take_off(&before.canary);
            }
        }
        now
    }

    /// `is_served`: every worker has loaded the canary, so that the figures are its own.
    fn verdict(
        &self,
        pairs: &BTreeMap<ServiceNumber, Pair>,
        is_served: bool,
        rule: &ServiceSettings,
        now_ns: u64,
    ) -> Verdict {
        if self.deaths_count >= rule.canary_deaths {
            let count = self.deaths_count;
            return Verdict::Abort { why: format!("{count} workers died in it (service.canary_deaths)") };
        }
        for (number, Pair { in_force, canary }) in pairs {
            if canary.served() < u64::from(rule.canary_calls) {
                continue;
            }
            if let Some(why) = figures::compare(in_force, canary, rule) {
                return Verdict::Abort { why: format!("service {number}: {why}") };
            }
        }
        let ran = Duration::from_nanos(now_ns.saturating_sub(self.began_ns));
        // Few calls are too few to set it aside for, and enough to keep it from coming into force.
        let does_well = |pair: &Pair| figures::compare(&pair.in_force, &pair.canary, rule).is_none();
        let was_judged = |pair: &Pair| pair.canary.served() >= u64::from(rule.canary_calls);
        let has_passed = pairs.values().any(was_judged)
            && pairs.values().filter(|pair| pair.canary.served() > 0).all(does_well);
        match self.promote_after {
            Some(after) if is_served && ran >= after && has_passed && now_ns >= self.promote_again_ns => {
                Verdict::Promote
            }
            _ => Verdict::GoOn,
        }
    }
}

/// The figures of a library's services, of all threads together.
fn pairs(control: &Control, snapshot: &Snapshot, library: &str) -> BTreeMap<ServiceNumber, Pair> {
    let numbers = snapshot.services.iter().filter(|service| service.library == library);
    let mut pairs: BTreeMap<ServiceNumber, Pair> =
        numbers.map(|service| (service.number, Pair::default())).collect();
    for (index, row) in control.services().iter().enumerate() {
        let number = ServiceNumber::new(row.number.load(Acquire)).ok();
        let Some(pair) = number.and_then(|number| pairs.get_mut(&number)) else { continue };
        for thread in 0..control.dimensions().io_threads as usize {
            pair.in_force.add(&control.statistics(thread)[index]);
            pair.canary.add(&control.canary_statistics(thread)[index]);
        }
    }
    pairs
}

impl Supervisor {
    /// Begins to compare the canaries of what was just published, and ends the trials that are over.
    pub(crate) fn follow_canaries(&mut self) {
        let (control, snapshot) = (self.segments.control(), &self.snapshot);
        let now_ns = clock::monotonic_ns();
        let canaries = || snapshot.libraries.iter().filter(|library| library.canary.is_some());
        self.trials.retain(|trial| canaries().any(|library| trial.is_of(library)));
        for library in canaries() {
            if !self.trials.iter().any(|trial| trial.is_of(library)) {
                self.trials.extend(Trial::begin(control, snapshot, library, now_ns));
            }
        }
    }

    /// Counts a worker that died in a canary.
    pub(crate) fn note_canary_death(&mut self, library: &LibraryFacts) {
        if let Some(trial) = self.trials.iter_mut().find(|trial| trial.build == library.build) {
            trial.deaths_count += 1;
        }
        self.judge_canaries();
    }

    /// Ends the trials that have come out, well or badly.
    pub(crate) fn judge_canaries(&mut self) {
        let now_ns = clock::monotonic_ns();
        let mut jobs = Vec::new();
        let (control, places) = (self.segments.control(), &self.places);
        let generation = control.node().directory_generation.load(Acquire);
        for trial in self.trials.iter_mut().filter(|trial| !trial.is_ending) {
            let pairs = trial.since(control, &self.snapshot);
            let goal = Goal::new(control, generation, &trial.library);
            let is_served = is_served_by_all(control, places, goal);
            let verdict = trial.verdict(&pairs, is_served, &self.settings.service, now_ns);
            let (library, version) = (trial.library.clone(), trial.version.clone());
            let (operation, lane, why) = match verdict {
                Verdict::GoOn => continue,
                Verdict::Promote => {
                    tracing::warn!(library, version, "the canary did well and comes into force");
                    ("promote", Lane::Registry, "it did well for as long as was asked".to_owned())
                }
                Verdict::Abort { why } => {
                    tracing::error!(
                        library,
                        version,
                        why,
                        "the canary is set aside; the build in force serves all again"
                    );
                    ("abort", Lane::Urgent, why)
                }
            };
            trial.is_ending = true;
            let why = format!("--why={why}");
            let arguments =
                ["helper-registry", "--by=platform", &why, operation, "--", &library, &trial.build];
            let task = Task::Trial { build: trial.build.clone() };
            jobs.push(Job::new(task, lane, arguments.map(str::to_owned).to_vec(), HELPER_LIMIT));
        }
        for job in jobs {
            if let Err(Job { task: Task::Trial { build }, .. }) = self.helpers.ask(job) {
                self.retry_trial(&build);
            }
        }
    }

    /// What was to end a trial failed. It is judged again at the next look, and put into force after a longer time each
    /// time, since that tries its library out anew.
    pub(crate) fn retry_trial(&mut self, build: &str) {
        for trial in self.trials.iter_mut().filter(|trial| trial.build == build) {
            trial.is_ending = false;
            trial.failures_count += 1;
            let wait = PROMOTE_AGAIN.saturating_mul(1 << trial.failures_count.min(6));
            trial.promote_again_ns = after(clock::monotonic_ns(), wait);
        }
    }

    /// The comparison for an operator.
    pub(crate) fn canary_list(&self) -> Value {
        let now_ns = clock::monotonic_ns();
        let trial = |trial: &Trial| {
            let pairs = trial.since(self.segments.control(), &self.snapshot);
            let in_force =
                self.snapshot.libraries.iter().find(|known| known.active && known.name == trial.library);
            let services: Vec<Value> = pairs
                .iter()
                .map(|(number, pair)| {
                    json!({ "number": number, "in_force": pair.in_force.facts(), "canary": pair.canary.facts() })
                })
                .collect();
            json!({
                "library": trial.library,
                "version": trial.version,
                "build": trial.build,
                "share": f64::from(trial.share_ppm) / 1_000_000.0,
                "compared_ms": now_ns.saturating_sub(trial.began_ns) / 1_000_000,
                "promote_after_ms": trial.promote_after.map(|after| after.as_millis() as u64),
                "deaths": trial.deaths_count,
                "in_force": in_force.map(|known| json!({ "version": known.version, "build": known.build })),
                "services": services,
            })
        };
        self.trials.iter().map(trial).collect()
    }
}

#[cfg(test)]
mod tests;
