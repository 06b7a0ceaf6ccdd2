//! One exchange with a server: all commands in one write, all answers before one deadline.
//!
//! The crate's own `query` of a pipeline goes on to the next answer when one did not come in time, and waits the whole
//! time-out for each; a silent server would hold a request up a dozen times as long as it was allowed to.

use std::time::{Duration, Instant};

use redis::{Connection, Pipeline, RedisResult, Value};

use super::Trouble;

/// The shortest time-out that a socket is given; zero would mean for ever.
const LEFT_MIN: Duration = Duration::from_millis(1);

/// Sends commands and reads an answer to each. After an error the connection is of no use any more: answers may still be on
/// their way.
pub(super) fn ask(
    connection: &mut Connection,
    commands: &Pipeline,
    deadline: Instant,
) -> Result<Vec<Value>, Trouble> {
    send(connection, commands, deadline)?;
    let mut answers = Vec::with_capacity(commands.len());
    for _ in 0..commands.len() {
        answers.push(receive(connection, deadline)?.extract_error()?);
    }
    Ok(answers)
}

/// Sends an atomic pipeline, which is a `MULTI` with an `EXEC` around its commands, and reads what each gave.
/// [`Refused`](Trouble::Refused) says that none was executed.
pub(super) fn ask_at_once(
    connection: &mut Connection,
    commands: &Pipeline,
    deadline: Instant,
) -> Result<Vec<Value>, Trouble> {
    send(connection, commands, deadline)?;
    let mut refused = None;
    // MULTI and each command are acknowledged one by one.
    for _ in 0..=commands.len() {
        if let Err(error) = receive(connection, deadline)?.extract_error() {
            refused.get_or_insert(error);
        }
    }
    match (receive(connection, deadline)?, refused) {
        (Value::Array(answers), None) if answers.len() == commands.len() => {
            Ok(answers.into_iter().map(Value::extract_error).collect::<RedisResult<_>>()?)
        }
        (Value::ServerError(_), Some(why)) => Err(Trouble::Refused { why: why.to_string() }),
        (other, _) => {
            other.extract_error()?;
            Err(Trouble::Answer { what: "its answer to EXEC is none" })
        }
    }
}

fn send(connection: &mut Connection, commands: &Pipeline, deadline: Instant) -> Result<(), Trouble> {
    connection.set_write_timeout(Some(left(deadline)))?;
    in_time(connection.send_packed_command(&commands.get_packed_pipeline()))
}

fn receive(connection: &mut Connection, deadline: Instant) -> Result<Value, Trouble> {
    connection.set_read_timeout(Some(left(deadline)))?;
    in_time(connection.recv_response())
}

/// Gives what took too long its own name: the system calls it "resource temporarily unavailable".
pub(super) fn in_time<T>(outcome: RedisResult<T>) -> Result<T, Trouble> {
    outcome.map_err(|error| if error.is_timeout() { Trouble::Late } else { error.into() })
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(LEFT_MIN)
}
