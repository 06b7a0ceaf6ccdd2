//! Databases on a real server.

use crate::outages;
use crate::profile::{Database, Profile};
use crate::server_values;
use crate::shipped;
use gantry_datasource::{OdbcOptions, OdbcSource};
use gantry_test_servers::{Kind, Server};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A promise and its name.
pub(crate) type Promise = (&'static str, fn(&dyn Profile));

/// A promise that only servers are asked for.
type ServerPromise = (&'static str, fn(&OnServer));

const OF_SERVERS: &[ServerPromise] = &[
    ("every_statement_of_platform_and_services_runs", shipped::every_statement_of_platform_and_services_runs),
    ("decimals_and_dates_are_exact_text", server_values::decimals_and_dates_are_exact_text),
    (
        "long_values_come_whole_whatever_their_type_claims",
        server_values::long_values_come_whole_whatever_their_type_claims,
    ),
    ("value_over_its_buffer_is_read_again_whole", server_values::value_over_its_buffer_is_read_again_whole),
    (
        "value_over_every_bound_is_refused_and_not_allocated",
        server_values::value_over_every_bound_is_refused_and_not_allocated,
    ),
    ("text_in_a_statement_is_utf8", server_values::text_in_a_statement_is_utf8),
    (
        "cancel_comes_at_the_limit_and_the_server_keeps_one_too",
        outages::cancel_comes_at_the_limit_and_the_server_keeps_one_too,
    ),
    ("deadlock_is_told_to_one_and_spares_the_other", outages::deadlock_is_told_to_one_and_spares_the_other),
    ("definition_is_refused_where_it_would_commit", outages::definition_is_refused_where_it_would_commit),
    ("more_statements_than_are_kept_go_on_working", outages::more_statements_than_are_kept_go_on_working),
    ("wrong_password_and_unknown_database_are_told", outages::wrong_password_and_unknown_database_are_told),
    (
        "server_without_connections_left_is_told_and_recovers",
        outages::server_without_connections_left_is_told_and_recovers,
    ),
    (
        "server_killed_in_a_transaction_is_told_and_found_again",
        outages::server_killed_in_a_transaction_is_told_and_found_again,
    ),
    (
        "server_killed_under_a_running_statement_is_told",
        outages::server_killed_under_a_running_statement_is_told,
    ),
    ("silent_server_is_asked_for_a_sign_of_life", outages::silent_server_is_asked_for_a_sign_of_life),
    (
        "session_ended_by_the_server_is_replaced_by_the_pool",
        outages::session_ended_by_the_server_is_replaced_by_the_pool,
    ),
];

/// A server that makes databases.
pub(crate) struct OnServer {
    kind: Kind,
    server: Arc<Mutex<Server>>,
    made: Mutex<u32>,
}

impl OnServer {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Profile for OnServer {
    fn database(&self) -> Database {
        let mut made = self.made.lock().unwrap();
        *made += 1;
        let name = format!("gantry_{made}");
        let server = self.server();
        server.create_database(&name);
        drop(server);
        let server = Arc::clone(&self.server);
        let dropped = Dropped { server: Arc::clone(&server), kind: self.kind, name: name.clone() };
        Database::new(
            move || {
                let server = server.lock().unwrap_or_else(PoisonError::into_inner);
                let options = OdbcOptions::new(server.connection(&name));
                Box::new(OdbcSource::new("main", &options).unwrap())
            },
            dropped,
        )
    }

    fn slow_query(&self) -> &'static str {
        match self.kind {
            Kind::Postgres => {
                "SELECT COUNT(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b"
            }
            Kind::MariaDb => "SELECT COUNT(*) FROM seq_1_to_100000 a CROSS JOIN seq_1_to_100000 b",
        }
    }
}

/// Removes a database, to save room; the server's own folder goes in any case.
struct Dropped {
    server: Arc<Mutex<Server>>,
    kind: Kind,
    name: String,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let force = if self.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        server.sql(server.first_database(), &format!("DROP DATABASE {}{force}", self.name));
    }
}

/// Asks a server for each promise and names those that it breaks.
pub(crate) fn keeps_every_promise(kind: Kind, promises: &[Promise]) {
    let profile = OnServer { kind, server: Arc::new(Mutex::new(Server::start(kind))), made: Mutex::new(0) };
    let wanted = std::env::var("GANTRY_PROMISE").unwrap_or_default();
    let mut broken = Vec::new();
    let mut ask = |name: &str, promise: &mut dyn FnMut()| {
        if !name.contains(&wanted) {
            return;
        }
        let began = std::time::Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(promise));
        println!("{name}: {:.0?}{}", began.elapsed(), if outcome.is_ok() { "" } else { " BROKEN" });
        if let Err(panic) = outcome {
            broken.push(format!("{name}: {}", words(&*panic)));
        }
    };
    for (name, promise) in promises {
        ask(name, &mut || promise(&profile));
    }
    for (name, promise) in OF_SERVERS {
        ask(name, &mut || promise(&profile));
    }
    assert!(broken.is_empty(), "{kind:?} breaks {}:\n{}", broken.len(), broken.join("\n"));
}

fn words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
}
