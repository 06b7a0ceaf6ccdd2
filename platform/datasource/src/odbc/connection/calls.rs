//! The promises of a connection, kept over ODBC.

use super::{OdbcConnection, Transaction, ends_at};
use crate::connection::{Access, Connection, Mode, TransactionState};
use crate::dialect::Dialect;
use crate::error::{ErrorKind, SourceError};
use crate::odbc::bind::bind;
use crate::odbc::failure::Failure;
use crate::odbc::fetch::Bounds;
use crate::odbc::savepoints::is_savepoint_name;
use crate::odbc::session;
use crate::odbc::statements::{Prepared, Text};
use crate::result_set::ResultSet;
use crate::statement::Verb;
use crate::value::ValueRef;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl OdbcConnection {
    /// What is known of a text, after every check that needs no database.
    fn checked(
        &mut self,
        operation: &'static str,
        text: &str,
        params: &[ValueRef<'_>],
        limit: Duration,
    ) -> Result<(Arc<Text>, Instant), SourceError> {
        self.check_usable(operation)?;
        let known = self
            .statements
            .text(text, self.dialect)
            .map_err(|error| self.refuse(ErrorKind::BadStatement, operation, error.to_string()))?;
        let parameters = known.portable.parameters();
        if parameters != params.len() {
            let message = format!("the statement takes {parameters} parameters, {} were given", params.len());
            return Err(self.refuse(ErrorKind::BadValue, operation, message));
        }
        if limit.is_zero() {
            return Err(self.refuse(ErrorKind::Timeout, operation, "no time was left for it"));
        }
        Ok((known, ends_at(limit)))
    }

    fn check_savepoint(&self, operation: &'static str, name: &str) -> Result<(), SourceError> {
        self.check_usable(operation)?;
        if self.transaction == Transaction::None {
            return Err(self.refuse(ErrorKind::BadStatement, operation, "no transaction is open"));
        }
        if is_savepoint_name(name) {
            return Ok(());
        }
        let message = "a savepoint's name is 1 to 30 of a-z, 0-9 and _, not starting with a digit";
        Err(self.refuse(ErrorKind::BadStatement, operation, message))
    }

    fn find_savepoint(&self, operation: &'static str, name: &str) -> Result<(usize, String), SourceError> {
        self.check_savepoint(operation, name)?;
        self.savepoints.find(name).ok_or_else(|| {
            self.refuse(ErrorKind::BadStatement, operation, format!("no savepoint {name} is set"))
        })
    }

    fn begin_native(&mut self, mode: Mode) -> Result<(), Failure> {
        let by_switch = session::begins_by_switch(self.dialect);
        if by_switch {
            self.with_native(|native| native.set_autocommit(false))?;
        }
        for text in session::beginning(self.dialect, self.access, mode) {
            if let Err(failure) = self.tell(text) {
                if by_switch {
                    self.with_native(odbc_api::Connection::rollback)?;
                    self.with_native(|native| native.set_autocommit(true))?;
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    fn end_native(&mut self, commit: bool) -> Result<(), Failure> {
        if !session::begins_by_switch(self.dialect) {
            return self.tell(if commit { "COMMIT" } else { "ROLLBACK" });
        }
        self.with_native(if commit { odbc_api::Connection::commit } else { odbc_api::Connection::rollback })?;
        self.with_native(|native| native.set_autocommit(true))?;
        Ok(())
    }

    fn check_execute(&self, known: &Text) -> Result<(), SourceError> {
        let refuse = |kind, message: &str| Err(self.refuse(kind, "execute", message));
        if known.returns_rows {
            return refuse(ErrorKind::BadStatement, "it returns rows; use query for it");
        }
        if !self.may_write() {
            return refuse(ErrorKind::ReadOnly, "the connection or transaction only reads");
        }
        let is_definition = known.portable.verb() == Verb::Define;
        if is_definition && self.transaction != Transaction::None && self.dialect.definition_commits() {
            return refuse(
                ErrorKind::Unsupported,
                "this database commits at each definition; send it outside of a transaction",
            );
        }
        Ok(())
    }
}

impl Connection for OdbcConnection {
    fn source_name(&self) -> &Arc<str> {
        &self.source_name
    }

    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn begin(&mut self, mode: Mode, limit: Duration) -> Result<(), SourceError> {
        self.check_usable("begin")?;
        if self.transaction != Transaction::None {
            return Err(self.refuse(ErrorKind::BadStatement, "begin", "a transaction is open already"));
        }
        if mode == Mode::Write && self.access == Access::ReadOnly {
            return Err(self.refuse(ErrorKind::ReadOnly, "begin", "the connection was opened for reads"));
        }
        if limit.is_zero() {
            return Err(self.refuse(ErrorKind::Timeout, "begin", "no time was left for it"));
        }
        self.run("begin", |this| {
            this.fit_limits(limit)?;
            this.begin_native(mode)
        })?;
        self.transaction = Transaction::Open(mode);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.check_usable("commit")?;
        if self.transaction == Transaction::None {
            return Err(self.refuse(ErrorKind::BadStatement, "commit", "no transaction is open"));
        }
        if self.spoiled {
            // PostgreSQL would answer with success, and roll back.
            let message = "a statement failed and was not undone by a savepoint";
            return Err(self.refuse(ErrorKind::Aborted, "commit", message));
        }
        match self.run("commit", |this| this.end_native(true)) {
            Ok(()) => {
                self.transaction_ended();
                Ok(())
            }
            Err(error) => {
                self.transaction = Transaction::Aborted;
                Err(error)
            }
        }
    }

    fn rollback(&mut self) -> Result<(), SourceError> {
        if self.transaction == Transaction::None {
            return Ok(());
        }
        let outcome = if self.broken || self.pid != std::process::id() {
            Ok(())
        } else {
            self.run("rollback", |this| this.end_native(false))
        };
        self.broken |= outcome.is_err();
        self.transaction_ended();
        outcome
    }

    fn savepoint(&mut self, name: &str) -> Result<(), SourceError> {
        self.check_savepoint("savepoint", name)?;
        let native = self.savepoints.add(name);
        let retain = if self.dialect == Dialect::Db2 { " ON ROLLBACK RETAIN CURSORS" } else { "" };
        let outcome = self.run("savepoint", |this| this.tell(&format!("SAVEPOINT {native}{retain}")));
        if outcome.is_err()
            && let Some((place, _)) = self.savepoints.find(name)
        {
            self.savepoints.forget_from(place);
        }
        outcome
    }

    fn release(&mut self, name: &str) -> Result<(), SourceError> {
        let (place, native) = self.find_savepoint("release", name)?;
        self.run("release", |this| this.tell(&format!("RELEASE SAVEPOINT {native}")))?;
        self.savepoints.forget_from(place);
        Ok(())
    }

    fn rollback_to(&mut self, name: &str) -> Result<(), SourceError> {
        let (place, native) = self.find_savepoint("rollback to savepoint", name)?;
        self.run("rollback to savepoint", |this| this.tell(&format!("ROLLBACK TO SAVEPOINT {native}")))?;
        self.savepoints.forget_from(place + 1);
        self.limits.went_back();
        self.spoiled = false;
        Ok(())
    }

    fn execute(&mut self, text: &str, params: &[ValueRef<'_>], limit: Duration) -> Result<u64, SourceError> {
        let (known, ends_at) = self.checked("execute", text, params, limit)?;
        self.check_execute(&known)?;
        let is_definition = known.portable.verb() == Verb::Define;
        let count = self.run("execute", |this| {
            let bound = bind(this.dialect, params)?;
            this.with_statement(text, &known, ends_at, |prepared| {
                if prepared.native.execute(&bound[..])?.is_some() {
                    return Err(Failure::own(ErrorKind::BadStatement, "it returned rows; use query for it"));
                }
                if is_definition {
                    return Ok(0);
                }
                Ok(prepared.native.row_count()?.unwrap_or(0) as u64)
            })
        })?;
        if is_definition {
            self.statements.forget_all();
        }
        Ok(count)
    }

    fn query(
        &mut self,
        text: &str,
        params: &[ValueRef<'_>],
        rows_max: usize,
        limit: Duration,
    ) -> Result<ResultSet, SourceError> {
        let (known, ends_at) = self.checked("query", text, params, limit)?;
        if !known.returns_rows {
            let message = "it returns no rows; use execute for it";
            return Err(self.refuse(ErrorKind::BadStatement, "query", message));
        }
        if known.writes {
            let message = "it writes and returns rows; write with execute, then read";
            return Err(self.refuse(ErrorKind::BadStatement, "query", message));
        }
        let bounds = Bounds { rows_max, ends_at };
        self.run("query", |this| {
            let dialect = this.dialect;
            let bound = bind(dialect, params)?;
            loop {
                let read = this.with_statement(text, &known, ends_at, |prepared| {
                    let Prepared { native, answer, .. } = prepared;
                    let Some(rows) = native.execute(&bound[..])? else {
                        let message = "it returned no rows; use execute for it";
                        return Err(Failure::own(ErrorKind::BadStatement, message));
                    };
                    answer.read(rows, dialect, bounds)
                })?;
                match read {
                    Some(read) => return Ok(read),
                    None => this.statements.read_in_parts(text),
                }
            }
        })
    }

    fn lock_definitions(&mut self, limit: Duration) -> Result<(), SourceError> {
        self.check_usable("lock definitions")?;
        let Some((lock, _)) = session::definition_lock(self.dialect, self.lock_seconds(limit)) else {
            return Ok(());
        };
        let answer = self.run("lock definitions", |this| {
            this.fit_limits(limit)?;
            this.ask(&lock)
        })?;
        if answer.as_deref() == Some("1") {
            return Ok(());
        }
        Err(self.refuse(
            ErrorKind::Retryable,
            "lock definitions",
            "another connection brings tables up to date",
        ))
    }

    fn unlock_definitions(&mut self) -> Result<(), SourceError> {
        let Some((_, unlock)) = session::definition_lock(self.dialect, 0) else { return Ok(()) };
        self.check_usable("unlock definitions")?;
        let outcome = self.run("unlock definitions", |this| this.ask(unlock).map(drop));
        self.broken |= outcome.is_err();
        outcome
    }

    fn transaction(&self) -> TransactionState {
        match self.transaction {
            Transaction::None => TransactionState::None,
            Transaction::Open(_) => TransactionState::Open,
            Transaction::Aborted => TransactionState::Aborted,
        }
    }

    fn is_broken(&self) -> bool {
        self.broken
    }
}
