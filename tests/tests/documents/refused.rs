//! What is made of passages in tables, on a node that keeps them as documents.

use gantry_test_servers::MongoServer;
use gantry_tests::Node;
use gantry_tests::etc::{BANK_FILE, RUN_CLEARING};
use serde_json::json;

use super::options;

#[test]
fn clearing_and_bank_files_are_refused_where_passages_are_documents() {
    let server = MongoServer::start();
    let node = Node::start(options(&server));
    let mut client = node.client();
    for (number, body) in [
        (RUN_CLEARING, json!({"date": "2025-03-01"})),
        (BANK_FILE, json!({"date": "2025-03-01", "bank": "ICBC"})),
    ] {
        let refused = client.call_json(number, body);
        assert_eq!(
            (refused.status, &refused.json()["error"]),
            (304, &"passages_are_documents".into()),
            "{number}"
        );
    }
}
