//! Platform number 00000002: what became of an earlier write, asked of the database.

use std::time::Duration;

use gantry_datasource::SourceError;
use gantry_datasource::requests::{self, Fence, Recorded, RequestKey};
use gantry_message::{CallerName, RequestId, outcome};

use crate::sources::Sources;
use crate::sql::Limit;
use crate::write::{now_ms, on};

/// How long a fence waits for a writer that holds on; then the answer is `running`.
const FENCE_LIMIT: Duration = Duration::from_millis(500);

/// What is asked.
pub(crate) struct Question {
    pub(crate) caller: CallerName,
    pub(crate) request_id: RequestId,
    /// The communication process knows that the attempt's worker is dead, so it may be fenced off.
    pub(crate) is_lost: bool,
}

impl Question {
    /// Reads the body: the 24 bytes of a request id, and `L` behind them for a lost attempt.
    pub(crate) fn read(caller: CallerName, body: &[u8]) -> Option<Self> {
        let (id, mark) = body.split_at_checked(gantry_message::REQUEST_ID_BYTES)?;
        let is_lost = match mark {
            b"" => false,
            b"L" => true,
            _ => return None,
        };
        let request_id = RequestId::new(id.try_into().ok()?).ok()?;
        Some(Self { caller, request_id, is_lost })
    }

    fn key(&self) -> RequestKey<'_> {
        RequestKey { caller: self.caller.as_str(), request_id: self.request_id.as_str() }
    }
}

/// Answers from the request tables of all data sources.
///
/// # Errors
/// A data source's error: nothing is known then.
pub(crate) fn answer(
    sources: &mut Sources,
    question: &Question,
    limit: Limit,
) -> Result<String, SourceError> {
    let names = sources.names();
    for name in &names {
        let found = on(sources, name, |connection| {
            let found = requests::outcome(connection, question.key(), limit.left());
            // A source without the table has never run a write.
            found.or_else(|error| if error.is_missing_table() { Ok(None) } else { Err(error) })
        })?;
        if let Some(recorded) = found {
            return Ok(reply(&recorded));
        }
    }
    if !question.is_lost {
        return Ok(outcome::UNKNOWN.to_owned());
    }
    for name in &names {
        let time = FENCE_LIMIT.min(limit.left());
        let fence =
            on(sources, name, |connection| requests::fence(connection, question.key(), now_ms(), time))?;
        match fence {
            Fence::Fenced => {}
            Fence::AlreadyDone(recorded) => return Ok(reply(&recorded)),
            Fence::Blocked => return Ok(outcome::in_flight(false).to_owned()),
        }
    }
    Ok(outcome::FAILED.to_owned())
}

fn reply(recorded: &Recorded) -> String {
    match &recorded.reply {
        _ if recorded.fenced => outcome::FAILED.to_owned(),
        Some(reply) => outcome::done(recorded.status, reply),
        None => outcome::done_not_kept(recorded.status, recorded.reply_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_an_id_with_or_without_the_mark_of_a_lost_attempt() {
        let read = |body: &[u8]| Question::read(CallerName::ANONYMOUS, body);
        assert!(!read(&[b'a'; 24]).unwrap().is_lost);
        assert!(read(b"aaaaaaaaaaaaaaaaaaaaaaaaL").unwrap().is_lost);
        assert!(read(&[b'a'; 23]).is_none() && read(&[b'a'; 25]).is_none() && read(&[b' '; 24]).is_none());
    }
}
