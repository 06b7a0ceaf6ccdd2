//! What `gantry doctor` says of data sources over ODBC.

use gantry_test_servers::Kind;
use gantry_tests::{Node, NodeOptions};

use super::{options, server};

/// Level and words of what was found of the data source.
fn found(node: &Node) -> (String, String) {
    let findings = node.gantry(&["doctor", "--json"]).json();
    let findings = findings.as_array().expect("doctor lists what it found");
    let source = findings.iter().find(|finding| finding["about"] == "data source");
    let source = source.unwrap_or_else(|| panic!("nothing is said of the data source: {findings:?}"));
    let word = |key: &str| source[key].as_str().unwrap_or_default().to_owned();
    (word("level"), word("text"))
}

#[test]
fn doctor_connects_as_a_start_does_and_says_what_is_wrong() {
    let mut server = server(Kind::Postgres);
    let node = Node::prepare(options(&server));
    assert_eq!(found(&node).0, "ok", "{:?}", found(&node));
    server.kill();
    let (level, text) = found(&node);
    assert_eq!(level, "fail", "{text}");
    assert!(text.contains("main"), "{text}");
    server.restart();
    assert_eq!(found(&node).0, "ok", "{:?}", found(&node));
}

#[test]
fn doctor_recognises_the_driver_of_db2_whose_lengths_have_32_bits() {
    let connection =
        "Driver=/opt/ibm/clidriver/lib/libdb2.so;Database=G;Hostname=h;Port=50000;Uid=u;Pwd=geheim;";
    let options =
        NodeOptions::small().text("data.main.driver", "odbc").text("data.main.connection", connection);
    let node = Node::prepare(options);
    let (level, text) = found(&node);
    assert_eq!(level, "fail", "{text}");
    assert!(text.contains("32-bit") && text.contains("libdb2o.so"), "{text}");
    assert!(!text.contains("geheim"), "{text}");
}
