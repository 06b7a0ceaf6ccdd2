//! Passages as documents, where the node has a document source `passages`.
//!
//! Money and the truth stay in SQL: a passage happened if its movement is in the ledger, and was refunded if that movement
//! is. The document holds what a list shows. It is written last before the SQL commit, marked *open*; open means that a
//! reader asks the ledger for its serials before it believes it. A later call on the card closes what has become true
//! and takes away what has not.
//!
//! | death (or failure) | documents | ledger | what is seen |
//! |---|---|---|---|
//! | before the document is written | nothing | rolled back | nothing happened |
//! | between document and commit | open | rolled back | readers leave it out; the same passage sent again replaces it |
//! | after the commit | open | there | readers show it |
//! | while older ones are closed | some closed | there before | a closed one is always true |
//!
//! Writes that were given up may arrive late, since a time-out does not take them back. So each says what it found: a
//! document carries the *attempt* that wrote it, a new one is inserted and never put over another, and a change or
//! deletion names the attempt that it means. All calls of a card are one after the other by the lock of its account, so
//! what an attempt finds open and not in the ledger is left over and no neighbour at work.
//!
//! A serial that was rolled back may be drawn again. Whoever draws it removes it from other documents first, and unique
//! indexes keep a late write from bringing it back: so a serial in the ledger never proves another passage.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use gantry_abi::bson::{Bson, Document, doc};
use gantry_abi::{Context, Documents, ServiceError, Sql, SqlError, params};
use gantry_ledger::Receipt;

use crate::sql;

/// Name of the source, and of the collection in it.
pub(crate) const PASSAGES: &str = "passages";
/// How often a document that somebody's late write changed is looked at again.
const TRIES_MAX: u32 = 5;
/// Open documents of a card that one call closes; in ordinary times there is one.
const CLOSED_MAX: i64 = 50;

/// The documents, and the ledger that says what is true of them.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a> {
    documents: Documents<'a>,
    ledger: Sql<'a>,
}

/// What there is of a passage.
pub(crate) enum Known {
    Nothing,
    /// It was recorded; its first reply.
    Recorded(Receipt),
    /// An attempt that was rolled back left this.
    LeftOver(String),
}

impl<'a> Store<'a> {
    /// The documents of this node; `None` where passages are in the tables.
    pub(crate) fn of(context: &Context<'a>, ledger: Sql<'a>) -> Option<Self> {
        let documents = context.documents(PASSAGES);
        documents.is_here().then_some(Self { documents, ledger })
    }

    /// Makes the indexes, where they are not there.
    pub(crate) fn prepare(&self) -> Result<(), SqlError> {
        let unique = doc! { "unique": true, "sparse": true };
        let none = Document::new();
        // Pages read this one from where the last page ended.
        self.documents.create_index(PASSAGES, &doc! { "card": 1, "ms": -1, "no": -1 }, &none)?;
        self.documents.create_index(PASSAGES, &doc! { "open": 1 }, &doc! { "sparse": true })?;
        self.documents.create_index(PASSAGES, &doc! { "serial": 1 }, &unique)?;
        self.documents.create_index(PASSAGES, &doc! { "refund.serial": 1 }, &unique)
    }

    /// What there is of a passage.
    pub(crate) fn look(&self, id: &Document) -> Result<Known, SqlError> {
        let Some(found) = self.documents.find_one(PASSAGES, &doc! { "_id": id.clone() })? else {
            return Ok(Known::Nothing);
        };
        let serial = text(&found, "serial");
        if found.contains_key("open") && !self.truths([(&*serial, PASSAGE)])?.contains(&serial, PASSAGE) {
            return Ok(Known::LeftOver(text(&found, "attempt")));
        }
        Ok(Known::Recorded(Receipt { balance: number(&found, "balance"), serial }))
    }

    /// Writes a passage, open. `known` is what the caller saw of it under the account's lock.
    pub(crate) fn write(&self, passage: &Document, mut known: Known) -> Result<(), ServiceError> {
        let id = passage.get_document("_id").cloned().unwrap_or_default();
        let serial = text(passage, "serial");
        for _ in 0..TRIES_MAX {
            self.take_serial_from_others("serial", &serial, &id)?;
            match &known {
                Known::Recorded(_) => break,
                Known::Nothing => match self.documents.insert(PASSAGES, passage) {
                    Err(error) if error.is_unique() => {}
                    other => return Ok(other?),
                },
                Known::LeftOver(attempt) => {
                    let seen = doc! { "_id": id.clone(), "attempt": attempt };
                    if self.documents.update_one(PASSAGES, &seen, passage)?.matched == 1 {
                        return Ok(());
                    }
                }
            }
            known = self.look(&id)?;
        }
        Err(ServiceError::failed("the passage's document changes under the lock of its account"))
    }

    /// Notes a refund on its passage, open. A passage that was recorded before there were documents has none.
    pub(crate) fn refund(&self, serial: &str, refund: &str, attempt: &str) -> Result<(), ServiceError> {
        for _ in 0..TRIES_MAX {
            let found = self.documents.find_one(PASSAGES, &doc! { "serial": serial })?;
            let Some(found) = found else { return Ok(()) };
            let id = found.get_document("_id").cloned().unwrap_or_default();
            self.take_serial_from_others("refund.serial", refund, &id)?;
            let seen = doc! { "_id": id, "refund.attempt": refund_attempt(&found) };
            let noted = doc! { "serial": refund, "attempt": attempt };
            let change = doc! { "$set": { "refund": noted, "open": text(&found, "card") } };
            if self.documents.update_one(PASSAGES, &seen, &change)?.matched == 1 {
                return Ok(());
            }
        }
        Err(ServiceError::failed("the refunded passage's document changes under the lock of its account"))
    }

    /// Closes what has become true of a card's passages, and takes away what has not. Under the account's lock; the
    /// passage with this id is left alone.
    pub(crate) fn close(&self, card: &str, except: Option<&Document>) -> Result<(), ServiceError> {
        let open = self.documents.find(PASSAGES, &doc! { "open": card }, &doc! { "limit": CLOSED_MAX })?;
        let truths = self.truths_of(&open)?;
        for found in &open {
            let id = found.get_document("_id").cloned().unwrap_or_default();
            if except == Some(&id) {
                continue;
            }
            let seen = doc! {
                "_id": id,
                "attempt": text(found, "attempt"),
                "refund.attempt": refund_attempt(found),
            };
            if !truths.contains(&text(found, "serial"), PASSAGE) {
                self.documents.delete_one(PASSAGES, &seen)?;
            } else if is_refunded(found, &truths) || found.get("refund").is_none() {
                self.documents.update_one(PASSAGES, &seen, &doc! { "$unset": { "open": "" } })?;
            } else {
                let change = doc! { "$unset": { "open": "", "refund": "" } };
                self.documents.update_one(PASSAGES, &seen, &change)?;
            }
        }
        Ok(())
    }

    /// A page of a card's passages from below a time and a movement on, and whether each was refunded.
    pub(crate) fn page(
        &self,
        card: &str,
        [mut ms, mut no]: [i64; 2],
        rows: i64,
    ) -> Result<Vec<(Document, bool)>, SqlError> {
        let mut page = Vec::new();
        loop {
            let missing = rows - i64::try_from(page.len()).unwrap_or(rows);
            let below = doc! {
                "card": card,
                "ms": { "$lte": ms },
                "$or": [{ "ms": { "$lt": ms } }, { "no": { "$lt": no } }],
            };
            let options = doc! { "sort": { "ms": -1, "no": -1 }, "limit": missing };
            let found = self.documents.find(PASSAGES, &below, &options)?;
            let truths = self.truths_of(found.iter().filter(|found| found.contains_key("open")))?;
            let is_last = i64::try_from(found.len()).is_ok_and(|count| count < missing);
            if let Some(last) = found.last() {
                [ms, no] = [number(last, "ms"), number(last, "no")];
            }
            page.extend(found.into_iter().filter_map(|found| {
                let is_open = found.contains_key("open");
                let is_true = !is_open || truths.contains(&text(&found, "serial"), PASSAGE);
                let refunded =
                    if is_open { is_refunded(&found, &truths) } else { found.contains_key("refund") };
                is_true.then_some((found, refunded))
            }));
            // What was left over made room for more.
            if is_last || i64::try_from(page.len()).is_ok_and(|count| count >= rows) {
                return Ok(page);
            }
        }
    }

    /// A serial that was drawn now is on other documents only if the attempt that wrote it was rolled back.
    fn take_serial_from_others(&self, field: &str, serial: &str, id: &Document) -> Result<(), SqlError> {
        let others = doc! { field: serial, "_id": { "$ne": id.clone() } };
        for found in self.documents.find(PASSAGES, &others, &doc! { "limit": CLOSED_MAX })? {
            let other = found.get("_id").cloned().unwrap_or(Bson::Null);
            if field == "serial" {
                let seen = doc! { "_id": other, "attempt": text(&found, "attempt") };
                self.documents.delete_one(PASSAGES, &seen)?;
            } else {
                let seen = doc! { "_id": other, "refund.attempt": refund_attempt(&found) };
                self.documents.update_one(PASSAGES, &seen, &doc! { "$unset": { "refund": "" } })?;
            }
        }
        Ok(())
    }

    fn truths_of<'d>(&self, found: impl IntoIterator<Item = &'d Document>) -> Result<Truths, SqlError> {
        let mut serials = Vec::new();
        for found in found {
            serials.push((found.get_str("serial").unwrap_or_default(), PASSAGE));
            if let Ok(refund) = found.get_document("refund") {
                serials.push((refund.get_str("serial").unwrap_or_default(), REFUND));
            }
        }
        self.truths(serials)
    }

    /// Which of the movements are in the ledger: one statement for so many serials.
    fn truths<'s>(&self, serials: impl IntoIterator<Item = (&'s str, &'s str)>) -> Result<Truths, SqlError> {
        let serials: Vec<&str> = serials.into_iter().map(|(serial, _)| serial).collect();
        let mut truths = Truths::default();
        for part in serials.chunks(SERIALS_AT_ONCE) {
            // The places that are not needed ask again for the first.
            let asked = |index: usize| *part.get(index).unwrap_or(&part[0]);
            let [a, b, c, d, e, f, g, h] = std::array::from_fn(asked);
            self.ledger.query_all(sql::SELECT_MOVEMENTS, params![a, b, c, d, e, f, g, h], |row| {
                truths.0.insert((row.text(0)?.to_owned(), row.text(1)?.to_owned()));
                Ok(())
            })?;
        }
        Ok(truths)
    }
}

/// Kinds of movements, as the ledger names them.
const PASSAGE: &str = "passage";
const REFUND: &str = "refund";
/// Places in [`sql::SELECT_MOVEMENTS`].
const SERIALS_AT_ONCE: usize = 8;

/// Movements that are in the ledger: serial and kind.
#[derive(Default)]
struct Truths(BTreeSet<(String, String)>);

impl Truths {
    fn contains(&self, serial: &str, kind: &str) -> bool {
        self.0.contains(&(serial.to_owned(), kind.to_owned()))
    }
}

/// A name for an attempt that no other has.
pub(crate) fn attempt(context: &Context<'_>) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} {} {}", context.caller(), context.request_id(), since.as_nanos())
}

/// A text of a document of ours; none where somebody else wrote into it.
pub(crate) fn text(document: &Document, name: &str) -> String {
    document.get_str(name).unwrap_or_default().to_owned()
}

/// A number of a document of ours, likewise.
pub(crate) fn number(document: &Document, name: &str) -> i64 {
    document.get_i64(name).unwrap_or_default()
}

/// Who noted the refund; null, which also matches what is not there.
fn refund_attempt(document: &Document) -> Bson {
    let attempt = document.get_document("refund").ok().and_then(|refund| refund.get("attempt").cloned());
    attempt.unwrap_or(Bson::Null)
}

fn is_refunded(document: &Document, truths: &Truths) -> bool {
    let refund = document.get_document("refund").ok();
    refund.is_some_and(|refund| truths.contains(&text(refund, "serial"), REFUND))
}
