//! A look at a server that is away, on a thread of its own: however long it takes, no request waits for it.

use std::thread::{self, JoinHandle};
use std::time::Instant;

use gantry_settings::{RedisAddress, RedisUrl};

use super::Trouble;
use super::place::{self, Link};
use crate::limits::REDIS_LIMIT;

/// A look that was begun. Dropping it leaves its thread to end by itself, which it does in time.
pub(crate) struct Probe {
    thread: JoinHandle<Result<Found, Trouble>>,
}

/// The servers of all lists, connected.
pub(crate) struct Found {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<(String, RedisAddress)>,
}

impl Probe {
    /// Begins to look for the servers of lists by the names that theirs begin with. `None` when the system has no
    /// thread for it; then it is tried again like after a failure.
    pub(crate) fn start(url: RedisUrl, bases: Vec<String>) -> Option<Self> {
        let look = move || look(&url, bases);
        match thread::Builder::new().name("serial-probe".to_owned()).spawn(look) {
            Ok(thread) => Some(Self { thread }),
            Err(error) => {
                tracing::warn!(%error, "no thread could be started to look whether Redis is back");
                None
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What it found; blocks until it is over.
    pub(crate) fn finish(self) -> Result<Found, Trouble> {
        self.thread.join().unwrap_or(Err(Trouble::Answer { what: "the look at it ended by a panic" }))
    }
}

fn look(url: &RedisUrl, bases: Vec<String>) -> Result<Found, Trouble> {
    let deadline = Instant::now() + REDIS_LIMIT;
    let mut found = Found { links: Vec::new(), routes: Vec::new() };
    for base in bases {
        let address = place::find(url, &base, deadline)?;
        if !found.links.iter().any(|link| link.address == address) {
            found.links.push(place::connect(url, &address, deadline)?);
        }
        found.routes.push((base, address));
    }
    Ok(found)
}
