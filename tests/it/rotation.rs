//! A webhook's secret is replaced: for a while both sign, so that no receiver has to change at the same moment.

use crate::support::client::Reply;
use crate::support::verify::{by_the_official_library, by_the_official_npm_package, hmac_sha256, key_of};
use crate::support::webhooks::Webhook;
use crate::support::{Received, Receiver, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

async fn rotate(server: &Server, webhook: &Webhook, fields: Value) -> Reply {
    server.admin("acme").post(&format!("{}/rotate-secret", webhook.path()), fields).await
}

/// The new secret in the form that the libraries take.
async fn rotated(server: &Server, webhook: &Webhook, fields: Value) -> String {
    let answer = rotate(server, webhook, fields).await.expect(200);
    answer.body["signing_secret"].as_str().unwrap_or_else(|| panic!("no secret in {}", answer.text)).to_owned()
}

async fn next_delivery(server: &Server, receiver: &mut Receiver) -> Received {
    server.publish("acme", json!({"type": "call.ended", "data": {"caller": "Zoë"}})).await;
    receiver.expect_delivery().await
}

/// Whether one of the `v1` signatures was made with this secret.
fn is_signed_with(delivery: &Received, secret: &str) -> bool {
    let signed =
        format!("{}.{}.{}", delivery.header("webhook-id"), delivery.header("webhook-timestamp"), delivery.text());
    let wanted = format!("v1,{}", STANDARD.encode(hmac_sha256(&key_of(secret), signed.as_bytes())));
    delivery.header("webhook-signature").split(' ').any(|signature| signature == wanted)
}

fn of_body(delivery: &Received, secret: &str) -> String {
    format!("sha256={}", hex::encode(hmac_sha256(&key_of(secret), &delivery.body)))
}

#[tokio::test]
async fn both_secrets_sign_during_the_overlap() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    assert_eq!(next_delivery(&server, &mut receiver).await.header("x-webhook-signature-previous"), "");
    let new = rotated(&server, &webhook, json!({})).await;
    assert_ne!(new, webhook.signing_secret);
    let delivery = next_delivery(&server, &mut receiver).await;
    for secret in [&new, &webhook.signing_secret] {
        by_the_official_library(&delivery, secret).await;
        by_the_official_npm_package(&delivery, secret).await;
    }
    assert_eq!(delivery.header("webhook-signature").split(' ').count(), 2);
    assert_eq!(delivery.header("x-webhook-signature"), of_body(&delivery, &new));
    assert_eq!(delivery.header("x-webhook-signature-previous"), of_body(&delivery, &webhook.secret));
    let shown = webhook.shown().await.to_string();
    assert!(!shown.contains("whsec_"), "a secret is shown once: {shown}");
}

#[tokio::test]
async fn an_overlap_ends_by_itself_or_at_once() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let new = rotated(&server, &webhook, json!({"overlap": "0s"})).await;
    let delivery = next_delivery(&server, &mut receiver).await;
    assert!(is_signed_with(&delivery, &new) && !is_signed_with(&delivery, &webhook.secret));
    assert_eq!(delivery.header("x-webhook-signature-previous"), "");

    let newer = rotated(&server, &webhook, json!({"overlap": "1s"})).await;
    let mut seen_both = false;
    loop {
        let delivery = next_delivery(&server, &mut receiver).await;
        assert!(is_signed_with(&delivery, &newer));
        if !is_signed_with(&delivery, &new) {
            break;
        }
        seen_both = true;
    }
    assert!(seen_both, "the overlap of a second had no delivery in it");
}

#[tokio::test]
async fn twice_in_a_row_leaves_all_three_signing() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let chosen = "chosen by an older system";
    let answer = rotate(&server, &webhook, json!({"secret": chosen, "overlap": "2h"})).await.expect(200);
    assert_eq!(answer.body["secret"], chosen);
    let last = rotated(&server, &webhook, json!({})).await;
    let delivery = next_delivery(&server, &mut receiver).await;
    for secret in [&last, chosen, &webhook.secret] {
        assert!(is_signed_with(&delivery, secret), "{}", delivery.header("webhook-signature"));
    }
    assert_eq!(delivery.header("x-webhook-signature-previous"), of_body(&delivery, chosen), "the one replaced last");
    // A secret set by PUT replaces all of them at once.
    webhook.change(json!({"secret": "the only one"})).await;
    let delivery = next_delivery(&server, &mut receiver).await;
    assert!(is_signed_with(&delivery, "the only one") && !is_signed_with(&delivery, &last));
}

#[tokio::test]
async fn a_retry_is_signed_with_what_is_in_force_then() {
    let server = Server::with().env("WEBHOOK_RETRY_SCHEDULE", "1s").start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer(500);
    let webhook = server.webhook("acme", &receiver.url()).await;
    let first = next_delivery(&server, &mut receiver).await;
    let new = rotated(&server, &webhook, json!({"overlap": "0s"})).await;
    let second = receiver.expect_delivery().await;
    assert_eq!(second.body, first.body);
    assert!(is_signed_with(&first, &webhook.secret) && is_signed_with(&second, &new));
    assert!(!is_signed_with(&second, &webhook.secret));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let server = Server::start().await;
    let webhook = server.webhook("acme", "http://127.0.0.1:9/hook").await;
    for (field, value) in [
        ("overlap", json!("31days")),
        ("overlap", json!("soon")),
        ("overlap", json!(5)),
        ("secret", json!("")),
        ("secret", json!("whsec_***")),
        ("old", json!(true)),
    ] {
        let mut body = json!({});
        body[field] = value;
        rotate(&server, &webhook, body).await.expect_invalid(field);
    }
    let path = format!("{}/rotate-secret", webhook.path());
    server.admin("other").post(&path, json!({})).await.expect_problem(404);
    server.service("acme").post(&path, json!({})).await.expect_problem(403);
}

/// Many rotations make no endless header, and the newest always signs.
#[tokio::test]
async fn at_most_four_replaced_secrets_sign() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let mut secrets = Vec::new();
    for _ in 0..7 {
        secrets.push(rotated(&server, &webhook, json!({})).await);
    }
    let delivery = next_delivery(&server, &mut receiver).await;
    let signing: Vec<bool> = secrets.iter().map(|secret| is_signed_with(&delivery, secret)).collect();
    assert_eq!(signing, [false, false, true, true, true, true, true]);
}
