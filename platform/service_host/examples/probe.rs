//! Tries a service library out and prints what it says of itself, as JSON:
//!
//! ```sh
//! cargo run -p gantry-service-host --example probe -- target/debug/libgantry_diag.so
//! ```
//!
//! A second argument, the number of a service, also calls that service once with standard input as the
//! request and nothing lent. Tests use it to see a library die in a process of its own.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::ptr::NonNull;
use std::sync::Arc;

use gantry_message::{CallerName, RequestId, ServiceNumber};
use gantry_service_host::{Environment, Instance, Loader, NothingLent, RequestView, call, probe};

/// A node that has whatever a service asks for, and configures nothing.
struct Everything;

impl Environment for Everything {
    fn configuration(&self, _: &str, _: &str) -> String {
        String::new()
    }

    fn has_source(&self, _: &str) -> bool {
        true
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [library] => print_description(Path::new(library)),
        [library, number] => call_once(Path::new(library), number),
        _ => Err("usage: probe LIBRARY [SERVICE-NUMBER]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print_description(library: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let description = probe(library, &Everything)?;
    println!("{}", serde_json::to_string_pretty(&description)?);
    Ok(())
}

fn call_once(library: &Path, number: &str) -> Result<(), Box<dyn std::error::Error>> {
    let number: ServiceNumber = number.parse()?;
    let library = Arc::new(Loader::open(library)?);
    let instance = Instance::create(&library, number, "")?;
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let (caller, request_id) = (CallerName::ANONYMOUS, RequestId::ZERO);
    let request = RequestView { number, caller, request_id, body: NonNull::from(body.as_slice()) };
    println!("{:?}", call(&instance, &mut NothingLent { number }, request));
    Ok(())
}
