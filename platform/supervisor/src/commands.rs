//! What operators ask, and what follows from a helper's answer.

use std::path::PathBuf;

use gantry_message::ServiceNumber;
use gantry_segment::{LibraryRow, ServiceRow};
use gantry_settings::LogLevel;
use gantry_sys::atomic::Ordering::{Acquire, Relaxed};
use gantry_sys::clock;
use gantry_telemetry::Level;
use serde_json::{Value, json};

use crate::SupervisorError;
use crate::helper::{Finished, Job, Lane};
use crate::limits::HELPER_LIMIT;
use crate::node_row::{level_code, milliseconds};
use crate::pending::WaitFor;
use crate::protocol::{Request, Response, ServiceRequest};
use crate::publish::{Defaults, free_libraries, publish};
use crate::reap::wake_all;
use crate::receipt::{Goal, is_former_free};
use crate::reload::policy;
use crate::run::{Phase, Supervisor};
use crate::snapshot::{HelperAnswer, Snapshot, SnapshotService};

/// What a helper was asked for, and what follows.
#[derive(Debug)]
pub(crate) enum Task {
    /// The services at the start of the node.
    Prepare,
    /// A change that an operator asked for.
    Change { client: u64, request: ServiceRequest },
    /// What the registry knows of one service.
    Show { client: u64, number: ServiceNumber },
    /// What another program is, which is to take the node over.
    Layout { client: u64, executable: PathBuf },
    /// A build is to be replaced for one service, or its quarantine to outlive the node.
    Quarantine { number: ServiceNumber },
    /// A trial has come out.
    Trial { build: String },
    /// What workers cannot load is to be taken back.
    TakeBack { client: Option<u64>, receipt: Value },
    /// What the registry says is looked at again.
    Look,
    /// Old requests are to be forgotten.
    Prune,
}

impl Supervisor {
    /// Runs a client's command, and those that it has sent behind it.
    pub(crate) fn run_commands(&mut self, client: u64, line: Vec<u8>) {
        let mut line = Some(line);
        while let Some(text) = line.take() {
            let request = Request::read(&text);
            let stop = match request {
                Ok(Request::Stop { now }) => Some(now),
                _ => None,
            };
            let response = match request {
                Ok(request) => self.run_command(client, request),
                Err(error) => Some(Response::failed(error)),
            };
            if let Some(response) = response {
                line = self.admin.answer(client, &response, &self.poller, clock::monotonic_ns());
            }
            // Only after the answer: the end of the node takes the connection with it.
            if let Some(now) = stop {
                self.stop(now);
            }
        }
    }

    /// `None` when the answer comes later.
    fn run_command(&mut self, client: u64, request: Request) -> Option<Response> {
        match request {
            Request::Status => Some(Response::done(self.status())),
            Request::Stop { .. } => Some(Response::done(json!({ "pid": std::process::id() }))),
            Request::Log { level } => Some(self.change_log_level(&level)),
            Request::Reload => Some(match self.reload() {
                Ok(report) => Response::done(report),
                Err(error) => Response::failed(error.to_string()),
            }),
            Request::Upgrade { binary } => self.ask_for_layout(client, binary),
            Request::Service(_) if self.registry_fault.is_some() => {
                self.registry_fault.as_ref().map(|(reason, _)| {
                    Response::not_now(format!(
                        "the services cannot be read ({reason}); it is tried again every few seconds"
                    ))
                })
            }
            Request::Service(ServiceRequest::List) => Some(Response::done(self.service_list())),
            Request::Service(ServiceRequest::Canary) => Some(Response::done(self.canary_list())),
            Request::Service(request) => self.ask_registry(client, request),
            Request::Drain => match self.phase {
                Phase::Serving => {
                    self.begin_drain();
                    let limit = self.settings.node.drain_grace + self.settings.supervisor.stop_timeout;
                    self.wait_for(client, WaitFor::Drained, limit, json!({ "draining": true }));
                    None
                }
                _ => Some(Response::failed(format!(
                    "the node is {}, so it cannot be drained",
                    self.state_word()
                ))),
            },
            Request::Undrain => Some(if self.is_stopping() {
                Response::failed("the node is stopping")
            } else {
                self.undrain();
                Response::done(json!({ "draining": false }))
            }),
        }
    }

    fn change_log_level(&mut self, word: &str) -> Response {
        let level = match word.parse::<Level>() {
            Ok(level) => level,
            Err(error) => return Response::failed(error.to_string()),
        };
        self.set_log_level(level);
        Response::done(json!({ "level": level.as_str() }))
    }

    /// Changes the level of this process, and tells all others in the node's row.
    pub(crate) fn set_log_level(&self, level: Level) {
        let code = level_code(match level {
            Level::Debug => LogLevel::Debug,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        });
        let control = self.segments.control();
        control.node().log_level.store(code, Relaxed);
        wake_all(control, &self.doorbells);
        if let Err(error) = gantry_telemetry::set_level(level) {
            tracing::error!(%error, "the log level of the supervisor cannot be changed");
        }
    }

    /// Has a helper do what concerns the registry.
    fn ask_registry(&mut self, client: u64, request: ServiceRequest) -> Option<Response> {
        if !matches!(self.phase, Phase::Serving) {
            return Some(Response::not_now(format!(
                "the node is {}; try again when it serves",
                self.state_word()
            )));
        }
        let asker = self.admin.asker(client).unwrap_or_else(|| "somebody".to_owned());
        let mut arguments = vec!["helper-registry".to_owned(), format!("--by={asker}")];
        arguments.push(format!("--why={}", request.why()));
        arguments.extend(arguments_of(&request));
        let lane = self.lane_of(&request);
        let task = match request {
            ServiceRequest::Show { number } => Task::Show { client, number },
            request => Task::Change { client, request },
        };
        let job = Job::new(task, lane, arguments, HELPER_LIMIT);
        match self.helpers.ask(job) {
            Ok(()) => None,
            Err(_) => Some(Response::not_now("too many changes are waiting already; try again in a while")),
        }
    }

    /// What takes something out of force waits for no library that is tried out. What opens and closes one service stays in
    /// its order.
    fn lane_of(&self, request: &ServiceRequest) -> Lane {
        let usual = match request {
            ServiceRequest::Show { .. }
            | ServiceRequest::Stop { .. }
            | ServiceRequest::Rule { .. }
            | ServiceRequest::Abort { .. } => Lane::Urgent,
            _ => Lane::Registry,
        };
        let (ServiceRequest::Start { number } | ServiceRequest::Stop { number, .. }) = request else {
            return usual;
        };
        let has_one = |lane: &Lane| self.helpers.jobs(*lane).any(|job| opens_or_closes(&job.task, *number));
        [Lane::Registry, Lane::Urgent].into_iter().find(has_one).unwrap_or(usual)
    }

    /// Takes up what a helper found or did.
    pub(crate) fn follow_helper(&mut self, finished: Finished<Task>) {
        let Finished { task, outcome, said } = finished;
        if outcome.is_ok() && !said.is_empty() {
            tracing::warn!(task = ?task, said, "a helper had something to say");
        }
        let task = match task {
            Task::Layout { client, executable } => return self.follow_layout(client, executable, outcome),
            task => task,
        };
        let answer = outcome.and_then(|value| {
            serde_json::from_value::<HelperAnswer>(value)
                .map_err(|error| format!("the helper's answer cannot be understood: {error}"))
        });
        match (task, answer) {
            (Task::Prepare, Ok(answer)) => self.begin_children(answer),
            (Task::Prepare, Err(reason)) if self.is_adopted => self.note_registry_fault(reason),
            (Task::Prepare, Err(reason)) => self.fail(SupervisorError::Prepare { reason }),
            (Task::Change { client, request }, Ok(answer)) => self.follow_change(client, &request, answer),
            (Task::Show { client, number }, Ok(answer)) => {
                let mut facts = answer.result;
                self.add_counters(number, &mut facts);
                self.answer(client, &Response::done(facts));
            }
            (Task::Change { client, .. }, Err(reason)) => {
                self.answer(client, &Response::failed(reason));
                self.look_at_registry();
            }
            (Task::Show { client, .. }, Err(reason)) => self.answer(client, &Response::failed(reason)),
            (Task::Look, Ok(answer)) => self.follow_look(answer),
            (Task::TakeBack { client, receipt }, answer) => self.follow_take_back(client, receipt, answer),
            (Task::Quarantine { number }, Ok(answer)) => {
                self.unsettled.remove(&number);
                self.follow_own_change(answer);
            }
            (Task::Trial { .. }, Ok(answer)) => self.follow_own_change(answer),
            (Task::Prune | Task::Layout { .. }, Ok(_)) => {}
            (task @ (Task::Quarantine { .. } | Task::Trial { .. }), Err(reason)) => {
                tracing::error!(?task, reason, "a helper failed");
                if let Task::Trial { build } = task {
                    self.retry_trial(&build);
                }
                self.look_at_registry();
            }
            (task @ (Task::Look | Task::Prune | Task::Layout { .. }), Err(reason)) => {
                tracing::error!(?task, reason, "a helper failed");
            }
        }
    }

    /// The services are known: children may start, and those that were taken over follow them.
    fn begin_children(&mut self, answer: HelperAnswer) {
        if self.is_stopping() {
            return;
        }
        if matches!(self.phase, Phase::Preparing) {
            self.phase = Phase::Starting;
        }
        match self.publish(answer.snapshot.unwrap_or_default()) {
            Ok(_) => {
                (self.is_prepared, self.registry_fault) = (true, None);
                self.fill_places(clock::monotonic_ns());
            }
            Err(error) if self.is_adopted => self.note_registry_fault(error.to_string()),
            Err(error) => self.fail(error),
        }
    }

    /// Has a helper read the registry: the one before failed, perhaps after its change was made.
    pub(crate) fn look_at_registry(&mut self) {
        // One that runs may have looked already; one that waits will do for this too.
        let looks = self.helpers.jobs(Lane::Registry).filter(|job| matches!(job.task, Task::Look));
        if looks.count() > 1 {
            return;
        }
        let arguments = ["helper-registry", "snapshot"].map(str::to_owned).to_vec();
        if self.helpers.ask(Job::new(Task::Look, Lane::Registry, arguments, HELPER_LIMIT)).is_err() {
            tracing::error!("the registry cannot be looked at again: too many helpers wait");
        }
    }

    /// Publishes what the registry says if that is something else than what is published.
    fn follow_look(&mut self, answer: HelperAnswer) {
        let is_news = |snapshot: &Snapshot| snapshot.generation > self.snapshot.generation;
        let Some(snapshot) = answer.snapshot.filter(is_news) else { return };
        tracing::warn!(
            "the registry was changed by a helper that failed afterwards; the change comes into force"
        );
        if let Err(error) = self.publish(snapshot) {
            tracing::error!(%error, "what is in the registry cannot be published");
        }
    }

    /// Publishes what a helper changed in the platform's own name.
    fn follow_own_change(&mut self, answer: HelperAnswer) {
        if let (Some(number), Some(version)) =
            (answer.result["number"].as_u64(), answer.result["version"].as_str())
        {
            tracing::error!(
                service = number,
                version,
                "the service fell back to an earlier build, which serves it now"
            );
        }
        if let Err(error) = answer.snapshot.map(|snapshot| self.publish(snapshot)).transpose() {
            tracing::error!(%error, "what changed is in the registry, and cannot be published");
        }
    }

    fn follow_change(&mut self, client: u64, request: &ServiceRequest, answer: HelperAnswer) {
        for number in given_a_new_chance(request, &answer.result) {
            // Where the answer was overtaken, the new build may have been quarantined since it came into force.
            let is_its_own =
                self.quarantined.get(&number).is_some_and(|build| answer.result["build"] == **build);
            if !is_its_own {
                self.quarantine.forget(number);
                self.quarantined.remove(&number);
            }
        }
        let published = answer.snapshot.map(|snapshot| self.publish(snapshot)).transpose();
        match published {
            Ok(Some(generation)) => {
                let library = answer.result["library"].as_str().unwrap_or_default();
                let goal = Goal::new(self.segments.control(), generation, library);
                self.wait_for(client, WaitFor::Served { goal }, request.wait(), answer.result);
            }
            Ok(None) => self.answer(client, &Response::done(answer.result)),
            Err(error) => self.answer(client, &Response::failed(error.to_string())),
        }
    }

    /// Publishes what the registry says, and gives the generation that workers have to reach.
    ///
    /// Helpers of two lanes may answer in another order than they changed the registry: what is older than the present
    /// state is part of it already, and the present state is published again.
    pub(crate) fn publish(&mut self, mut snapshot: Snapshot) -> Result<u64, SupervisorError> {
        if snapshot.generation < self.snapshot.generation {
            snapshot = self.snapshot.clone();
        }
        let mut published = snapshot.clone();
        for service in &mut published.services {
            service.quarantined = self.is_quarantined(service);
        }
        let control = self.segments.control();
        if is_former_free(control, &self.places) {
            free_libraries(control);
        }
        let policy = policy(self.settings.service.policy);
        let timeout_ms = milliseconds(self.settings.service.timeout);
        let directory = self.segments.directory();
        let generation = publish(control, &published, Defaults { timeout_ms, policy }, |number, entry| {
            directory.publish(number.get(), entry);
        })?;
        tracing::debug!(generation, services_count = published.services.len(), "services published");
        self.snapshot = snapshot;
        self.follow_canaries();
        let control = self.segments.control();
        wake_all(control, &self.doorbells);
        Ok(generation)
    }

    /// Whether a service is out of service. That is in force at once; the helper that writes it down may still be waiting.
    pub(crate) fn is_quarantined(&self, service: &SnapshotService) -> bool {
        service.quarantined || self.quarantined.get(&service.number) == Some(&service.build)
    }

    /// Puts a build of a service out of service: at once for callers. A helper lets an earlier build serve in its place,
    /// or notes the quarantine for the next start.
    pub(crate) fn quarantine_build(&mut self, number: ServiceNumber, build: &str) {
        // By what is published: a supervisor that took the node over may not know the registry yet.
        let control = self.segments.control();
        let mut rows = control.services().iter().filter(|row| row.number.load(Acquire) == number.get());
        let serves = |row: &&ServiceRow| {
            let library = control.libraries().get(row.library.load(Relaxed) as usize);
            library.and_then(LibraryRow::read).is_some_and(|facts| facts.build == build)
        };
        let Some(row) = rows.find(serves) else {
            tracing::warn!(service = %number, build, "the build that died too often was replaced already");
            return;
        };
        row.quarantined.store(1, Relaxed);
        self.quarantined.insert(number, build.to_owned());
        self.unsettled.insert(number);
        self.settle_quarantines();
    }

    /// Has helpers find out which build serves in the place of those that were quarantined: again where one failed, or an
    /// earlier supervisor died before it was told.
    pub(crate) fn settle_quarantines(&mut self) {
        // Until the registry is known it cannot be told which of them are open.
        if !self.is_prepared || matches!(self.phase, Phase::Ended) {
            return;
        }
        let (quarantined, services) = (&self.quarantined, &self.snapshot.services);
        let is_open = |number: &ServiceNumber| {
            let build = quarantined.get(number);
            services.iter().any(|service| service.number == *number && Some(&service.build) == build)
        };
        self.unsettled.retain(is_open);
        for number in self.unsettled.clone() {
            let is_meant =
                |job: &Job<Task>| matches!(job.task, Task::Quarantine { number: asked } if asked == number);
            if self.helpers.jobs(Lane::Urgent).any(is_meant) {
                continue;
            }
            if let Some(build) = self.quarantined.get(&number).cloned() {
                self.ask_for_another_build(number, &build);
            }
        }
    }

    fn ask_for_another_build(&mut self, number: ServiceNumber, build: &str) {
        let why = "--why=its workers died too often";
        let arguments =
            ["helper-registry", "--by=platform", why, "quarantine", "--", &number.to_string(), build];
        let arguments = arguments.map(str::to_owned).to_vec();
        let job = Job::new(Task::Quarantine { number }, Lane::Urgent, arguments, HELPER_LIMIT);
        if self.helpers.ask(job).is_err() {
            tracing::error!(service = %number, build, "no other build is looked for yet: too many helpers wait");
        }
    }

    /// Has old rows of `gantry_request` removed, unless that is still going on.
    pub(crate) fn prune_requests(&mut self) {
        if self.helpers.jobs(Lane::Background).next().is_some() {
            return;
        }
        let arguments = ["helper-registry", "prune"].map(str::to_owned).to_vec();
        let job = Job::new(Task::Prune, Lane::Background, arguments, HELPER_LIMIT);
        // When too many wait it is for the next time.
        let _taken = self.helpers.ask(job);
    }

    /// Answers a client, and runs what it has sent behind its command.
    pub(crate) fn answer(&mut self, client: u64, response: &Response) {
        if let Some(line) = self.admin.answer(client, response, &self.poller, clock::monotonic_ns()) {
            self.run_commands(client, line);
        }
    }

    /// Answers for a helper that was ended with the node.
    pub(crate) fn give_up(&mut self, task: Task) {
        if let Task::Change { client, .. }
        | Task::Show { client, .. }
        | Task::TakeBack { client: Some(client), .. }
        | Task::Layout { client, .. } = task
        {
            self.answer(client, &Response::not_now("the node stopped before it was done"));
        }
    }
}

/// Whether a helper lets a service be called, or takes it out of force.
fn opens_or_closes(task: &Task, service: ServiceNumber) -> bool {
    match task {
        Task::Change {
            request: ServiceRequest::Start { number } | ServiceRequest::Stop { number, .. },
            ..
        }
        | Task::Quarantine { number } => *number == service,
        _ => false,
    }
}

/// The arguments of the hidden sub-command for a request.
fn arguments_of(request: &ServiceRequest) -> Vec<String> {
    let plain = |operation: &str, rest: Vec<String>| {
        // What follows `--` is never taken for an option.
        [vec![operation.to_owned(), "--".to_owned()], rest].concat()
    };
    match request {
        ServiceRequest::List => plain("list", Vec::new()),
        ServiceRequest::Show { number } => plain("show", vec![number.to_string()]),
        ServiceRequest::Canary => plain("canary", Vec::new()),
        ServiceRequest::Deploy { library, canary_ppm, promote_after_ms, unless_in_force, .. } => {
            let mut arguments = vec!["deploy".to_owned()];
            arguments.extend(canary_ppm.map(|ppm| format!("--canary-ppm={ppm}")));
            arguments.extend(promote_after_ms.map(|after_ms| format!("--promote-after-ms={after_ms}")));
            arguments.extend(unless_in_force.then(|| "--unless-in-force".to_owned()));
            arguments.extend(["--".to_owned(), library.to_string_lossy().into_owned()]);
            arguments
        }
        ServiceRequest::Promote { name, .. } => plain("promote", vec![name.clone()]),
        ServiceRequest::Abort { name, .. } => plain("abort", vec![name.clone()]),
        ServiceRequest::Reload { name } => plain("reload", vec![name.clone()]),
        ServiceRequest::Start { number } => plain("start", vec![number.to_string()]),
        ServiceRequest::Rollback { name, to, .. } => {
            plain("rollback", std::iter::once(name.clone()).chain(to.clone()).collect())
        }
        ServiceRequest::Unload { name, .. } => plain("unload", vec![name.clone()]),
        ServiceRequest::Stop { number, .. } => plain("stop", vec![number.to_string()]),
        ServiceRequest::Rule { number, set } => {
            let rules = set.iter().map(|(key, value)| format!("{key}={value}"));
            plain("rule", std::iter::once(number.to_string()).chain(rules).collect())
        }
    }
}

/// The services whose earlier deaths count no more: one started by hand, or those of a library of which another build
/// serves from now on (its version may still be the same).
fn given_a_new_chance(request: &ServiceRequest, result: &Value) -> Vec<ServiceNumber> {
    match request {
        ServiceRequest::Start { number } => vec![*number],
        ServiceRequest::Deploy { canary_ppm: None, .. }
        | ServiceRequest::Promote { .. }
        | ServiceRequest::Reload { .. }
        | ServiceRequest::Rollback { .. }
            if result["changed"] == true =>
        {
            let numbers = result["services"].as_array().into_iter().flatten();
            numbers.filter_map(|number| serde_json::from_value(number.clone()).ok()).collect()
        }
        _ => Vec::new(),
    }
}
