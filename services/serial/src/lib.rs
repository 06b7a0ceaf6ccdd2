//! Serial numbers as a service.
#![deny(unsafe_code)]

mod next;

use next::NextSerials;

gantry_abi::export_library! {
    name: "serial",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [],
    services: [
        {
            number: 30000001,
            kind: Other,
            name: "serial.next",
            service: NextSerials,
            description: "Draws serial numbers that are never given to anybody else.",
            example: r#"{"type":"recharge","count":2}"#,
            example_reply: r#"{"serials":["R0000000001","R0000000002"]}"#,
            // It runs no statement; naming the source has the platform record the reply there, so that a
            // repeated request gets the same serials.
            sources: ["main"],
        },
    ],
}
