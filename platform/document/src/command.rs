//! What can be asked of a document source, and what comes back.

use bson::RawDocument;

use crate::limits::{ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, DOCUMENT_BYTES_MAX, DOCUMENTS_MAX};

/// What a command does. The numbers are those of the contract with services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    /// Documents that match `filter`. Options: `projection`, `sort`, `skip`, `limit`, `hint`.
    Find = 1,
    /// Stores `documents`; stops at the first that is refused.
    Insert = 2,
    /// Changes the first document that matches `filter` as the one in `documents` says. Option: `upsert`.
    UpdateOne = 3,
    /// Changes every document that matches. Option: `upsert`.
    UpdateMany = 4,
    /// Changes one document and gives it. Options: `sort`, `projection`, `upsert`, `return` (`"before"` or `"after"`;
    /// before when it is not said).
    FindAndUpdate = 5,
    /// Takes the first document that matches away.
    DeleteOne = 6,
    /// Takes every document that matches away.
    DeleteMany = 7,
    /// Runs the stages in `documents`; none may write (`$out`, `$merge`). Option: `hint`.
    Aggregate = 8,
    /// Makes an index over the keys of the one document in `documents`; nothing happens if it is there. Options:
    /// `name`, `unique`, `sparse`, `partialFilterExpression`, `expireAfterSeconds`.
    CreateIndex = 9,
}

impl Operation {
    /// The operation with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [
            Self::Find,
            Self::Insert,
            Self::UpdateOne,
            Self::UpdateMany,
            Self::FindAndUpdate,
            Self::DeleteOne,
            Self::DeleteMany,
            Self::Aggregate,
            Self::CreateIndex,
        ]
        .into_iter()
        .find(|operation| *operation as u32 == number)
    }

    /// Whether it changes what is stored.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Find | Self::Aggregate)
    }

    /// Its name, for errors and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Insert => "insert",
            Self::UpdateOne => "update one",
            Self::UpdateMany => "update many",
            Self::FindAndUpdate => "find and update",
            Self::DeleteOne => "delete one",
            Self::DeleteMany => "delete many",
            Self::Aggregate => "aggregate",
            Self::CreateIndex => "create index",
        }
    }

    /// The options that it takes.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Find => &["projection", "sort", "skip", "limit", "hint"],
            Self::Insert => &[],
            Self::UpdateOne | Self::UpdateMany => &["upsert", "hint"],
            Self::FindAndUpdate => &["sort", "projection", "upsert", "return", "hint"],
            Self::DeleteOne | Self::DeleteMany | Self::Aggregate => &["hint"],
            Self::CreateIndex => {
                &["name", "unique", "sparse", "partialFilterExpression", "expireAfterSeconds"]
            }
        }
    }
}

/// One command; every document is BSON.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// What to do.
    pub operation: Operation,
    /// On which collection.
    pub collection: &'a str,
    /// Which documents; empty for all.
    pub filter: &'a [u8],
    /// What is stored, changed or run: documents one after the other.
    pub documents: &'a [u8],
    /// How, by name; empty for nothing special.
    pub options: &'a [u8],
    /// Documents that may come back; more is an error.
    pub documents_max: usize,
}

impl<'a> Command<'a> {
    /// The filter, checked.
    pub(crate) fn filter(&self) -> Result<&'a RawDocument, String> {
        document_or_empty(self.filter).map_err(|problem| format!("the filter {problem}"))
    }

    /// The options, checked: no name that the operation does not have.
    pub(crate) fn options(&self) -> Result<&'a RawDocument, String> {
        let options =
            document_or_empty(self.options).map_err(|problem| format!("the options' document {problem}"))?;
        for option in options {
            let (name, _) = option.map_err(|error| format!("the options' document is broken: {error}"))?;
            if !self.operation.options().contains(&name.as_str()) {
                let known = self.operation.options().join(", ");
                let operation = self.operation.name();
                return Err(format!("{operation} has no option \"{name}\"; it has: {known}"));
            }
        }
        Ok(options)
    }

    /// The documents, checked.
    pub(crate) fn documents(&self) -> Result<Vec<&'a RawDocument>, String> {
        if self.documents.len() > COMMAND_BYTES_MAX {
            let bytes = self.documents.len();
            return Err(format!("the documents have {bytes} bytes, {COMMAND_BYTES_MAX} at most"));
        }
        let mut rest = self.documents;
        let mut documents = Vec::new();
        while !rest.is_empty() {
            if documents.len() == DOCUMENTS_MAX {
                return Err(format!("more than {DOCUMENTS_MAX} documents"));
            }
            let bytes = length_of(rest).ok_or("the documents end in the middle of one")?;
            let (first, further) = rest.split_at(bytes);
            let index = documents.len();
            documents.push(document(first).map_err(|problem| format!("document {index} {problem}"))?);
            rest = further;
        }
        Ok(documents)
    }

    /// The one document, checked.
    pub(crate) fn only_document(&self) -> Result<&'a RawDocument, String> {
        match self.documents()?.as_slice() {
            [only] => Ok(only),
            others => Err(format!("{} takes one document, not {}", self.operation.name(), others.len())),
        }
    }
}

/// Bytes of the document that these begin with, if it is all there.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let head: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(i32::from_le_bytes(head)).ok().filter(|length| (5..=bytes.len()).contains(length))
}

fn document_or_empty(bytes: &[u8]) -> Result<&RawDocument, String> {
    const EMPTY: &[u8] = &[5, 0, 0, 0, 0];
    document(if bytes.is_empty() { EMPTY } else { bytes })
}

/// A document, every element of it looked at: what the driver and the server are given can be read to the end.
fn document(bytes: &[u8]) -> Result<&RawDocument, String> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("has {} bytes, {DOCUMENT_BYTES_MAX} at most", bytes.len()));
    }
    let document = RawDocument::from_bytes(bytes).map_err(|error| format!("is no BSON: {error}"))?;
    for element in document {
        element.map_err(|error| format!("is no BSON: {error}"))?;
    }
    Ok(document)
}

/// What a command gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The documents found; of [`Operation::FindAndUpdate`] at most one.
    pub documents: Documents,
    /// Documents that matched, were inserted or were deleted.
    pub matched: u64,
    /// Documents that are different now, those that an upsert made included.
    pub modified: u64,
}

/// Documents as BSON, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// The documents of an answer have more bytes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentsFull;

impl Documents {
    /// Appends one.
    ///
    /// # Errors
    /// It does not fit [`ANSWER_BYTES_MAX`] any more.
    pub fn push(&mut self, document: &[u8]) -> Result<(), DocumentsFull> {
        if self.bytes.len() + document.len() > ANSWER_BYTES_MAX {
            return Err(DocumentsFull);
        }
        self.bytes.extend_from_slice(document);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One, counted from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn command<'a>(operation: Operation, documents: &'a [u8], options: &'a [u8]) -> Command<'a> {
        Command { operation, collection: "c", filter: &[], documents, options, documents_max: 10 }
    }

    #[test]
    fn documents_one_after_the_other_are_told_apart_and_broken_ones_refused() {
        let (first, second) = (doc! { "卡": 1 }.to_vec().unwrap(), doc! { "x": [1, 2] }.to_vec().unwrap());
        let both = [first.clone(), second.clone()].concat();
        let found = command(Operation::Insert, &both, &[]).documents().unwrap();
        assert_eq!(found.iter().map(|found| found.as_bytes()).collect::<Vec<_>>(), [&first[..], &second[..]]);
        let mut damaged = first.clone();
        damaged[4] = 0x77;
        for wrong in [&both[..both.len() - 1], &[0, 0, 0, 0], &[255, 255, 255, 127, 0], &[1][..], &damaged] {
            assert!(command(Operation::Insert, wrong, &[]).documents().is_err(), "{wrong:?}");
        }
        assert!(command(Operation::UpdateOne, &both, &[]).only_document().is_err());
        assert!(command(Operation::UpdateOne, &[], &[]).only_document().is_err());
    }

    #[test]
    fn options_of_another_operation_are_refused() {
        let options = doc! { "sort": { "a": 1 } }.to_vec().unwrap();
        assert!(command(Operation::Find, &[], &options).options().is_ok());
        let problem = command(Operation::Insert, &[], &options).options().unwrap_err();
        assert!(problem.contains("\"sort\""), "{problem}");
    }

    #[test]
    fn documents_come_back_as_they_were_put_in_up_to_the_bound() {
        let mut documents = Documents::default();
        documents.push(b"abc").unwrap();
        documents.push(b"").unwrap();
        documents.push(b"de").unwrap();
        let all: Vec<_> = (0..4).map(|index| documents.get(index)).collect();
        assert_eq!(all, [Some(&b"abc"[..]), Some(b""), Some(b"de"), None]);
        assert_eq!(documents.push(&vec![0; ANSWER_BYTES_MAX]), Err(DocumentsFull));
    }

    #[test]
    fn numbers_of_operations_come_back() {
        for number in 0..20 {
            let found = Operation::from_number(number);
            assert_eq!(found.is_some(), (1..=9).contains(&number));
            assert!(found.is_none_or(|found| found as u32 == number));
        }
    }
}
