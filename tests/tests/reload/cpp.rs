//! The service library in C++ that ships as an example: built with the flags its page names, and called end
//! to end.

use std::fs;
use std::path::PathBuf;

use gantry_tests::{Node, NodeOptions, compile_plugin, repository_root};

use super::{deploy, numbers};

/// The one source of the example.
fn source() -> PathBuf {
    let folder = repository_root().join("services/cpp_example");
    let is_cpp = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cpp");
    let entries = fs::read_dir(&folder).expect("the example ships").flatten().map(|entry| entry.path());
    entries.into_iter().find(is_cpp).expect("the example has a source")
}

#[test]
fn service_in_cpp_is_built_deployed_and_answers_its_own_examples() {
    let node = Node::start(NodeOptions::small());
    let before = numbers(&node);
    let library = compile_plugin(&source(), node.folder(), &["-fno-gnu-unique"]);
    deploy(&node, &library).expect_code(0);
    let added: Vec<u64> = numbers(&node).into_iter().filter(|number| !before.contains(number)).collect();
    assert!(!added.is_empty(), "the library brings a service");
    for number in added {
        let shown = node.gantry(&["service", "show", &number.to_string(), "--json"]).expect_code(0).json();
        let example =
            shown["example"].as_str().unwrap_or_else(|| panic!("a service shows its example: {shown}"));
        let number = u32::try_from(number).expect("eight digits");
        let reply = node.client().call(number, example).done();
        assert_eq!(shown["example_reply"].as_str(), Some(reply.text().as_str()), "{number}");
    }
}
