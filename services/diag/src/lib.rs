//! Diagnostic services: echo, sleep, fault and counter, on the read and on the write queue.
//!
//! They show that a node works (echo), how it behaves while a service is slow (sleep) or breaks (fault),
//! and that a write takes effect once (counter). They ship with every node.
#![deny(unsafe_code)]

mod counter;
mod echo;
mod fault;
mod sleep;

use counter::{CounterAdd, CounterRead};
use echo::Echo;
use fault::Fault;
use sleep::Sleep;

gantry_abi::export_library! {
    name: "diag",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [counter::TABLE],
    services: [
        {
            number: 19_000_001,
            kind: Read,
            name: "diag.echo",
            service: Echo,
            idempotent: true,
            description: "Replies the bytes it is sent, on the read queue.",
            example: "hello",
            example_reply: "hello",
            sources: [],
        },
        {
            number: 29_000_001,
            kind: Write,
            name: "diag.echo_write",
            service: Echo,
            idempotent: true,
            description: "Replies the bytes it is sent, on the write queue.",
            example: "hello",
            example_reply: "hello",
            sources: [],
        },
        {
            number: 19_000_002,
            kind: Read,
            name: "diag.sleep",
            service: Sleep,
            idempotent: true,
            description: "Sleeps for so many milliseconds, at most ten minutes, on the read queue.",
            example: r#"{"ms":10}"#,
            example_reply: r#"{"slept_ms":10}"#,
            sources: [],
        },
        {
            number: 29_000_002,
            kind: Write,
            name: "diag.sleep_write",
            service: Sleep,
            idempotent: true,
            description: "Sleeps for so many milliseconds, at most ten minutes, on the write queue.",
            example: r#"{"ms":10}"#,
            example_reply: r#"{"slept_ms":10}"#,
            sources: [],
        },
        {
            number: 19_000_003,
            kind: Read,
            name: "diag.fault",
            service: Fault,
            idempotent: true,
            description: "Breaks its worker on purpose: panic, abort, segv, spin, exit or leak; read queue.",
            example: r#"{"how":"panic"}"#,
            sources: [],
        },
        {
            number: 29_000_003,
            kind: Write,
            name: "diag.fault_write",
            service: Fault,
            idempotent: true,
            description: "Breaks its worker on purpose: panic, abort, segv, spin, exit or leak; write queue.",
            example: r#"{"how":"panic"}"#,
            sources: [],
        },
        {
            number: 29_000_004,
            kind: Write,
            name: "diag.counter_add",
            service: CounterAdd,
            description: "Adds to a named counter, once per request id.",
            example: r#"{"key":"a","add":1}"#,
            example_reply: r#"{"value":1}"#,
            sources: ["main"],
        },
        {
            number: 19_000_004,
            kind: Read,
            name: "diag.counter",
            service: CounterRead,
            idempotent: true,
            description: "Reads a named counter; one that was never added to is 0.",
            example: r#"{"key":"a"}"#,
            example_reply: r#"{"value":1}"#,
            sources: ["main"],
        },
    ],
}
