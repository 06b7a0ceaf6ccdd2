//! 20000001 and 10000002: accounts and their balance.

use gantry_tests::etc::{BALANCE, OPEN_ACCOUNT, balance, expect_books_to_balance, open_account};
use gantry_tests::{Node, NodeOptions};
use serde_json::json;

#[test]
fn new_account_has_a_number_of_its_own_and_no_money() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (first, second) = (open_account(&mut client), open_account(&mut client));
    assert_ne!(first, second);
    assert_eq!(balance(&mut client, &first), 0);
    expect_books_to_balance(&mut client);
}

#[test]
fn open_account_without_a_field_or_with_a_wrong_type_is_a_bad_request_that_names_it() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let wrong = [
        (json!({"id_no": "1"}), "customer"),
        (json!({"customer": "Li Na"}), "id_no"),
        (json!({"customer": 7, "id_no": "1"}), "customer"),
        (json!({"customer": "Li Na", "id_no": null}), "id_no"),
    ];
    for (body, field) in wrong {
        let reply = client.call_json(OPEN_ACCOUNT, body);
        assert_eq!(reply.error_code(), "bad_request");
        assert!(reply.text().contains(field), "the field {field} is named: {reply:?}");
    }
}

#[test]
fn body_that_is_no_json_object_is_a_bad_request() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for body in ["", "{", "null", "[]", "17", "\"text\"", "{\"customer\":\"x\",}", "\u{7f}\0"] {
        assert_eq!(client.call(OPEN_ACCOUNT, body).error_code(), "bad_request", "{body:?}");
        assert_eq!(client.call(BALANCE, body).error_code(), "bad_request", "{body:?}");
    }
    // Not even UTF-8.
    assert_eq!(client.call(OPEN_ACCOUNT, [0xFF, 0xFE, b'{']).error_code(), "bad_request");
}

#[test]
fn balance_of_an_unknown_account_is_an_error() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    assert_eq!(
        client.call_json(BALANCE, json!({"account": "no-such-account"})).error_code(),
        "account_unknown"
    );
    assert_eq!(client.call_json(BALANCE, json!({"account": 5})).error_code(), "bad_request");
}

#[test]
fn names_in_any_script_are_taken() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for customer in ["李娜", "O'Brien; DROP TABLE account", "Ünïcødé \u{1F697}"] {
        client.call_json(OPEN_ACCOUNT, json!({"customer": customer, "id_no": "11010519900101"})).done();
    }
    expect_books_to_balance(&mut client);
}
