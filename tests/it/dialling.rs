//! How webhooks are dialled: at exactly what was vetted, straight or through the operator's proxy, on connections that are
//! kept, with TLS that trusts whom the machine trusts.

use crate::support::dns::NameServer;
use crate::support::peer::{Peer, beside};
use crate::support::proxy::EgressProxy;
use crate::support::tls::Authority;
use crate::support::{Answer, Receiver, Server};
use axum::http::Version;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// What may be dialled here stands for the public; its neighbour, on the same machine and port, for the private.
const PUBLIC: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PRIVATE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// An address that is public and nobody's of the tests.
const FAR: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

async fn server_asking(names: &NameServer) -> Server {
    Server::with().env("WEBHOOK_ALLOW_NETS", "127.0.0.1/32").env("WEBHOOK_DNS", &names.setting()).start().await
}

fn named(receiver: &Receiver) -> String {
    format!("http://hooks.test:{}/hook", receiver.address.port())
}

fn expect_refused(attempt: &Value) {
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("failed"), &json!(null)), "{attempt}");
    let words = attempt["error"].as_str().unwrap_or_default();
    for told in ["not dialled", "loopback", "WEBHOOK_ALLOW_NETS"] {
        assert!(words.contains(told), "the error does not name {told}: {words}");
    }
    assert!(!words.contains("127."), "the error gives the address away: {words}");
}

#[tokio::test]
async fn a_name_that_answers_a_public_then_a_private_address_is_refused_the_second_time() {
    let names = NameServer::start(|_, nth| Some(vec![if nth == 0 { PUBLIC } else { PRIVATE }])).await;
    let server = server_asking(&names).await;
    let mut receiver = Receiver::start().await;
    let trap = Peer::trap(beside(receiver.address.port())).await;
    // The connection is not kept, so that the next delivery dials anew.
    receiver.answer_by(|_| Answer::status(200).header("connection", "close"));
    let webhook = server.webhook_with("acme", &named(&receiver), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(receiver.expect_delivery().await.header("host"), named(&receiver)[7..].trim_end_matches("/hook"));
    webhook.expect_count("delivered", 1).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    expect_refused(&webhook.expect_attempts(2).await[0]);
    assert!(names.asked() >= 2, "an answer that may be kept for no time was kept");
    assert_eq!((receiver.all().len(), trap.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_that_mixes_public_and_private_addresses_is_not_dialled_at_all() {
    for mixed in [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC]] {
        let names = NameServer::always(&mixed).await;
        let server = server_asking(&names).await;
        let receiver = Receiver::start().await;
        let trap = Peer::trap(beside(receiver.address.port())).await;
        let webhook = server.webhook_with("acme", &named(&receiver), json!({"retry_count": 0})).await;
        server.publish("acme", json!({"type": "call.ended"})).await;
        expect_refused(&webhook.expect_attempt().await);
        assert_eq!((receiver.connections(), trap.connections()), (0, 0));
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_failed_attempt_that_says_so() {
    let names = NameServer::start(|_, _| None).await;
    let server = server_asking(&names).await;
    let webhook = server.webhook_with("acme", "http://nobody.test/hook", json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let attempt = webhook.expect_attempt().await;
    assert_eq!(attempt["error"], "not dialled: the host name does not exist", "{attempt}");
}

#[tokio::test]
async fn a_name_with_a_dead_address_is_delivered_to_at_its_next_one() {
    let names = NameServer::always(&[PRIVATE, PUBLIC]).await;
    let server = Server::with().env("WEBHOOK_DNS", &names.setting()).start().await;
    // Nobody listens beside it.
    let mut receiver = Receiver::start().await;
    server.webhook("acme", &named(&receiver)).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
}

/// Every dial goes through the proxy here, so its list is all that was dialled.
#[tokio::test]
async fn a_redirect_to_the_metadata_address_is_a_failed_attempt_and_nothing_more_is_dialled() {
    let mut receiver = Receiver::start().await;
    let proxy = EgressProxy::start(receiver.address, "200 ok").await;
    let server = Server::with().env("WEBHOOK_PROXY", &proxy.setting("")).start().await;
    receiver.answer_by(|_| Answer::status(302).header("location", "http://169.254.169.254/latest/meta-data"));
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    receiver.expect_delivery().await;
    let attempt = webhook.expect_attempt().await;
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("failed"), &json!(302)), "{attempt}");
    webhook.expect_failed().await;
    assert_eq!((proxy.asked().len(), receiver.all().len()), (1, 1));
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_vetted_address_with_its_credentials_and_the_receiver_sees_the_name() {
    let names = NameServer::always(&[FAR]).await;
    let mut receiver = Receiver::start().await;
    let proxy = EgressProxy::start(receiver.address, "200 ok").await;
    let server = Server::with()
        .without("WEBHOOK_ALLOW_NETS")
        .env("WEBHOOK_DNS", &names.setting())
        .env("WEBHOOK_PROXY", &proxy.setting("kim:pass%20word@"))
        .start()
        .await;
    server.webhook("acme", "http://hooks.test/hook").await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(receiver.expect_delivery().await.header("host"), "hooks.test");
    let asked = proxy.asked().remove(0);
    assert!(asked.starts_with("connect 93.184.216.34:80 http/1.1\r\n"), "{asked}");
    assert!(!asked.contains("hooks.test"), "the proxy was told a name: {asked}");
    let credentials = STANDARD.encode("kim:pass word").to_lowercase();
    assert!(asked.contains(&format!("proxy-authorization: basic {credentials}")), "{asked}");
}

#[tokio::test]
async fn a_private_name_is_refused_although_the_proxy_would_reach_it() {
    let names = NameServer::always(&[PRIVATE]).await;
    let receiver = Receiver::start().await;
    let proxy = EgressProxy::start(receiver.address, "200 ok").await;
    let server = Server::with()
        .without("WEBHOOK_ALLOW_NETS")
        .env("WEBHOOK_DNS", &names.setting())
        .env("WEBHOOK_PROXY", &proxy.setting(""))
        .start()
        .await;
    let webhook = server.webhook_with("acme", &named(&receiver), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    expect_refused(&webhook.expect_attempt().await);
    assert_eq!((proxy.asked().len(), receiver.connections()), (0, 0));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_in_the_attempt() {
    let receiver = Receiver::start().await;
    let proxy = EgressProxy::start(receiver.address, "407 who are you").await;
    let server = Server::with().env("WEBHOOK_PROXY", &proxy.setting("")).start().await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let attempt = webhook.expect_attempt().await;
    assert_eq!(attempt["error"], "the egress proxy (WEBHOOK_PROXY) answered CONNECT with 407", "{attempt}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn deliveries_share_kept_connections() {
    let server = Server::start().await;
    let mut receiver = Receiver::start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    for n in 1..=20 {
        server.publish("acme", json!({"type": "call.ended"})).await;
        receiver.expect_delivery().await;
        webhook.expect_count("delivered", n).await;
    }
    let connections = receiver.connections();
    assert!(connections <= 3, "20 deliveries one after the other took {connections} connections");
}

#[tokio::test]
async fn http_2_is_spoken_where_tls_offers_it_through_a_proxy_too() {
    let authority = Authority::new();
    let mut receiver = Receiver::start_tls(&authority).await;
    let proxy = EgressProxy::start(receiver.address, "200 ok").await;
    let mut server = Server::with().env("SSL_CERT_FILE", &authority.file()).start().await;
    let webhook = server.webhook("acme", &receiver.url()).await;
    let events: Value = (0..50).map(|n| json!({"type": "call.ended", "data": n})).collect();
    server.service("acme").post("/api/v1/events", events.clone()).await.expect(202);
    let received = receiver.expect_deliveries(50).await;
    assert!(received.iter().all(|request| request.version == Version::HTTP_2), "{:?}", received[0].version);
    crate::support::verify::by_the_official_library(&received[0], &webhook.signing_secret).await;
    webhook.expect_count("delivered", 50).await;

    assert_eq!(server.terminate().await, Some(0));
    server.restart_with(|builder| builder.set("WEBHOOK_PROXY", &proxy.setting(""))).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    assert_eq!(receiver.expect_delivery().await.version, Version::HTTP_2);
    assert!(proxy.asked()[0].starts_with(&format!("connect {} ", receiver.address)), "{:?}", proxy.asked());
}

/// A receiver that closes a connection in good order, or has no room for one more request, promises that it did nothing.
#[tokio::test]
async fn a_request_that_the_receiver_has_not_begun_with_is_sent_again_at_once() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", &["h2"]);
    let peer = Peer::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.expect("the server trusts the test's authority");
            let mut connection = h2::server::handshake(stream).await.expect("the server speaks HTTP/2");
            let mut refused = false;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                match std::mem::replace(&mut refused, true) {
                    false => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    true => drop(respond.send_response(axum::http::Response::new(()), true)),
                }
            }
        }
    });
    let peer = peer.await;
    let server = Server::with().env("SSL_CERT_FILE", &authority.file()).start().await;
    let webhook = server.webhook_with("acme", &peer.url().replace("http:", "https:"), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let attempt = webhook.expect_attempt().await;
    assert_eq!((&attempt["state"], &attempt["response_status"]), (&json!("succeeded"), &json!(200)), "{attempt}");
}

#[tokio::test]
async fn a_certificate_that_the_machine_does_not_trust_is_a_failed_attempt_that_says_so() {
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let server = Server::with().env("SSL_CERT_FILE", &trusted.file()).start().await;
    let receiver = Receiver::start_tls(&stranger).await;
    let webhook = server.webhook_with("acme", &receiver.url(), json!({"retry_count": 0})).await;
    server.publish("acme", json!({"type": "call.ended"})).await;
    let attempt = webhook.expect_attempt().await;
    assert_eq!(attempt["error"], "no TLS connection: invalid peer certificate: UnknownIssuer", "{attempt}");
    assert!(receiver.all().is_empty());
}
