use std::ptr::{NonNull, null, null_mut};
use std::time::Duration;

use gantry_abi::document_table::{GANTRY_DOCUMENT_FIND, GANTRY_DOCUMENT_INSERT};
use gantry_abi::{Level, SerialError};
use gantry_message::{CallerName, RequestId, ServiceNumber};

use super::*;
use crate::lender::{Lender, NothingLent, ReplyError, RequestView, ResultSet, SqlValue};

/// Gives the documents of an insert back, one for each of `copies`.
struct Papers {
    nothing: NothingLent,
    copies: usize,
}

impl Lender for Papers {
    fn time_left(&self) -> Duration {
        self.nothing.time_left()
    }
    fn is_cancelled(&self) -> bool {
        false
    }
    fn reply_reserve(&mut self, bytes: usize) -> Result<NonNull<[u8]>, ReplyError> {
        self.nothing.reply_reserve(bytes)
    }
    fn reply_commit(&mut self, bytes: usize) -> Result<(), ReplyError> {
        self.nothing.reply_commit(bytes)
    }
    fn sql_execute(&mut self, source: &str, text: &str, params: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        self.nothing.sql_execute(source, text, params)
    }
    fn sql_query(
        &mut self,
        source: &str,
        text: &str,
        params: &[SqlValue<'_>],
        rows_max: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError> {
        self.nothing.sql_query(source, text, params, rows_max)
    }
    fn source_kind(&self, source: &str) -> Option<SourceKind> {
        [("main", SourceKind::Sql), ("papers", SourceKind::Document)]
            .into_iter()
            .find_map(|(name, kind)| (name == source).then_some(kind))
    }
    fn document_run(
        &mut self,
        source: &str,
        command: &DocumentCommand<'_>,
    ) -> Result<DocumentAnswer, SqlError> {
        if command.operation != GANTRY_DOCUMENT_INSERT {
            return Err(SqlError::new(SqlErrorKind::BadStatement, format!("not on {source}")));
        }
        let documents = vec![Box::from(command.documents); self.copies];
        Ok(DocumentAnswer { documents, matched: 2, modified: 3 })
    }
    fn serial_next(&mut self, kind: &str, count: u32, serials: &mut Vec<String>) -> Result<(), SerialError> {
        self.nothing.serial_next(kind, count, serials)
    }
    fn is_log_enabled(&self, level: Level) -> bool {
        self.nothing.is_log_enabled(level)
    }
    fn log(&mut self, level: Level, text: &str) {
        self.nothing.log(level, text);
    }
}

/// Runs `work` inside a call of a service that declares `main`, and `papers` and `gone` if they are there.
fn inside(copies: usize, work: impl FnOnce(*mut GantryCall)) {
    let mut papers = Papers { nothing: NothingLent { number: ServiceNumber::SERVICE_MIN }, copies };
    let request = RequestView {
        number: ServiceNumber::SERVICE_MIN,
        caller: CallerName::ANONYMOUS,
        request_id: RequestId::ZERO,
        body: NonNull::from(&[]),
    };
    let sources = ["main", "papers?", "gone?"].map(str::to_owned);
    Running::new(&mut papers, request, &sources).enter(work);
}

fn command<'a>(operation: u32, source: &'a str, documents: &'a [u8]) -> GantryDocumentCommand {
    GantryDocumentCommand {
        struct_bytes: size_of::<GantryDocumentCommand>() as u32,
        operation,
        source: GantryText::from_str(source),
        collection: GantryText::from_str("c"),
        filter: GantryBytes::EMPTY,
        documents: GantryBytes::from_slice(documents),
        options: GantryBytes::EMPTY,
        documents_max: 5,
        reserved: 0,
    }
}

fn answer() -> GantryDocumentAnswer {
    let struct_bytes = size_of::<GantryDocumentAnswer>() as u32;
    GantryDocumentAnswer { struct_bytes, count: 0, matched: 0, modified: 0, documents: null_mut() }
}

fn kind_of_failure(call: *mut GantryCall) -> u32 {
    let mut error = GantrySqlError {
        struct_bytes: size_of::<GantrySqlError>() as u32,
        kind: u32::MAX,
        native_code: 0,
        sqlstate: [0; 6],
        reserved: [0; 6],
        message: GantryText::EMPTY,
    };
    // SAFETY: the struct is ours.
    assert_eq!(unsafe { last_error(call, &mut error) }, GANTRY_OK);
    error.kind
}

#[test]
fn sources_are_what_the_node_has_of_those_that_are_declared() {
    inside(0, |call| {
        for (name, kind) in [
            ("main", GANTRY_SOURCE_SQL),
            ("papers", GANTRY_SOURCE_DOCUMENT),
            ("gone", GANTRY_SOURCE_NONE),
            ("papers?", GANTRY_SOURCE_NONE),
            ("other", GANTRY_SOURCE_NONE),
        ] {
            // SAFETY: the text is a literal.
            assert_eq!(unsafe { source_kind(call, GantryText::from_str(name)) }, kind, "{name}");
        }
    });
}

#[test]
fn documents_are_read_in_their_order_until_they_are_closed() {
    inside(2, |call| {
        let (asked, mut given) = (command(GANTRY_DOCUMENT_INSERT, "papers", b"bson"), answer());
        // SAFETY: command and answer are ours.
        assert_eq!(unsafe { run(call, &asked, &mut given) }, GANTRY_OK);
        assert_eq!((given.count, given.matched, given.modified), (2, 2, 3));
        let mut next = GantryBytes::EMPTY;
        for code in [GANTRY_OK, GANTRY_OK, GANTRY_END, GANTRY_END] {
            // SAFETY: the place is ours.
            assert_eq!(unsafe { documents_next(call, given.documents, &mut next) }, code);
            // SAFETY: the documents are open.
            assert_eq!(unsafe { next.read() }, Some(&b"bson"[..]));
        }
        // SAFETY: a handle is a number.
        unsafe { documents_close(call, given.documents) };
        // SAFETY: the place is ours.
        assert_eq!(unsafe { documents_next(call, given.documents, &mut next) }, GANTRY_FAILED);
    });
}

#[test]
fn an_answer_without_documents_has_no_handle() {
    inside(0, |call| {
        let (asked, mut given) = (command(GANTRY_DOCUMENT_INSERT, "papers", b""), answer());
        // SAFETY: command and answer are ours.
        assert_eq!(unsafe { run(call, &asked, &mut given) }, GANTRY_OK);
        assert!(given.documents.is_null() && given.count == 0);
    });
}

#[test]
fn what_is_wrong_with_a_command_is_said_and_nothing_runs() {
    let good = || command(GANTRY_DOCUMENT_INSERT, "papers", b"bson");
    let broken = GantryBytes { data: null(), bytes: 7 };
    let wrong = [
        (GantryDocumentCommand { struct_bytes: 8, ..good() }, SqlErrorKind::BadValue),
        (GantryDocumentCommand { documents_max: 0, ..good() }, SqlErrorKind::BadValue),
        (GantryDocumentCommand { documents_max: ROWS_MAX + 1, ..good() }, SqlErrorKind::BadValue),
        (GantryDocumentCommand { filter: broken, ..good() }, SqlErrorKind::BadValue),
        (GantryDocumentCommand { documents: broken, ..good() }, SqlErrorKind::BadValue),
        (GantryDocumentCommand { options: broken, ..good() }, SqlErrorKind::BadValue),
        (command(GANTRY_DOCUMENT_INSERT, "other", b""), SqlErrorKind::UnknownSource),
        (command(GANTRY_DOCUMENT_FIND, "papers", b""), SqlErrorKind::BadStatement),
    ];
    inside(1, |call| {
        for (asked, kind) in wrong {
            let mut given = answer();
            // SAFETY: command and answer are ours; a null pointer with a length is what is tried.
            assert_eq!(unsafe { run(call, &asked, &mut given) }, GANTRY_FAILED, "{asked:?}");
            assert_eq!(kind_of_failure(call), kind.number(), "{asked:?}");
            assert!(given.documents.is_null());
        }
        // SAFETY: null is what is tried.
        assert_eq!(unsafe { run(call, null(), &mut answer()) }, GANTRY_FAILED);
        // SAFETY: as above.
        assert_eq!(unsafe { run(call, &good(), null_mut()) }, GANTRY_FAILED);
    });
}

#[test]
fn answers_that_nobody_closes_come_to_an_end() {
    inside(1, |call| {
        let asked = command(GANTRY_DOCUMENT_INSERT, "papers", b"bson");
        for _ in 0..OPEN_RESULTS_MAX {
            // SAFETY: command and answer are ours.
            assert_eq!(unsafe { run(call, &asked, &mut answer()) }, GANTRY_OK);
        }
        // SAFETY: as above.
        assert_eq!(unsafe { run(call, &asked, &mut answer()) }, GANTRY_FAILED);
    });
}
