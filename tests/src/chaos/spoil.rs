//! Breaking on purpose what a run watches over: a check that has never failed is not known to check anything.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use nix::unistd::Pid;
use rusqlite::Connection;
use serde_json::json;

use super::audit::Idle;
use super::stage::Stage;
use crate::Request;
use crate::etc::{ADD, SLEEP};
use crate::processes::mentioning;

/// What is broken, once, in a run that must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// A client never sees one of its answers.
    Answer,
    /// A client sees one of its answers twice.
    Twice,
    /// A communication process and its keepers die together, so that nobody holds the connections.
    Sockets,
    /// A write of which the model knows nothing.
    Write,
    /// A movement is gone from the database.
    Movement,
    /// One side of a movement is of another amount than the other.
    Entry,
    /// A slot is of no use any more.
    Slot,
    /// Every process seems to have one descriptor more than at the start.
    Descriptor,
    /// A process is left after the stop.
    Process,
    /// A worker has panicked, as its log says.
    Log,
}

impl Spoil {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Answer,
        Self::Twice,
        Self::Sockets,
        Self::Write,
        Self::Movement,
        Self::Entry,
        Self::Slot,
        Self::Descriptor,
        Self::Process,
        Self::Log,
    ];

    /// The word for it on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Twice => "twice",
            Self::Sockets => "sockets",
            Self::Write => "write",
            Self::Movement => "movement",
            Self::Entry => "entry",
            Self::Slot => "slot",
            Self::Descriptor => "descriptor",
            Self::Process => "process",
            Self::Log => "log",
        }
    }

    /// What stands in the fault by which it is noticed.
    #[must_use]
    pub fn noticed_as(self) -> &'static str {
        match self {
            Self::Answer => "is not answered",
            Self::Twice => "or a second one",
            Self::Sockets => "a TCP connection ended",
            Self::Write => "counter k0 is to be",
            Self::Movement => "acknowledged and not there",
            Self::Entry => "out of balance in the file",
            Self::Slot => "slots are not free",
            Self::Descriptor => "descriptors are left open",
            Self::Process => "processes are left after the stop",
            Self::Log => "panicked",
        }
    }
}

/// Before the node is looked at: everybody is idle.
pub(super) fn at_rest(spoil: Option<Spoil>, stage: &Stage, idle: &mut Idle) {
    match spoil {
        Some(Spoil::Slot) => spoil_slot(stage),
        Some(Spoil::Descriptor) => idle.values_mut().for_each(|count| *count -= 1),
        Some(Spoil::Write) => {
            stage.node.client().call_json(ADD, json!({"key": "k0", "add": 1})).done();
        }
        _ => {}
    }
}

/// After the node has stopped. What is returned is to be ended once it has been seen.
pub(super) fn after_stop(spoil: Option<Spoil>, stage: &Stage) -> Option<Leftover> {
    match spoil {
        Some(Spoil::Movement) => {
            change_database(
                stage,
                "DELETE FROM ledger_movement WHERE rowid = (SELECT MAX(rowid) FROM ledger_movement)",
            );
        }
        Some(Spoil::Entry) => {
            change_database(
                stage,
                "UPDATE ledger_entry SET amount_fen = amount_fen + 1 WHERE rowid = (SELECT MAX(rowid) FROM ledger_entry)",
            );
        }
        Some(Spoil::Process) => {
            let mut command = Command::new("tail");
            command.arg("-f").arg(stage.node.config()).stdin(Stdio::null()).stdout(Stdio::null());
            let leftover = Leftover(command.spawn().expect("`tail` can be started"));
            // For a moment after its start it has no command line.
            let folder = stage.node.folder().to_string_lossy();
            crate::until("the process is to be seen", || (!mentioning(&folder).is_empty()).then_some(()));
            return Some(leftover);
        }
        Some(Spoil::Log) => {
            let log = stage.node.state_folder().join("log/worker-2.log");
            let mut log = File::options().append(true).open(log).expect("a worker has a log");
            writeln!(log, "thread 'main' panicked at nowhere").expect("the log can be written");
        }
        _ => {}
    }
    None
}

/// A process that ends with this.
pub(super) struct Leftover(Child);

impl Drop for Leftover {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The pids of a communication process and all that hold connections with it.
pub(super) fn holders(members: &[super::cast::Member]) -> Vec<Pid> {
    use super::plan::Role;
    let holds = |role: Role| matches!(role, Role::Comm | Role::Keeper);
    members.iter().filter(|member| holds(member.role)).map(|member| member.pid).collect()
}

/// Makes nonsense of the word of a free slot: the one behind a slot that is found by the id of its request.
fn spoil_slot(stage: &Stage) {
    let memory = stage.node.memory("control");
    let mut client = stage.node.client();
    let request = Request::new(SLEEP, json!({"ms": 150}).to_string());
    client.send(&request);
    let slots_end = 1024 * 1024;
    let place = crate::until("the request is in a slot", || {
        memory.find(request.id.as_str().as_bytes(), slots_end).first().copied()
    });
    client.receive();
    let row = place / 256 * 256;
    let neighbour = if row % 4096 == 0 { row + 256 } else { row - 256 };
    memory.write(neighbour, &[0xff; 8]);
}

fn change_database(stage: &Stage, sql: &str) {
    let file = stage.node.state_folder().join("data.db");
    let changed = Connection::open(file).and_then(|database| database.execute(sql, []));
    assert_eq!(changed, Ok(1), "{sql}");
}
