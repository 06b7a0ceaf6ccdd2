//! Two platforms on one host: one of SQL services alone, one whose passages are documents.

use gantry_test_servers::MongoServer;
#[cfg(feature = "odbc")]
use gantry_test_servers::{Kind, Server};
use gantry_tests::etc::{PASSAGE, STATEMENT, balance, customer, recharge};
use gantry_tests::{Database, Node, NodeOptions, Request, until};
use serde_json::json;

use super::{MONEY, expect_agreement, insist, options, passage};

#[test]
fn one_platform_dies_or_stops_and_the_other_serves_on() {
    #[cfg(feature = "odbc")]
    let postgres = Server::start_wide(Kind::Postgres, 60);
    #[cfg(feature = "odbc")]
    let database = Database::on(&postgres);
    #[cfg(not(feature = "odbc"))]
    let database = Database::Sqlite;
    let mut mongo = MongoServer::start_durable();
    // Each with its own services: the first has no passages at all.
    let libraries = r#"["gantry_account", "gantry_card", "gantry_diag"]"#;
    let mut sql = Node::start(NodeOptions::small().set("service.libraries", libraries).on(database));
    let mut documents = Node::start(options(&mongo));
    let mut sql_client = sql.client();
    let mut documents_client = documents.client();
    let (sql_account, sql_card) = customer(&mut sql_client, 1_000);
    let (account, card) = customer(&mut documents_client, MONEY);
    assert_eq!(sql_client.call_json(PASSAGE, passage(&sql_card, 1)).status, 102, "no such service there");
    insist(&mut documents_client, PASSAGE, &passage(&card, 1));
    assert_eq!(balance(&mut sql_client, &sql_account), 1_000, "they share nothing");

    // The documents' server dies: its own platform says so, the other notices nothing.
    mongo.kill();
    let lost = Request::new(PASSAGE, passage(&card, 2).to_string()).budget_ms(2_000);
    assert_ne!(documents_client.exchange(&lost).status, 0);
    serves_on(&sql, &sql_card, 1_000);
    mongo.restart();
    insist(&mut documents_client, PASSAGE, &passage(&card, 2));

    // Every process of the one is killed, then it comes back.
    documents.kill_everything();
    serves_on(&sql, &sql_card, 1_010);
    documents.run();
    let mut documents_client = documents.client();
    insist(&mut documents_client, PASSAGE, &passage(&card, 3));
    assert_eq!(expect_agreement(&mut documents_client, &account, &card, "after the kill").len(), 3);

    // And the other way round: the SQL platform is stopped in order.
    sql.stop();
    insist(&mut documents_client, PASSAGE, &passage(&card, 4));
    assert_eq!(expect_agreement(&mut documents_client, &account, &card, "alone").len(), 4);
    sql.run();
    let mut sql_client = sql.client();
    until("the SQL platform is back", || {
        (sql_client.call_json(STATEMENT, json!({"account": sql_account})).status == 0).then_some(())
    });
    assert_eq!(balance(&mut sql_client, &sql_account), 1_020);
}

/// Ten writes and reads, each at its first try.
fn serves_on(node: &Node, card: &str, before: i64) {
    let mut client = node.client();
    for number in 1..=10 {
        assert_eq!(recharge(&mut client, card, 1), before + number);
    }
}
