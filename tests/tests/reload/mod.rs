//! Libraries deployed, stopped, started and replaced while requests go on.

mod alternating;
mod back;
mod calls;
mod canary;
mod cpp;
mod dev;
mod fall_back;
mod hostile;
mod hot;
mod lasting;
mod middle;
mod new;
mod receipt;
mod signed;

use std::path::PathBuf;

use gantry_tests::{Node, Output, compile_plugin, repository_root};

/// A source below `tests/plugins`, compiled into a folder of the node's. No name is one of a library that
/// ships.
#[track_caller]
fn plugin(node: &Node, source: &str, folder: &str, extra: &[&str]) -> PathBuf {
    compile_plugin(&repository_root().join("tests/plugins").join(source), &node.folder().join(folder), extra)
}

/// A version of the library `versioned`: a read and a write that answer with their version.
#[track_caller]
fn version(node: &Node, version: &str, extra: &[&str]) -> PathBuf {
    let define = format!("-DVERSION=\"{version}\"");
    plugin(
        node,
        "versioned.c",
        &format!("{version}{}", extra.concat()),
        &[&[define.as_str()], extra].concat(),
    )
}

/// Runs `gantry service deploy`.
#[track_caller]
fn deploy(node: &Node, library: &std::path::Path) -> Output {
    node.gantry(&["service", "deploy", &library.to_string_lossy()])
}

/// The numbers of all services.
#[track_caller]
fn numbers(node: &Node) -> Vec<u64> {
    let services = node.gantry(&["service", "list", "--json"]).expect_code(0).json();
    services.as_array().into_iter().flatten().filter_map(|service| service["number"].as_u64()).collect()
}
