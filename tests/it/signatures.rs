//! Deliveries are signed so that the official Standard Webhooks libraries verify them.

use crate::support::tokens::now;
use crate::support::verify::{by_the_official_library, by_the_official_npm_package, hmac_sha256, key_of};
use crate::support::{Received, Receiver, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

#[tokio::test]
async fn a_made_secret_verifies_with_the_official_libraries() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended", "data": {"caller": "Zoë", "n": 1.50}})).await;
    let delivery = receiver.expect_delivery().await;
    assert!(webhook.secret.starts_with("whsec_"));
    by_the_official_library(&delivery, &webhook.secret).await;
    by_the_official_npm_package(&delivery, &webhook.secret).await;
    by_the_official_library(&delivery, &webhook.signing_secret).await;
}

/// A delivery and a secret that it was not signed with: a verifier that accepts everything would prove nothing.
async fn forged() -> (Received, String) {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    (receiver.expect_delivery().await, format!("whsec_{}", STANDARD.encode([7; 32])))
}

#[tokio::test]
#[should_panic(expected = "the standardwebhooks library refuses")]
async fn the_python_package_refuses_another_secret() {
    let (delivery, secret) = forged().await;
    by_the_official_library(&delivery, &secret).await;
}

#[tokio::test]
#[should_panic(expected = "the standardwebhooks library refuses")]
async fn the_npm_package_refuses_another_secret() {
    let (delivery, secret) = forged().await;
    by_the_official_npm_package(&delivery, &secret).await;
}

#[tokio::test]
async fn a_plain_secret_verifies_through_its_signing_secret() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let secret = "a plain secret, as an older system chose it";
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"secret": secret})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let delivery = receiver.expect_delivery().await;
    assert_eq!(webhook.secret, secret);
    assert_eq!(webhook.signing_secret, format!("whsec_{}", STANDARD.encode(secret)));
    by_the_official_library(&delivery, &webhook.signing_secret).await;
    by_the_official_npm_package(&delivery, &webhook.signing_secret).await;
}

#[tokio::test]
async fn a_chosen_whsec_secret_is_used_as_it_is() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"secret": secret})).await;
    assert_eq!((&webhook.secret, &webhook.signing_secret), (&secret, &secret));
    server.publish("acme", json!({"type": "call.ended"})).await;
    by_the_official_library(&receiver.expect_delivery().await, &secret).await;
}

#[tokio::test]
async fn the_headers_are_those_of_the_contract() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let delivery = receiver.expect_delivery().await;
    let key = key_of(&webhook.secret);

    let body_mac = hex::encode(hmac_sha256(&key, &delivery.body));
    assert_eq!(delivery.header("x-webhook-signature"), format!("sha256={body_mac}"));
    let id = delivery.header("webhook-id");
    assert!(!id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{id}");
    let signed = format!("{id}.{}.{}", delivery.header("webhook-timestamp"), delivery.text());
    let mac = STANDARD.encode(hmac_sha256(&key, signed.as_bytes()));
    assert_eq!(delivery.header("webhook-signature"), format!("v1,{mac}"));

    let age = now() - delivery.header("webhook-timestamp").parse::<i64>().expect("seconds since the epoch");
    assert!((0..60).contains(&age), "{age}");
    assert_eq!(delivery.header("content-type"), "application/json");
    assert_eq!(delivery.header("x-webhook-event"), "call.ended");
    assert_eq!(delivery.header("x-webhook-delivery"), id);
    assert!(delivery.header("user-agent").starts_with("Jackfield/"), "{}", delivery.header("user-agent"));
}

#[tokio::test]
async fn a_bad_secret_is_refused() {
    let server = Server::start().await;
    for secret in ["", "whsec_***not-base64***"] {
        let body = json!({"name": "n", "url": "http://127.0.0.1:9/", "events": ["*"], "secret": secret});
        server.admin("acme").post("/api/v1/webhooks", body).await.expect_invalid("secret");
    }
}

/// No official library verifies `v1a` yet, so by the published key and the standard's own words; `v1` stands beside it.
#[tokio::test]
async fn an_ed25519_signature_verifies_by_the_public_key_that_the_api_shows() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"ed25519": true})).await;
    let shown = server.admin("acme").get(&format!("{}/public-key", webhook.path())).await.expect(200);
    let public = shown.body["public_key"].as_str().and_then(|key| key.strip_prefix("whpk_")).expect("a whpk_ key");
    let public: [u8; 32] = STANDARD.decode(public).expect("base64").try_into().expect("32 bytes");
    let public = ed25519_dalek::VerifyingKey::from_bytes(&public).expect("a point of the curve");

    server.publish("acme", json!({"type": "call.ended", "data": {"n": 1}})).await;
    let delivery = receiver.expect_delivery().await;
    by_the_official_library(&delivery, &webhook.signing_secret).await;
    by_the_official_npm_package(&delivery, &webhook.signing_secret).await;
    let v1a = delivery.header("webhook-signature").split(' ').find_map(|entry| entry.strip_prefix("v1a,"));
    let signature = STANDARD.decode(v1a.expect("a v1a entry beside v1")).expect("base64");
    let signature = ed25519_dalek::Signature::from_slice(&signature).expect("64 bytes");
    let signed = format!("{}.{}.", delivery.header("webhook-id"), delivery.header("webhook-timestamp"));
    let signed = [signed.as_bytes(), &delivery.body].concat();
    public.verify_strict(&signed, &signature).expect("the key signed these bytes");

    let plain = server.webhook("acme", &receiver.url()).await;
    server.admin("acme").get(&format!("{}/public-key", plain.path())).await.expect_problem(404);
}
