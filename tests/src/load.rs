//! Load in the background: threads that call one after the other and write down what became of each request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{Client, Request, until};

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It got a reply with this status.
    Status(u16),
    /// The connection ended before a reply came.
    Lost,
}

/// One request of a load, and what became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The request as it was sent.
    pub request: Request,
    /// What came back.
    pub answer: Answer,
}

/// A running load.
pub struct Load {
    state: Arc<Mutex<State>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    sent: Vec<Sent>,
}

impl Load {
    /// Starts `connections` threads, each with one connection and one request in flight. `make` is called
    /// with the number of the thread. A connection that ends is opened again.
    #[must_use]
    pub fn start(
        address: SocketAddr,
        connections: usize,
        make: impl Fn(usize) -> Request + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let make = Arc::new(make);
        let spawn = |number: usize| {
            let (state, make) = (Arc::clone(&state), Arc::clone(&make));
            thread::spawn(move || send_until_stopped(address, &state, || make(number)))
        };
        let threads = (0..connections).map(spawn).collect();
        Self { state, threads }
    }

    /// How many requests have been answered or lost.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.state).sent.len()
    }

    /// Waits until `more` further requests have been answered or lost.
    #[track_caller]
    pub fn go_on(&self, more: usize) {
        let goal = self.count() + more;
        until(&format!("the load gets {more} further answers"), || (self.count() >= goal).then_some(()));
    }

    /// Stops after the requests in flight and returns everything that was sent.
    ///
    /// # Panics
    /// When one of the threads did.
    #[must_use]
    #[track_caller]
    pub fn stop(self) -> Vec<Sent> {
        lock(&self.state).stopped = true;
        for thread in self.threads {
            thread.join().expect("a thread of the load ends well");
        }
        std::mem::take(&mut lock(&self.state).sent)
    }
}

/// How often each answer came.
#[must_use]
pub fn tally(sent: &[Sent]) -> BTreeMap<Answer, usize> {
    let mut counts = BTreeMap::new();
    for one in sent {
        *counts.entry(one.answer).or_default() += 1;
    }
    counts
}

fn send_until_stopped(address: SocketAddr, state: &Mutex<State>, make: impl Fn() -> Request) {
    let mut client = None;
    while !lock(state).stopped {
        let connected = client
            .get_or_insert_with(|| Client::connect(address).expect("the listening socket is always there"));
        let request = make();
        let answer = match connected.try_send(&request).and_then(|()| connected.try_receive()) {
            Ok(Some(reply)) => {
                assert_eq!(reply.id, request.id.as_str(), "a reply to another request: {reply:?}");
                Answer::Status(reply.status)
            }
            Ok(None) | Err(_) => {
                client = None;
                Answer::Lost
            }
        };
        lock(state).sent.push(Sent { request, answer });
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
