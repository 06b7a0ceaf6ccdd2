//! A command as the server takes it.

use std::time::Duration;

use bson::raw::{CStr, cstr};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use crate::limits::{BATCH_DOCUMENTS, COLLECTION_BYTES_MAX, SERVER_HEAD_START};
use crate::{Command, ErrorKind, Operation};

/// A command that cannot be sent, and why.
pub(super) type Refusal = (ErrorKind, String);

/// Puts the command together.
///
/// `is_majority`: outside a transaction a write is acknowledged by most of the replica set.
pub(super) fn build(
    command: &Command<'_>,
    limit: Duration,
    is_majority: bool,
) -> Result<RawDocumentBuf, Refusal> {
    check_collection(command.collection).map_err(bad_statement)?;
    let options = command.options().map_err(bad_statement)?;
    let mut built = match command.operation {
        Operation::Find => find(command, options)?,
        Operation::Insert => insert(command)?,
        Operation::UpdateOne => update(command, options, false)?,
        Operation::UpdateMany => update(command, options, true)?,
        Operation::FindAndUpdate => find_and_update(command, options)?,
        Operation::DeleteOne => delete(command, options, 1)?,
        Operation::DeleteMany => delete(command, options, 0)?,
        Operation::Aggregate => aggregate(command, options)?,
        Operation::CreateIndex => create_index(command, options)?,
    };
    built.append(cstr!("maxTimeMS"), max_time_ms(limit));
    if is_majority && command.operation.is_write() && command.operation != Operation::CreateIndex {
        built.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
    }
    Ok(built)
}

/// The server's limit ends a little before ours, so that its answer still arrives.
fn max_time_ms(limit: Duration) -> i64 {
    let limit = limit.saturating_sub(SERVER_HEAD_START);
    i64::try_from(limit.as_millis()).unwrap_or(i64::MAX).clamp(1, i64::from(i32::MAX))
}

fn find(command: &Command<'_>, options: &RawDocument) -> Result<RawDocumentBuf, Refusal> {
    let mut built = rawdoc! { "find": command.collection };
    append(&mut built, cstr!("filter"), command.filter().map_err(bad_value)?);
    copy(&mut built, options, &[])?;
    if options.get("limit").ok().flatten().is_none() {
        // One more than allowed shows that there are too many, and the server needs to find no further one.
        let one_more = i64::try_from(command.documents_max).unwrap_or(i64::MAX).saturating_add(1);
        built.append(cstr!("limit"), one_more);
    }
    built.append(cstr!("batchSize"), BATCH_DOCUMENTS);
    Ok(built)
}

fn insert(command: &Command<'_>) -> Result<RawDocumentBuf, Refusal> {
    let documents = command.documents().map_err(bad_value)?;
    if documents.is_empty() {
        return Err(bad_statement("insert takes at least one document".to_owned()));
    }
    let mut built = rawdoc! { "insert": command.collection };
    append_all(&mut built, cstr!("documents"), &documents);
    Ok(built)
}

fn update(command: &Command<'_>, options: &RawDocument, is_many: bool) -> Result<RawDocumentBuf, Refusal> {
    let mut one = RawDocumentBuf::new();
    append(&mut one, cstr!("q"), command.filter().map_err(bad_value)?);
    append(&mut one, cstr!("u"), command.only_document().map_err(bad_value)?);
    copy(&mut one, options, &[])?;
    one.append(cstr!("multi"), is_many);
    let mut built = rawdoc! { "update": command.collection };
    append_all(&mut built, cstr!("updates"), &[&one]);
    Ok(built)
}

fn find_and_update(command: &Command<'_>, options: &RawDocument) -> Result<RawDocumentBuf, Refusal> {
    let mut built = rawdoc! { "findAndModify": command.collection };
    append(&mut built, cstr!("query"), command.filter().map_err(bad_value)?);
    append(&mut built, cstr!("update"), command.only_document().map_err(bad_value)?);
    match options.get("return").map_err(|error| bad_value(error.to_string()))? {
        None | Some(RawBsonRef::String("before")) => {}
        Some(RawBsonRef::String("after")) => built.append(cstr!("new"), true),
        Some(_) => return Err(bad_statement("`return` is \"before\" or \"after\"".to_owned())),
    }
    copy(&mut built, options, &[("return", None), ("projection", Some(cstr!("fields")))])?;
    Ok(built)
}

fn delete(command: &Command<'_>, options: &RawDocument, limit: i32) -> Result<RawDocumentBuf, Refusal> {
    let mut one = RawDocumentBuf::new();
    append(&mut one, cstr!("q"), command.filter().map_err(bad_value)?);
    one.append(cstr!("limit"), limit);
    copy(&mut one, options, &[])?;
    let mut built = rawdoc! { "delete": command.collection };
    append_all(&mut built, cstr!("deletes"), &[&one]);
    Ok(built)
}

fn aggregate(command: &Command<'_>, options: &RawDocument) -> Result<RawDocumentBuf, Refusal> {
    let stages = command.documents().map_err(bad_value)?;
    for stage in &stages {
        let writes = ["$out", "$merge"].into_iter().find(|name| stage.get(name).ok().flatten().is_some());
        if let Some(name) = writes {
            return Err(bad_statement(format!("a pipeline of a service has no {name}: it only reads")));
        }
    }
    let mut built = rawdoc! { "aggregate": command.collection };
    append_all(&mut built, cstr!("pipeline"), &stages);
    built.append(cstr!("cursor"), rawdoc! { "batchSize": BATCH_DOCUMENTS });
    copy(&mut built, options, &[])?;
    Ok(built)
}

fn create_index(command: &Command<'_>, options: &RawDocument) -> Result<RawDocumentBuf, Refusal> {
    let keys = command.only_document().map_err(bad_value)?;
    let mut one = RawDocumentBuf::new();
    append(&mut one, cstr!("key"), keys);
    if options.get("name").ok().flatten().is_none() {
        let mut name = String::new();
        for element in keys {
            let (field, order) = element.map_err(|error| bad_value(error.to_string()))?;
            let order = order.as_i32().map(i64::from).or(order.as_i64());
            let order = order.map_or_else(|| "special".to_owned(), |order| order.to_string());
            let gap = if name.is_empty() { "" } else { "_" };
            name.push_str(&format!("{gap}{}_{order}", field.as_str()));
        }
        one.append(cstr!("name"), name);
    }
    copy(&mut one, options, &[])?;
    let mut built = rawdoc! { "createIndexes": command.collection };
    append_all(&mut built, cstr!("indexes"), &[&one]);
    Ok(built)
}

/// Copies options; `renamed` gives the server's name of some, `None` for one that is not copied.
fn copy(
    built: &mut RawDocumentBuf,
    options: &RawDocument,
    renamed: &[(&str, Option<&CStr>)],
) -> Result<(), Refusal> {
    for option in options {
        let (name, value) = option.map_err(|error| bad_value(error.to_string()))?;
        match renamed.iter().find(|(ours, _)| *ours == name.as_str()) {
            Some((_, None)) => {}
            Some((_, Some(theirs))) => built.append(theirs, value),
            None => built.append(name, value),
        }
    }
    Ok(())
}

fn append(built: &mut RawDocumentBuf, name: &CStr, document: &RawDocument) {
    built.append(name, document);
}

fn append_all(built: &mut RawDocumentBuf, name: &CStr, documents: &[&RawDocument]) {
    let mut array = RawArrayBuf::new();
    for document in documents {
        array.push(*document);
    }
    built.append(name, array);
}

/// A name that the server refuses is refused here in clearer words, and `$cmd` and the system's are nobody's business.
fn check_collection(name: &str) -> Result<(), String> {
    let is_wrong = name.is_empty()
        || name.len() > COLLECTION_BYTES_MAX
        || name.starts_with("system.")
        || name.contains(['$', '\0']);
    if is_wrong {
        return Err(format!(
            "\"{}\" is no name of a collection: 1 to {COLLECTION_BYTES_MAX} bytes without $ and zero, not system.…",
            name.escape_debug()
        ));
    }
    Ok(())
}

fn bad_statement(message: String) -> Refusal {
    (ErrorKind::BadStatement, message)
}

fn bad_value(message: String) -> Refusal {
    (ErrorKind::BadValue, message)
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn built(operation: Operation, limit: Duration, is_majority: bool) -> Document {
        let document = doc! { "a": 1 }.to_vec().unwrap();
        let (filter, options) = (&[][..], &[][..]);
        let command =
            Command { operation, collection: "c", filter, documents: &document, options, documents_max: 10 };
        Document::try_from(build(&command, limit, is_majority).unwrap().as_ref()).unwrap()
    }

    /// Also the deadline of a command is the server's business: one that nobody waits for any more must not go on there.
    #[test]
    fn every_command_tells_the_server_a_limit_below_ours() {
        for operation in (0..20).filter_map(Operation::from_number) {
            let limits = [
                (Duration::from_secs(1), 980),
                (Duration::from_millis(20), 1),
                (Duration::MAX, i32::MAX.into()),
            ];
            for (ours, theirs) in limits {
                assert_eq!(
                    built(operation, ours, true).get_i64("maxTimeMS").unwrap(),
                    theirs,
                    "{operation:?}"
                );
            }
        }
    }

    /// In a transaction its commit says so, and the server refuses a command that does.
    #[test]
    fn writes_outside_a_transaction_wait_for_the_majority() {
        for operation in (0..20).filter_map(Operation::from_number) {
            let is_write = operation.is_write() && operation != Operation::CreateIndex;
            for is_majority in [false, true] {
                let built = built(operation, Duration::from_secs(1), is_majority);
                let waits = built
                    .get_document("writeConcern")
                    .is_ok_and(|concern| *concern == doc! { "w": "majority" });
                assert_eq!(waits, is_write && is_majority, "{operation:?}");
            }
        }
    }

    #[test]
    fn find_asks_for_one_document_more_than_may_come_unless_it_has_a_limit_of_its_own() {
        assert_eq!(built(Operation::Find, Duration::from_secs(1), false).get_i64("limit").unwrap(), 11);
        let options = doc! { "limit": 3_i64 }.to_vec().unwrap();
        let (operation, filter, documents) = (Operation::Find, &[][..], &[][..]);
        let command =
            Command { operation, collection: "c", filter, documents, options: &options, documents_max: 10 };
        let built = build(&command, Duration::from_secs(1), false).unwrap();
        assert_eq!(Document::try_from(built.as_ref()).unwrap().get_i64("limit").unwrap(), 3);
    }
}
