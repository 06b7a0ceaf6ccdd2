//! Writes sent again, and what became of them.

use gantry_comm::Counter;
use gantry_message::Status;

use crate::client::{id, wait_until};
use crate::world::{READ_ECHO, WRITE_ECHO, WRITE_HOLD, WRITE_LOSE, WRITE_STATUS, World};

#[test]
fn a_repeat_of_a_done_write_gets_the_recorded_reply_without_a_second_run() {
    let world = World::new("");
    let (mut first, mut second) = (world.client(), world.client());
    for (index, bytes) in [0, 1, 144, 145, 520].into_iter().enumerate() {
        let (id, body) = (id(index as u64), vec![b'r'; bytes]);
        assert_eq!(first.call(WRITE_ECHO, id, &body).body, body);
        for client in [&mut first, &mut second] {
            let reply = client.call(WRITE_ECHO, id, &body);
            assert_eq!((reply.status(), reply.body), (Some(Status::Done), body.clone()));
        }
        assert_eq!(world.executed(), index as u64 + 1);
    }
    assert_eq!(first.ask(WRITE_STATUS, id(50), b"304{\"error\":\"card_unknown\"}").0, Status::BusinessError);
    let (status, body) = second.ask(WRITE_STATUS, id(50), b"304{\"error\":\"card_unknown\"}");
    assert_eq!((status, &body[..]), (Status::BusinessError, "{\"error\":\"card_unknown\"}"));
    assert_eq!(world.counted(Counter::Repeats), 11);
    world.check_nothing_is_held();
}

#[test]
fn a_repeat_of_a_write_with_a_long_reply_goes_to_the_database() {
    let world = World::new("");
    let mut client = world.client();
    for _ in 0..2 {
        assert_eq!(client.call(WRITE_ECHO, id(1), &[b'r'; 5000]).body.len(), 5000);
    }
    assert_eq!(world.executed(), 2, "the worker answers from the request's row");
}

#[test]
fn a_reused_id_is_107_for_another_body_and_for_another_service() {
    let world = World::new("");
    let mut client = world.client();
    client.call(WRITE_ECHO, id(1), b"one");
    assert_eq!(client.call(WRITE_ECHO, id(1), b"two").status(), Some(Status::RequestIdReused));
    assert_eq!(client.call(WRITE_ECHO, id(1), &[b'x'; 10_000]).status(), Some(Status::RequestIdReused));
    assert_eq!(client.call(WRITE_STATUS, id(1), b"one").status(), Some(Status::RequestIdReused));
    assert_eq!(
        client.call(READ_ECHO, id(1), b"two").status(),
        Some(Status::Done),
        "reads are not remembered"
    );
    assert_eq!(world.counted(Counter::RequestIdReused), 3);
    world.check_nothing_is_held();
}

#[test]
fn repeats_of_a_running_write_wait_for_it_and_get_its_reply() {
    for threads in [1, 3] {
        let world = World::new(&format!("[comm]\nthreads = {threads}\n"));
        let mut clients: Vec<_> = (0..6).map(|_| world.client()).collect();
        for client in &mut clients {
            client.send(WRITE_HOLD, id(1), &[b'h'; 2000]);
        }
        wait_until("five have joined the first", || world.counted(Counter::Repeats) == 5);
        world.gate.open();
        for client in &mut clients {
            let reply = client.receive();
            assert_eq!((reply.status(), reply.body.len()), (Some(Status::Done), 2000));
        }
        assert_eq!(world.executed(), 1);
        world.check_nothing_is_held();
    }
}

#[test]
fn a_repeat_that_waits_has_its_own_deadline() {
    let world = World::new("");
    let (mut first, mut second) = (world.client(), world.client());
    first.send(WRITE_HOLD, id(1), b"h");
    wait_until("the first runs", || world.executed() == 1);
    let repeat = crate::client::frame(WRITE_HOLD, id(1), 100, b"h", false);
    std::io::Write::write_all(&mut second.stream, &repeat).unwrap();
    assert_eq!(second.receive().status(), Some(Status::TimedOut), "its original runs");
    world.gate.open();
    assert_eq!(first.receive().status(), Some(Status::Done));
    assert_eq!(second.call(WRITE_HOLD, id(1), b"h").status(), Some(Status::Done));
    assert_eq!(world.executed(), 1);
    world.check_nothing_is_held();
}

#[test]
fn a_repeat_takes_the_place_of_an_original_that_never_started() {
    let mut world = World::idle("");
    let (mut first, mut second) = (world.client(), world.client());
    let original = crate::client::frame(WRITE_ECHO, id(1), 200, b"w", false);
    std::io::Write::write_all(&mut first.stream, &original).unwrap();
    wait_until("the first is queued", || queued(&world) == 1);
    second.send(WRITE_ECHO, id(1), b"w");
    wait_until("the second waits", || world.counted(Counter::Repeats) == 1);
    assert_eq!(first.receive().status(), Some(Status::BudgetSpent));
    world.start_workers();
    assert_eq!(second.receive().body, b"w");
    assert_eq!(world.executed(), 1);
    world.check_nothing_is_held();
}

#[test]
fn a_failed_write_is_a_new_attempt_when_it_is_repeated() {
    let world = World::new("");
    let mut client = world.client();
    for status in ["306", "500"] {
        let id = id(status.parse().unwrap());
        for attempt in 1..=2 {
            assert_eq!(
                client.call(WRITE_STATUS, id, status.as_bytes()).header.status_code.to_string(),
                status
            );
            assert!(world.executed() >= attempt);
        }
    }
    assert_eq!(world.executed(), 4);
}

#[test]
fn an_outcome_query_tells_what_the_window_knows() {
    let world = World::new("");
    let (mut client, mut held) = (world.client(), world.client());
    let ask = |client: &mut crate::client::Client<_>, about: u64| {
        client.ask(2, id(1000 + about), id(about).as_bytes())
    };
    client.call(WRITE_ECHO, id(1), b"{\"balance\":5}");
    assert_eq!(ask(&mut client, 1).1, r#"{"state":"done","status":"000","reply":{"balance":5}}"#);
    client.call(WRITE_STATUS, id(2), b"304{\"error\":\"x\"}");
    assert_eq!(ask(&mut client, 2).1, r#"{"state":"done","status":"304","reply":{"error":"x"}}"#);
    client.call(WRITE_ECHO, id(3), &[0xff; 400]);
    let (status, body) = ask(&mut client, 3);
    assert!(status == Status::Done && body.contains("{\"base64\":\"////"), "{body}");
    client.call(WRITE_STATUS, id(4), b"306");
    assert!(
        ask(&mut client, 4).1.contains(&format!("{}L", id(4).as_str())),
        "an earlier attempt may have committed"
    );
    held.send(WRITE_HOLD, id(5), b"h");
    wait_until("the fifth runs", || world.executed() == 6);
    assert_eq!(ask(&mut client, 5).1, r#"{"state":"running"}"#);
    held.send(WRITE_ECHO, id(6), b"q");
    wait_until("the sixth is queued", || queued(&world) == 1);
    assert_eq!(ask(&mut client, 6).1, r#"{"state":"queued"}"#);
    world.gate.open();
    assert_eq!([held.receive().status(), held.receive().status()], [Some(Status::Done); 2]);
    world.check_nothing_is_held();
}

#[test]
fn an_outcome_query_that_the_window_cannot_answer_goes_to_a_worker() {
    let world = World::new("");
    let mut client = world.client();
    let (status, body) = client.ask(2, id(1), id(77).as_bytes());
    assert_eq!((status, body), (Status::Done, format!("{{\"asked\":\"{}\"}}", id(77))));
    // A lost attempt is marked, so that the worker fences it off.
    assert_eq!(client.call(WRITE_LOSE, id(5), b"x").status(), Some(Status::WorkerLost));
    let (_, body) = client.ask(2, id(2), id(5).as_bytes());
    assert_eq!(body, format!("{{\"asked\":\"{}L\"}}", id(5)));
    for wrong in [&b""[..], &[b'a'; 23], &[b' '; 24], &[b'a'; 25], &[b'a'; 5000]] {
        let (status, body) = client.ask(2, id(3), wrong);
        assert!(status == Status::BusinessError && body.contains("\"field\":\"body\""), "{body}");
    }
    world.check_nothing_is_held();
}

fn queued(world: &World) -> usize {
    let slots = gantry_ring::Slots::new(world.control().slots());
    slots.words().filter(|(_, word)| word.is(gantry_ring::State::Queued)).count()
}
