//! `kill -9` at any moment loses no event that was answered 202.

use crate::support::account::Account;
use crate::support::databases::Kind;
use crate::support::load::{Load, WhenItBreaks};
use crate::support::receiver::Door;
use crate::support::wait::PATIENCE;
use crate::support::webhooks::all_is_finished_and_counted_once;
use crate::support::{Answer, Database, Receiver, Server, eventually, on_every_database};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_pending_retry_survives_a_crash() {
    let mut server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "300ms").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let first = receiver.expect_delivery().await;
    server.kill();
    server.restart().await;
    let second = receiver.expect_delivery().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    webhook.expect_count("delivered", 1).await;
}

#[tokio::test]
async fn a_crash_while_a_receiver_holds_the_post_is_delivered_again() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    receiver.hang();
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    let held = receiver.expect_delivery().await;
    server.kill();
    receiver.answer_always(200);
    server.restart().await;
    let again = receiver.expect_delivery().await;
    assert_eq!(again.header("webhook-id"), held.header("webhook-id"));
    assert_eq!(again.body, held.body);
    webhook.expect_count("delivered", 1).await;
}

#[tokio::test]
async fn webhooks_made_before_a_crash_are_in_force_after_it() {
    let mut server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.kill();
    server.restart().await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let delivery = receiver.expect_delivery().await;
    crate::support::verify::by_the_official_library(&delivery, &webhook.signing_secret).await;
}

/// What a round leaves unfinished at least, or it proves little and does not count.
const UNFINISHED: i64 = 500;
/// One webhook answers at once, so that the kill falls between a POST and its record; the others let work pile up.
const PROMPT: &str = "/prompt";
const LATE: &str = "/late";
const ORDERED: &str = "/ordered";
const PATHS: [&str; 3] = [PROMPT, LATE, ORDERED];
const PUBLISHERS: usize = 6;

on_every_database! { relaxed:
    what_was_answered_202_arrives_after_kill_9_at_any_moment,
    long_what_was_answered_202_arrives_after_kill_9_at_any_moment,
}

async fn what_was_answered_202_arrives_after_kill_9_at_any_moment(database: Database) {
    kill_the_server(database, 3).await;
}

async fn long_what_was_answered_202_arrives_after_kill_9_at_any_moment(database: Database) {
    kill_the_server(database, 21).await;
}

/// The moments of the kill, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The receiver holds every answer, and never gives it.
    BeforeAnyAnswer,
    /// The answers are on their way.
    WithTheAnswers,
    /// The answers have begun to be recorded.
    AmongRecords,
}

const MOMENTS: [Moment; 3] = [Moment::BeforeAnyAnswer, Moment::WithTheAnswers, Moment::AmongRecords];

async fn kill_the_server(database: Database, wanted: usize) {
    let mut server = Server::on(&database).await;
    let receiver = Receiver::start().await;
    let mut webhooks = Vec::new();
    for path in PATHS {
        let fields = json!({"ordering": if path == ORDERED { "key" } else { "none" }});
        webhooks.push(server.webhook_with("acme", &receiver.url_of(path), fields).await);
    }
    let mut account = Account::default();
    let (mut rounds, mut counted, mut unfinished) = (0, 0, Vec::new());
    let (mut ids, mut events) = (Vec::new(), 0);
    while counted < wanted {
        let moment = MOMENTS[rounds % MOMENTS.len()];
        rounds += 1;
        assert!(rounds <= wanted * 2, "too few rounds leave {UNFINISHED} deliveries unfinished: {unfinished:?}");

        let door = Door::shut();
        let behind = door.clone();
        receiver.answer_by(move |request| match &*request.path {
            PROMPT => Answer::status(200),
            _ => Answer::status(200).behind(&behind),
        });
        let clients = (0..PUBLISHERS).map(|_| server.service("acme")).collect();
        let load = Load::start(&format!("r{rounds}"), clients, WhenItBreaks::End);
        load.accept_more(350 + rand::random_range(0..150)).await;
        if moment != Moment::BeforeAnyAnswer {
            door.open();
        }
        if moment == Moment::AmongRecords {
            let so_far = receiver.count();
            receiver.more_than(so_far + rand::random_range(0..150)).await;
        }

        let killed = Instant::now();
        server.kill();
        ids.extend(load.end().await);
        let left = format!("state = 'pending' AND event_id LIKE 'r{rounds}-%'");
        let left = database.count(&format!("SELECT COUNT(*) FROM jf_deliveries WHERE {left}")).await;
        account.has_all_that_is_marked_delivered(&receiver, &database).await;
        counted += usize::from(left >= UNFINISHED);
        unfinished.push(left);

        receiver.answer_always(200);
        let started = Instant::now();
        server.restart().await;
        account.fault(killed, started);
        // Where the database is shared, each round waits ten seconds for what the dead server held: three wait together.
        if rounds % MOMENTS.len() == 0 || counted == wanted {
            account.expect(&receiver, &ids, &PATHS).await;
            all_is_finished_and_counted_once(&database, &webhooks).await;
            events += std::mem::take(&mut ids).len();
        }
    }
    account.has_all_that_is_marked_delivered(&receiver, &database).await;
    let (requests, duplicates) = (account.requests(), account.duplicates());
    println!(
        "{:?}: {rounds} kills of the server, {counted} counted; {events} events answered 202, {requests} requests, \
         {duplicates} duplicates, all explained; unfinished after the kills: {unfinished:?}",
        database.kind()
    );
}

#[tokio::test]
async fn a_mariadb_that_is_killed_under_load_is_found_again_when_it_is_back() {
    kill_the_database(Database::durable(Kind::MariaDb).await, 3).await;
}

#[tokio::test]
async fn a_postgres_that_is_killed_under_load_is_found_again_when_it_is_back() {
    kill_the_database(Database::durable(Kind::Postgres).await, 3).await;
}

#[tokio::test]
async fn long_a_mariadb_that_is_killed_under_load_is_found_again_when_it_is_back() {
    kill_the_database(Database::durable(Kind::MariaDb).await, 20).await;
}

#[tokio::test]
async fn long_a_postgres_that_is_killed_under_load_is_found_again_when_it_is_back() {
    kill_the_database(Database::durable(Kind::Postgres).await, 20).await;
}

/// Leases whose commit was in doubt are given back so long after the database is there again, at most.
const SETTLED: Duration = Duration::from_secs(3);

async fn kill_the_database(mut database: Database, rounds: usize) {
    let server = Server::on(&database).await;
    let receiver = Receiver::start().await;
    let mut webhooks = Vec::new();
    for path in PATHS {
        let fields = json!({"ordering": if path == ORDERED { "key" } else { "none" }});
        webhooks.push(server.webhook_with("acme", &receiver.url_of(path), fields).await);
    }
    let mut account = Account::default();
    let (mut events, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let clients = (0..PUBLISHERS).map(|_| server.service("acme")).collect();
        let load = Load::start(&format!("r{round}"), clients, WhenItBreaks::SendAgain);
        load.accept_more(100 + rand::random_range(0..150)).await;

        let killed = Instant::now();
        database.kill();
        load.refuse_more().await;
        let asked = Instant::now();
        let readyz = server.anonymous().get("/readyz").await.expect(503);
        assert!(readyz.text.contains(r#""database":"unavailable""#), "{}", readyz.text);
        assert!(asked.elapsed() < Duration::from_secs(2), "/readyz took {:?} to say so", asked.elapsed());
        database.restart().await;
        load.accept_more(50).await;
        eventually("/readyz to agree", || async {
            (server.anonymous().try_get("/readyz").await? == 200).then_some(())
        })
        .await;
        account.fault(killed, Instant::now() + SETTLED);

        refused += load.refused();
        slowest = slowest.max(load.slowest());
        let ids = load.end().await;
        account.expect(&receiver, &ids, &PATHS).await;
        events += ids.len();
    }
    all_is_finished_and_counted_once(&database, &webhooks).await;
    account.has_all_that_is_marked_delivered(&receiver, &database).await;
    assert!(slowest < PATIENCE, "a publisher waited {slowest:?} for its answer");
    let (requests, duplicates) = (account.requests(), account.duplicates());
    println!(
        "{:?}: {rounds} kills of the database; {events} events answered 202, {refused} answers of 503, the slowest answer \
         after {slowest:?}; {requests} requests, {duplicates} duplicates",
        database.kind()
    );
    // The server lives: it remembers what it has sent until it can be written.
    assert_eq!(duplicates, 0, "nothing is sent again because a database was away");
}
