//! Tokens of a key server: which keys verify what, and how they change while the server runs.

use crate::support::keys::{TokenKey, document, publish};
use crate::support::tls::Authority;
use crate::support::{Answer, Receiver, Server, Token, eventually};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

/// A server that knows keys alone, and no secret.
async fn server_with_keys_of(url: &str) -> Server {
    Server::with().without("JWT_SECRET").env("JWT_JWKS_URL", url).start().await
}

async fn server_with_keys(keys: &[&TokenKey]) -> (Server, Receiver) {
    let source = Receiver::start().await;
    publish(keys, &source);
    (server_with_keys_of(&source.url_of("/jwks.json")).await, source)
}

/// The status that a token gets, and the code of its problem.
async fn answer(server: &Server, token: &str) -> (u16, String) {
    let reply = server.client(token).get("/ws/stats").await;
    (reply.status, reply.body["code"].as_str().unwrap_or_default().to_owned())
}

async fn expect_taken(server: &Server, token: &str) {
    assert_eq!(answer(server, token).await, (200, String::new()));
}

async fn expect_refused(server: &Server, token: &str, what: &str) {
    assert_eq!(answer(server, token).await, (401, "invalid_token".to_owned()), "a token {what}");
}

async fn becomes(server: &Server, token: &str, status: u16, what: &str) {
    eventually(what, || async { (answer(server, token).await.0 == status).then_some(()) }).await;
}

fn acme() -> Token {
    Token::of("acme").user("kim")
}

// --- what a key verifies -------------------------------------------------------------------------------------------

#[tokio::test]
async fn tokens_of_all_three_algorithms_are_taken_over_http_and_on_sockets() {
    let keys = [TokenKey::rs256("one"), TokenKey::es256("two"), TokenKey::eddsa("three")];
    let (server, _source) = server_with_keys(&keys.each_ref()).await;
    for key in &keys {
        let token = key.sign(acme());
        expect_taken(&server, &token).await;
        let mut socket = server.dial("/ws").subprotocol(&token).open().await;
        assert_eq!(socket.expect_welcome().await["user_id"], "kim", "{:?}", key.algorithm);
    }
}

#[tokio::test]
async fn a_secret_beside_keys_verifies_its_own_tokens_and_no_others() {
    let (source, key) = (Receiver::start().await, TokenKey::es256("one"));
    publish(&[&key], &source);
    let server = Server::with().env("JWT_JWKS_URL", &source.url()).start().await;
    expect_taken(&server, &acme().sign()).await;
    expect_taken(&server, &key.sign(acme())).await;
    expect_refused(&server, &acme().sign_with_another_key(), "of another secret").await;
    expect_refused(&server, &TokenKey::es256("one").sign(acme()), "of another pair with this kid").await;
}

#[tokio::test]
async fn a_public_key_is_never_a_secret() {
    let keys = [TokenKey::rs256("one"), TokenKey::es256("two"), TokenKey::eddsa("three")];
    let source = Receiver::start().await;
    publish(&keys.each_ref(), &source);
    let beside = Server::with().env("JWT_JWKS_URL", &source.url()).start().await;
    for server in [server_with_keys_of(&source.url()).await, beside] {
        for key in &keys {
            for form in &key.public_forms {
                let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
                let forged = acme().sign_as(&header, &EncodingKey::from_secret(form));
                expect_refused(&server, &forged, "signed with a public key").await;
            }
        }
    }
}

#[tokio::test]
async fn a_token_does_not_choose_how_it_is_verified() {
    let (rsa, ec) = (TokenKey::rs256("rsa"), TokenKey::es256("ec"));
    let (server, _source) = server_with_keys(&[&rsa, &ec]).await;
    let header = |algorithm, kid: &str| Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    let by = |header: Header, key: &TokenKey| acme().sign_as(&header, &key.encoding);
    expect_refused(&server, &by(header(Algorithm::RS512, "rsa"), &rsa), "of RS512 by an RS256 key").await;
    expect_refused(&server, &by(header(Algorithm::PS256, "rsa"), &rsa), "of PS256 by an RS256 key").await;
    expect_refused(&server, &by(header(Algorithm::RS256, "ec"), &rsa), "that names another's key").await;
    expect_refused(&server, &by(header(Algorithm::ES256, "rsa"), &ec), "that names a key of another kind").await;
    expect_refused(&server, &by(header(Algorithm::ES256, "nobody"), &ec), "that names an unknown key").await;
    expect_refused(&server, &by(Header::new(Algorithm::ES256), &ec), "that names no key").await;
    expect_refused(&server, &acme().unsigned(), "of alg none").await;
    expect_refused(&server, &acme().sign(), "of HS256 where there is no secret").await;
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..ec.header() };
    expect_refused(&server, &by(critical, &ec), "with an extension that must be understood").await;
    let brought = Header { jwk: serde_json::from_value(rsa.jwk.clone()).ok(), ..header(Algorithm::RS256, "ec") };
    expect_refused(&server, &by(brought, &rsa), "that brings its own key").await;
    expect_taken(&server, &ec.sign(acme())).await;
}

#[tokio::test]
async fn the_clock_may_differ_by_five_seconds_and_no_more() {
    let key = TokenKey::eddsa("one");
    let (server, _source) = server_with_keys(&[&key]).await;
    expect_taken(&server, &key.sign(acme().expires_in(-3))).await;
    assert_eq!(answer(&server, &key.sign(acme().expires_in(-7))).await, (401, "token_expired".to_owned()));
    expect_refused(&server, &key.sign(acme().without("exp")), "without exp").await;
}

#[tokio::test]
async fn issuer_and_audience_bind_tokens_of_keys_too() {
    let (source, key) = (Receiver::start().await, TokenKey::eddsa("one"));
    publish(&[&key], &source);
    let server = Server::with().without("JWT_SECRET").env("JWT_JWKS_URL", &source.url());
    let server = server.env("JWT_ISSUER", "https://idp.example").env("JWT_AUDIENCE", "jackfield").start().await;
    let of = |issuer: &str, audience: &str| key.sign(acme().claim("iss", issuer.into()).claim("aud", audience.into()));
    expect_taken(&server, &of("https://idp.example", "jackfield")).await;
    expect_refused(&server, &of("https://idp.example", "billing"), "for another audience").await;
    expect_refused(&server, &of("https://evil.example", "jackfield"), "of another issuer").await;
    expect_refused(&server, &key.sign(acme()), "of nobody for nobody").await;
}

// --- where keys come from ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_and_the_source_is_asked_at_most_once_in_10_s() {
    let (old, new) = (TokenKey::es256("old"), TokenKey::es256("new"));
    let (server, source) = server_with_keys(&[&old]).await;
    publish(&[&new], &source);
    let started = std::time::Instant::now();
    becomes(&server, &new.sign(acme()), 200, "the new key to be taken").await;
    expect_refused(&server, &old.sign(acme()), "of a key that was withdrawn").await;
    let (asked, rounds) = (source.count(), 1 + started.elapsed().as_secs().div_ceil(10));
    assert!(asked as u64 <= rounds, "{asked} requests in {:?}", started.elapsed());
    // What is asked for now finds keys that are fresh: nobody waits.
    for n in 0..20 {
        expect_refused(&server, &TokenKey::es256(&format!("stranger-{n}")).sign(acme()), "of a stranger").await;
    }
    assert_eq!(source.count(), asked);
}

#[tokio::test]
async fn a_source_that_is_down_at_the_start_is_a_warning_and_is_asked_again() {
    let (source, key) = (Receiver::start().await, TokenKey::rs256("one"));
    source.answer_always(500);
    let server = server_with_keys_of(&source.url_of("/jwks.json?key=hunter2")).await;
    let log = server.log().join("\n");
    assert!(log.contains("keys for tokens cannot be read from http://127.0.0.1") && log.contains("500"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    // It may be a good token: nobody can say.
    assert_eq!(answer(&server, &key.sign(acme())).await, (503, "keys_unavailable".to_owned()));
    assert_eq!(server.dial("/ws").subprotocol(&key.sign(acme())).open().await.expect_close().await, 1013);
    publish(&[&key], &source);
    becomes(&server, &key.sign(acme()), 200, "the keys to be read").await;
}

#[tokio::test]
async fn a_source_that_hangs_holds_the_start_for_a_moment_only() {
    let source = Receiver::start().await;
    source.hang();
    let server = server_with_keys_of(&source.url()).await;
    let log = server.log().join("\n");
    assert!(log.contains("no whole answer within 5 s"), "{log}");
}

#[tokio::test]
async fn https_is_trusted_by_the_systems_certificates() {
    let (authority, key) = (Authority::new(), TokenKey::eddsa("one"));
    let source = Receiver::start_tls(&authority).await;
    publish(&[&key], &source);
    let server = Server::with().env("JWT_JWKS_URL", &source.url()).env("SSL_CERT_FILE", &authority.file());
    expect_taken(&server.start().await, &key.sign(acme())).await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_a_broken_one_leaves_the_last_keys() {
    let (old, new) = (TokenKey::es256("old"), TokenKey::eddsa("new"));
    let builder = Server::with().without("JWT_SECRET").env("JWT_JWKS_FILE", "jwks.json");
    let file = builder.home().join("jwks.json");
    let write = |text: &str| std::fs::write(&file, text).expect("a folder takes files");
    write(&document(&[&old]));
    let server = builder.start().await;
    expect_taken(&server, &old.sign(acme())).await;

    write("{\"keys\":[");
    let warned = || async { server.log().join("\n").contains("cannot be read from jwks.json").then_some(()) };
    eventually("a warning", warned).await;
    expect_taken(&server, &old.sign(acme())).await;

    write(&document(&[&new]));
    becomes(&server, &new.sign(acme()), 200, "the file to be read again").await;
    expect_refused(&server, &old.sign(acme()), "of a key that was withdrawn").await;
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_left_out_with_a_warning_and_the_others_serve() {
    let (mut bad, good) = (TokenKey::es256("bad"), TokenKey::es256("good"));
    bad.jwk["alg"] = "HS256".into();
    let (server, _source) = server_with_keys(&[&bad, &good]).await;
    expect_taken(&server, &good.sign(acme())).await;
    expect_refused(&server, &bad.sign(acme()), "of a key that is left out").await;
    let log = server.log().join("\n");
    assert!(log.contains("a key for tokens is left out: key 1 (\"bad\")"), "{log}");
}

#[tokio::test]
async fn a_document_of_more_than_1_mib_and_a_redirect_are_no_keys() {
    let key = TokenKey::es256("one");
    let source = Receiver::start().await;
    let mut large = document(&[&key]).into_bytes();
    large.resize((1 << 20) + 1, b' ');
    source.answer_by(move |_| Answer::status(200).body(large.clone()));
    let server = server_with_keys_of(&source.url()).await;
    assert_eq!(answer(&server, &key.sign(acme())).await.0, 503);

    let elsewhere = Receiver::start().await;
    publish(&[&key], &elsewhere);
    let url = elsewhere.url();
    source.answer_by(move |_| Answer::status(302).header("location", &url));
    let server = server_with_keys_of(&source.url()).await;
    assert_eq!(answer(&server, &key.sign(acme())).await.0, 503);
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn two_sources_and_neither_are_exit_64() {
    let both = Server::with().env("JWT_JWKS_URL", "https://idp.example/jwks").env("JWT_JWKS_FILE", "jwks.json");
    for (server, named) in [(both, "JWT_JWKS_FILE"), (Server::with().without("JWT_SECRET"), "JWT_SECRET")] {
        let ended = server.run().await;
        assert_eq!(ended.code, Some(64), "{}", ended.stderr);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
}
