//! What the server's reply to a write says.

use bson::{Bson, Document};

use super::failure::kind_of;
use crate::{Answer, Documents, DocumentsFull, ErrorKind, Operation};

/// A write that the server took as a command and then refused: kind, code, words.
pub(super) type Refused = (ErrorKind, i32, String);

/// Reads the reply to anything but a cursor.
pub(super) fn read(operation: Operation, reply: &Document) -> Result<Answer, Refused> {
    refusal(reply)?;
    let mut answer = Answer::default();
    match operation {
        Operation::FindAndUpdate => {
            let facts = reply.get_document("lastErrorObject").ok();
            answer.modified = facts.map_or(0, |facts| number(facts, "n"));
            let is_there = facts.is_some_and(|facts| facts.get_bool("updatedExisting").unwrap_or(false));
            answer.matched = u64::from(is_there);
            if let Some(Bson::Document(found)) = reply.get("value") {
                answer.documents = only(found)?;
            }
        }
        Operation::UpdateOne | Operation::UpdateMany => {
            let upserted = reply.get_array("upserted").map_or(0, |made| made.len() as u64);
            // The server counts what it made among those that matched.
            answer.matched = number(reply, "n").saturating_sub(upserted);
            answer.modified = number(reply, "nModified") + upserted;
        }
        Operation::Insert | Operation::DeleteOne | Operation::DeleteMany => {
            answer.matched = number(reply, "n");
            answer.modified = answer.matched;
        }
        Operation::Find | Operation::Aggregate | Operation::CreateIndex => {}
    }
    Ok(answer)
}

/// The first refusal in a reply whose command was taken.
fn refusal(reply: &Document) -> Result<(), Refused> {
    let first = reply.get_array("writeErrors").ok().and_then(|errors| errors.first());
    let write_concern = reply.get("writeConcernError");
    let Some(Bson::Document(error)) = first.or(write_concern) else { return Ok(()) };
    let code = error.get("code").and_then(whole).unwrap_or_default();
    let code = i32::try_from(code).unwrap_or_default();
    let message = error.get_str("errmsg").unwrap_or("no message").to_owned();
    // A write that is not acknowledged by enough of the replica set may be undone, or be there: as with a lost connection.
    let kind = if first.is_some() { kind_of(code, false) } else { ErrorKind::ConnectionLost };
    Err((kind, code, message))
}

fn only(document: &Document) -> Result<Documents, Refused> {
    let mut documents = Documents::default();
    let bytes = document.to_vec().map_err(|error| (ErrorKind::BadValue, 0, error.to_string()))?;
    let DocumentsFull = match documents.push(&bytes) {
        Ok(()) => return Ok(documents),
        Err(full) => full,
    };
    Err((ErrorKind::BadValue, 0, "the document is too large".to_owned()))
}

fn number(reply: &Document, name: &str) -> u64 {
    reply.get(name).and_then(whole).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

/// A whole number, in whichever type the server sends it.
fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "counts and codes are far below 2^53")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn an_upsert_matched_nothing_and_changed_one() {
        let reply = doc! { "ok": 1.0, "n": 1, "nModified": 0, "upserted": [{ "index": 0, "_id": "a" }] };
        let answer = read(Operation::UpdateOne, &reply).unwrap();
        assert_eq!((answer.matched, answer.modified), (0, 1));
        let reply = doc! { "ok": 1.0, "n": 3_i64, "nModified": 2.0 };
        let answer = read(Operation::UpdateMany, &reply).unwrap();
        assert_eq!((answer.matched, answer.modified), (3, 2));
    }

    #[test]
    fn a_refused_write_is_an_error_though_the_command_was_taken() {
        let reply =
            doc! { "ok": 1.0, "n": 0, "writeErrors": [{ "index": 0, "code": 11_000, "errmsg": "twice" }] };
        assert_eq!(read(Operation::Insert, &reply), Err((ErrorKind::Unique, 11_000, "twice".to_owned())));
        let reply = doc! { "ok": 1.0, "n": 1, "writeConcernError": { "code": 64, "errmsg": "late" } };
        assert_eq!(read(Operation::Insert, &reply).unwrap_err().0, ErrorKind::ConnectionLost);
    }

    #[test]
    fn the_document_of_find_and_update_comes_back_or_is_not_there() {
        let reply =
            doc! { "ok": 1.0, "lastErrorObject": { "n": 1, "updatedExisting": true }, "value": { "a": 1 } };
        let answer = read(Operation::FindAndUpdate, &reply).unwrap();
        assert_eq!((answer.documents.len(), answer.matched), (1, 1));
        let reply =
            doc! { "ok": 1.0, "lastErrorObject": { "n": 0, "updatedExisting": false }, "value": null };
        assert_eq!(read(Operation::FindAndUpdate, &reply).unwrap(), Answer::default());
    }
}
