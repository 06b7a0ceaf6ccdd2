//! `with-server postgres|mariadb|mongo COMMAND…`: runs a command beside a database server, which ends with it.
//!
//! The command finds the server through `GANTRY_TEST_DATABASE` (the kind) and `GANTRY_TEST_DATABASE_AT`
//! (`address:port`), a MongoDB through `GANTRY_TEST_DOCUMENTS`; the whole-system tests make a database on it for each
//! node.
#![forbid(unsafe_code)]

use gantry_test_servers::{Kind, MongoServer, Server};
use std::process::{Command, ExitCode};

/// Connections for as many nodes as run side by side, each with some workers and spares.
const CONNECTIONS: usize = 300;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(program) = arguments.next() else { return usage() };
    let mut command = Command::new(&program);
    command.args(arguments);
    if name == "mongo" {
        let server = MongoServer::start();
        command.env("GANTRY_TEST_DOCUMENTS", server.place());
        return run(&mut command);
    }
    let Some(kind) = Kind::named(&name.to_string_lossy()) else { return usage() };
    let server = Server::start_wide(kind, CONNECTIONS);
    command.env("GANTRY_TEST_DATABASE", kind.name());
    command.env("GANTRY_TEST_DATABASE_AT", format!("{}:{}", server.host(), server.port()));
    run(&mut command)
}

fn usage() -> ExitCode {
    eprintln!("with-server postgres|mariadb|mongo COMMAND…");
    ExitCode::from(2)
}

/// Runs it, and ends as it does.
fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("{}: {error}", command.get_program().to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
