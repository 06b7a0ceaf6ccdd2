//! 30000002 and 20000009: bank files.

use gantry_tests::etc::{
    BANK_FILE, BANK_RESULT, OPEN_ACCOUNT, REFUND, balance, customer, expect_books_to_balance, issue_card,
    listed, passage, recharge, text,
};
use gantry_tests::{Client, Node, NodeOptions, crc32c};
use serde_json::{Value, json};

/// The day of [`passage`].
const DAY: &str = "2025-03-01";
const LINE: usize = 202;

fn build(client: &mut Client, bank: &str, file: u32) -> Vec<u8> {
    client.call_json(BANK_FILE, json!({"date": DAY, "bank": bank, "file": file})).done().body
}

fn lines(file: &[u8]) -> Vec<&[u8]> {
    assert_eq!(file.len() % LINE, 0, "lines of {LINE} bytes");
    let lines: Vec<&[u8]> = file.chunks(LINE).collect();
    assert!(lines.iter().all(|line| line.ends_with(b"\r\n")));
    lines
}

/// Account and amount of each debit; the trailer's figures are held against them.
fn debits(file: &[u8]) -> Vec<(String, i64)> {
    let lines = lines(file);
    let [header, records @ .., trailer] = lines.as_slice() else { panic!("no header or trailer") };
    assert!(header.starts_with(b"HGBDEBIT1"));
    let ascii = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("numbers are ASCII");
    let debits: Vec<(String, i64)> = records
        .iter()
        .map(|line| {
            (ascii(&line[9..49]).trim_end().to_owned(), ascii(&line[53..68]).parse().expect("an amount"))
        })
        .collect();
    assert_eq!(ascii(&trailer[..9]), format!("T{:08}", debits.len()));
    let total: i64 = debits.iter().map(|(_, amount)| amount).sum();
    assert_eq!(ascii(&trailer[9..27]), format!("{total:018}"));
    assert_eq!(ascii(&trailer[35..43]), checksum(&file[..file.len() - LINE]));
    debits
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c(bytes))
}

/// The answer to a file: one outcome for each record, from the file's own lines.
fn result(file: &[u8], result_no: u32, outcomes: &[u8]) -> Vec<u8> {
    let lines = lines(file);
    let mut answer = lines[0].to_vec();
    answer[1..9].copy_from_slice(b"GBRESLT1");
    answer[51..55].copy_from_slice(format!("{result_no:04}").as_bytes());
    for (line, outcome) in lines[1..].iter().zip(outcomes) {
        let mut record = line.to_vec();
        record[0] = b'R';
        record[68..200].fill(b' ');
        record[68] = *outcome;
        record[69..73].copy_from_slice(b"E001");
        answer.extend_from_slice(&record);
    }
    sign(answer, outcomes.len(), &lines[lines.len() - 1][9..27])
}

/// Adds a trailer with a count, a total and the checksum.
fn sign(mut answer: Vec<u8>, count: usize, total: &[u8]) -> Vec<u8> {
    let mut trailer = vec![b' '; LINE];
    trailer[..9].copy_from_slice(format!("T{count:08}").as_bytes());
    trailer[9..27].copy_from_slice(total);
    trailer[27..35].copy_from_slice(b"00000000");
    trailer[35..43].copy_from_slice(checksum(&answer).as_bytes());
    trailer[200..].copy_from_slice(b"\r\n");
    answer.extend_from_slice(&trailer);
    answer
}

fn take(client: &mut Client, file: &[u8]) -> Value {
    client.call(BANK_RESULT, file).done().json()
}

#[test]
fn file_has_the_days_debits_once_and_is_built_again_to_the_byte() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (first, first_card) = customer(&mut client, 10_000);
    let (second, second_card) = customer(&mut client, 10_000);
    let (_, third_card) = customer(&mut client, 10_000);
    passage(&mut client, &first_card, 1_500, 1);
    passage(&mut client, &first_card, 300, 2);
    passage(&mut client, &second_card, 70, 3);
    let (_, serial) = passage(&mut client, &third_card, 999, 4);
    client.call_json(REFUND, json!({"serial": serial, "reason": "r"})).done();

    let file = build(&mut client, "ICBC", 1);
    let mut expected = vec![(first.clone(), 1_800), (second, 70)];
    expected.sort();
    assert_eq!(debits(&file), expected);
    assert!(debits(&build(&mut client, "ABC", 1)).is_empty(), "no debit is in two files");
    passage(&mut client, &first_card, 25, 5);
    assert_eq!(build(&mut client, "ICBC", 1), file);
    assert_eq!(debits(&build(&mut client, "ICBC", 2)), [(first, 25)], "what came late is in the next file");
    let reply = client.call_json(BANK_FILE, json!({"date": DAY, "bank": "ICBC", "file": 3}));
    assert_eq!(reply.error_code(), "file_unknown");
}

#[test]
fn large_day_is_parted_into_files() {
    let node = Node::start(NodeOptions::business().set("service.bank.records_max", 2));
    let mut client = node.client();
    let mut expected = Vec::new();
    for fee in 1..=5 {
        let (account, card) = customer(&mut client, 0);
        passage(&mut client, &card, fee, 1);
        expected.push((account, fee));
    }
    expected.sort();
    let files: Vec<Vec<u8>> = (1..=3).map(|file| build(&mut client, "ICBC", file)).collect();
    assert!(files.iter().all(|file| &file[47..51] == b"0003"));
    let found: Vec<(String, i64)> = files.iter().flat_map(|file| debits(file)).collect();
    assert_eq!(found, expected);
}

#[test]
fn accepted_debits_are_booked_and_rejected_ones_are_collected_again() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let mut customers = [customer(&mut client, 0), customer(&mut client, 0), customer(&mut client, 0)];
    customers.sort();
    for (_, card) in &customers {
        passage(&mut client, card, 500, 1);
        assert!(listed(&mut client, card));
    }
    let file = build(&mut client, "ICBC", 1);
    let mut answer = result(&file, 1, b"ARA");
    // The third record is spoilt, and the file's checksum is made anew.
    answer.truncate(answer.len() - LINE);
    answer[3 * LINE + 68] = b'?';
    let answer = sign(answer, 3, &file[file.len() - LINE + 9..file.len() - LINE + 27]);
    let taken = take(&mut client, &answer);
    assert_eq!(
        (&taken["accepted"], &taken["rejected"], &taken["bad_count"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!((&taken["bad"][0]["line"], &taken["bad"][0]["field"]), (&json!(4), &json!("outcome")));
    let balances: Vec<i64> = customers.iter().map(|(account, _)| balance(&mut client, account)).collect();
    assert_eq!(balances, [0, -500, -500]);
    let is_listed: Vec<bool> = customers.iter().map(|(_, card)| listed(&mut client, card)).collect();
    assert_eq!(is_listed, [false, true, true]);
    assert_eq!(client.call(BANK_RESULT, &answer).error_code(), "duplicate");

    // The bank answers again: what has its result stays, what was bad is taken now.
    let taken = take(&mut client, &result(&file, 2, b"AAA"));
    assert_eq!((&taken["accepted"], &taken["bad_count"]), (&json!(1), &json!(2)));
    assert_eq!(balance(&mut client, &customers[2].0), 0);
    assert_eq!(debits(&build(&mut client, "ICBC", 2)), [(customers[1].0.clone(), 500)]);
    assert_eq!(recharge(&mut client, &customers[1].1, 500), 0);
    expect_books_to_balance(&mut client);
}

#[test]
fn result_with_a_broken_frame_or_of_no_file_is_refused_whole() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 0);
    passage(&mut client, &card, 500, 1);
    let file = build(&mut client, "ICBC", 1);
    let answer = result(&file, 1, b"A");
    for (at, byte, field) in [
        (0, b'X', "header"),
        (LINE + 60, b'9', "checksum"),
        (2 * LINE + 8, b'7', "count"),
        (2 * LINE, b'R', "trailer"),
    ] {
        let mut broken = answer.clone();
        broken[at] = byte;
        let reply = client.call(BANK_RESULT, &broken);
        assert_eq!(reply.error_code(), "bad_request", "{field}");
        assert_eq!(reply.json()["field"], json!(field), "{reply:?}");
    }
    let mut header = answer[..2 * LINE].to_vec();
    header[17..21].copy_from_slice(b"ABCD");
    let reply = client.call(BANK_RESULT, sign(header, 1, &answer[2 * LINE + 9..2 * LINE + 27]));
    assert_eq!(reply.error_code(), "file_unknown");
    assert_eq!(balance(&mut client, &account), -500);
    assert_eq!(take(&mut client, &answer)["accepted"], json!(1), "what was refused was not taken");
    expect_books_to_balance(&mut client);
}

#[test]
fn names_are_written_in_the_banks_charset_and_what_it_lacks_is_left_out() {
    let node = Node::start(NodeOptions::business().text("service.bank.banks.ICBC.charset", "gbk"));
    let mut client = node.client();
    let long = "李".repeat(31);
    for (place, name) in [(0, long.as_str()), (1, "\u{1f697} 车")] {
        let body = json!({"customer": name, "id_no": "110105199001011234"});
        let account = text(&client.call_json(OPEN_ACCOUNT, body).done(), "account");
        let card = issue_card(&mut client, &account);
        passage(&mut client, &card, 100 + place, 1);
    }
    let file = build(&mut client, "ICBC", 1);
    assert_eq!(debits(&file).len(), 1);
    assert_eq!(&file[9..17], b"GBK     ");
    let name = [0xc0, 0xee].repeat(30);
    assert_eq!(&file[LINE + 132..LINE + 192], name.as_slice(), "60 bytes, cut between characters");
    assert_eq!(&file[2 * LINE + 27..2 * LINE + 35], b"00000001", "one is left out");
    // A bank that takes UTF-8 gets it.
    assert_eq!(debits(&build(&mut client, "ABC", 1)).len(), 1);
}

#[test]
fn day_that_is_not_over_and_a_bad_code_are_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for (body, code, field) in [
        (json!({"date": "2999-01-01", "bank": "ICBC"}), "day_not_over", Value::Null),
        (json!({"date": "yesterday", "bank": "ICBC"}), "bad_request", json!("date")),
        (json!({"date": DAY, "bank": "工商"}), "bad_request", json!("bank")),
        (json!({"date": DAY}), "bad_request", json!("bank")),
        (json!({"date": DAY, "bank": "ICBC", "file": 0}), "bad_request", json!("file")),
    ] {
        let reply = client.call_json(BANK_FILE, body);
        assert_eq!(reply.error_code(), code);
        assert_eq!(reply.json()["field"], field);
    }
    let day = client.call_json(BANK_FILE, json!({"date": DAY, "bank": "ICBC"})).done();
    assert!(debits(&day.body).is_empty());
}
