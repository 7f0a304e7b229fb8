//! What a start says, and how a start that cannot succeed ends.

use crate::support::databases::{Kind, PASSWORD};
use crate::support::{Database, Server, Token};
use serde_json::{Value, json};

/// Contract, section 1: operators wait for these.
fn messages(port: u16) -> [String; 8] {
    [
        "Database connected successfully".to_owned(),
        "Repositories initialized".to_owned(),
        "WebSocket Hub started (single-server mode)".to_owned(),
        "Webhook manager started with 10 workers".to_owned(),
        "Event broadcaster initialized (WebSocket + Webhooks)".to_owned(),
        "Services initialized".to_owned(),
        "Handlers initialized".to_owned(),
        format!("Starting server on 127.0.0.1:{port}"),
    ]
}

#[tokio::test]
async fn a_start_logs_its_messages_in_order_each_ending_one_line() {
    let server = Server::start().await;
    let log = server.log();
    let mut lines = log.iter();
    for message in messages(server.port()) {
        let found = lines.any(|line| line.ends_with(&message));
        assert!(found, "`{message}` does not end a line, or comes out of order:\n{}", log.join("\n"));
    }
}

#[tokio::test]
async fn json_logs_carry_each_start_message_whole() {
    let server = Server::with().env("LOG_FORMAT", "json").start().await;
    let spoken: Vec<String> = server
        .log()
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line.pointer("/fields/message").or(line.get("message"))?.as_str().map(str::to_owned))
        .collect();
    let mut said = spoken.iter();
    for message in messages(server.port()) {
        assert!(said.any(|m| *m == message), "`{message}` is missing or out of order in {spoken:#?}");
    }
}

#[tokio::test]
async fn a_start_never_logs_the_secret() {
    let server = Server::start().await;
    assert!(!server.log().join("\n").contains(crate::support::tokens::SECRET));
}

#[tokio::test]
async fn a_mariadb_is_found_by_db_host_and_its_companions_and_its_password_is_never_logged() {
    let database = Database::relaxed(Kind::MariaDb).await;
    let mut builder = Server::with().without("DATABASE_URL");
    for (name, value) in database.parts() {
        builder.set(name, &value);
    }
    let server = builder.start().await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 1);
    assert!(!server.log().join("\n").contains(PASSWORD));
}

#[tokio::test]
async fn database_url_wins_over_db_host() {
    let database = Database::sqlite();
    let server = Server::with().database(&database).env("DB_HOST", "database.invalid").start().await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    assert_eq!(database.count("SELECT COUNT(*) FROM jf_events").await, 1);
}

#[tokio::test]
async fn a_missing_jwt_secret_is_exit_64_with_the_reason() {
    let ended = Server::with().without("JWT_SECRET").run().await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(ended.stderr.contains("JWT_SECRET"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_short_jwt_secret_is_exit_64_and_says_how_long_it_must_be() {
    let ended = Server::with().env("JWT_SECRET", "thirty-one-bytes-are-not-enough").run().await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(ended.stderr.contains("JWT_SECRET") && ended.stderr.contains("32"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("thirty-one-bytes"), "the reason must not show the secret: {}", ended.stderr);
}

#[tokio::test]
async fn check_reports_every_mistake_at_once() {
    let wrong = Server::with().args(&["serve", "--check"]).without("JWT_SECRET");
    let ended = wrong.env("WS_PING_INTERVAL", "soon").env("WEBHOOK_ALLOW_NETS", "the-office").run().await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    for name in ["JWT_SECRET", "WS_PING_INTERVAL", "WEBHOOK_ALLOW_NETS"] {
        assert!(ended.stderr.contains(name), "{name} is not named:\n{}", ended.stderr);
    }
}

#[tokio::test]
async fn check_of_good_settings_ends_well_and_listens_nowhere() {
    let builder = Server::with().args(&["serve", "--check"]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", builder.port())).expect("the port was free");
    let ended = builder.run().await;
    drop(taken);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn a_flag_wins_over_the_environment() {
    let ended = Server::with().args(&["serve", "--check", "--jwt-secret", "short"]).run().await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
}

#[tokio::test]
async fn a_port_in_use_is_exit_69_with_the_address() {
    let builder = Server::with();
    let port = builder.port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port was free");
    let ended = builder.run().await;
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
    assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_start_without_certificates_is_exit_69_and_says_how_to_get_them() {
    let ended = Server::with().env("SSL_CERT_FILE", "/nowhere/ca.pem").run().await;
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("ca-certificates") && ended.stderr.contains("SSL_CERT_FILE"), "{}", ended.stderr);
}

#[tokio::test]
async fn dev_mode_makes_a_secret_and_prints_a_token_that_works() {
    let server = Server::with().without("JWT_SECRET").args(&["serve", "--dev"]).start().await;
    let token = crate::support::eventually("a token in what --dev prints", || async {
        let log = server.log().join("\n");
        let words = log.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        words.filter(|w| w.starts_with("eyJ") && w.matches('.').count() == 2).map(str::to_owned).next()
    })
    .await;
    server.client(&token).get("/ws/stats").await.expect(200);
}

#[tokio::test]
async fn the_token_command_prints_a_token_that_the_server_takes() {
    let printed = Server::with().args(&["token", "--tenant", "acme", "--user", "kim", "--role", "service"]).run().await;
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let server = Server::start().await;
    let client = server.client(printed.stdout.trim());
    client.post("/api/v1/events", json!({"type": "call.incoming"})).await.expect(202);
}

#[tokio::test]
async fn ready_and_healthy_are_answered_without_a_token() {
    let server = Server::start().await;
    let ready = server.anonymous().get("/readyz").await.expect(200);
    assert!(ready.text.contains("database"), "each part shows its state: {}", ready.text);
    server.anonymous().get("/healthz").await.expect(200);
    server.client(&Token::of("acme").sign()).get("/healthz").await.expect(200);
}
