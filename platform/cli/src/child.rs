//! The hidden sub-commands that the supervisor starts its children with.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use anyhow::Context;
use gantry_comm::{CommOptions, ListenerKind};
use gantry_segment::Segments;
use gantry_settings::Settings;
use gantry_sys::eventfd::EventFd;
use gantry_sys::limits::{make_descriptor_room, nofile};
use gantry_sys::process::{set_name, take_inherited};
use gantry_sys::signal::{Signal, ignore};
use gantry_sys::user::{allow_tracers, set_dumpable};
use gantry_worker::WorkerOptions;

use crate::arguments::{ChildArguments, ChildCommArguments, ChildWorkerArguments, QueueArgument};
use crate::telemetry;

/// Descriptors of a communication process that are no connections: listeners, doorbells, epoll, logs, the keeper.
const OTHER_DESCRIPTORS: u64 = 64;

/// Is the communication process.
pub(crate) fn comm(settings: Settings, arguments: ChildCommArguments) -> anyhow::Result<ExitCode> {
    let ChildCommArguments { child, listeners } = arguments;
    let (segments, doorbells) = adopt(&child)?;
    let listener = |(kind, number): (ListenerKind, i32)| -> anyhow::Result<(ListenerKind, OwnedFd)> {
        let socket =
            take_inherited(number).with_context(|| format!("listener {number} was not inherited"))?;
        Ok((kind, socket))
    };
    let listeners = listeners.into_iter().map(listener).collect::<anyhow::Result<Vec<_>>>()?;
    make_room(&settings, &listeners);
    set_name("gantry-comm");
    let level = telemetry::level_in_force(&settings, segments.control());
    let log = telemetry::init(&settings, "comm", None, level)?;
    let (row, epoch) = (child.row, child.epoch);
    let outcome = gantry_comm::run(CommOptions { segments, row, epoch, settings, listeners, doorbells });
    finish(outcome, &log)
}

/// Makes room for the descriptors of all connections while this process is alone: it takes over thousands at a time, in
/// threads, beside a keeper that shares the table.
fn make_room(settings: &Settings, listeners: &[(ListenerKind, OwnedFd)]) {
    let count = u64::from(settings.comm.connections_max) + OTHER_DESCRIPTORS;
    let count = u32::try_from(count.min(nofile())).unwrap_or(u32::MAX);
    if let Some((_, any)) = listeners.first() {
        // The table grows later then, which only costs time.
        let _ = make_descriptor_room(any, count);
    }
}

/// Is a worker.
pub(crate) fn worker(settings: Settings, arguments: ChildWorkerArguments) -> anyhow::Result<ExitCode> {
    let ChildWorkerArguments { child, queue } = arguments;
    let (segments, doorbells) = adopt(&child)?;
    set_name("gantry-worker");
    let level = telemetry::level_in_force(&settings, segments.control());
    let log = telemetry::init(&settings, "worker", Some(child.row.into()), level)?;
    let (row, epoch) = (child.row, child.epoch);
    let queue = match queue {
        QueueArgument::One(queue) => Some(queue),
        QueueArgument::Any => None,
    };
    let outcome = gantry_worker::run(WorkerOptions { segments, row, epoch, queue, settings, doorbells });
    finish(outcome, &log)
}

/// Takes over what the supervisor handed on. Done first, before anything else opens descriptors.
fn adopt(child: &ChildArguments) -> anyhow::Result<(Segments, Vec<EventFd>)> {
    let doorbell = |number: &i32| -> anyhow::Result<EventFd> {
        let descriptor =
            take_inherited(*number).with_context(|| format!("doorbell {number} was not inherited"))?;
        Ok(EventFd::adopt(descriptor)?)
    };
    let doorbells = child.doorbells.iter().map(doorbell).collect::<anyhow::Result<_>>()?;
    // A terminal's signals are the supervisor's business; it tells its children what to do.
    ignore(Signal::SIGINT)?;
    ignore(Signal::SIGHUP)?;
    // A supervisor that takes over copies descriptors out of this process. Where that is forbidden all the same, it ends
    // the children of the one before it and says so.
    set_dumpable(true)?;
    allow_tracers()?;
    Ok((Segments::attach(&child.handoff)?, doorbells))
}

/// The end of a child: an error goes to its log and, for who starts it by hand, to standard error.
fn finish<E: std::error::Error + Send + Sync + 'static>(
    outcome: Result<(), E>,
    log: &gantry_telemetry::LogGuard,
) -> anyhow::Result<ExitCode> {
    if let Err(error) = &outcome {
        tracing::error!(%error, "this process cannot go on");
    }
    log.flush()?;
    outcome?;
    Ok(ExitCode::SUCCESS)
}
