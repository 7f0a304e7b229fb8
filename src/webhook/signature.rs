//! Signs a delivery: Standard Webhooks (`v1` HMAC-SHA256, `v1a` Ed25519) and the body HMAC of `x-webhook-signature`.
//! Plain functions of values; the clock, the headers that say nothing about the signature and the sending are elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::{Ed25519Key, WebhookSecret};

/// An HMAC key with its padded blocks already hashed: a signature then costs a copy of that state, not two more blocks.
#[derive(Debug, Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Prepares `key`, of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes any key length"))
    }

    /// `v1,<base64>` over `id.timestamp.body`; `timestamp_s` is seconds since epoch, `id` has no dot.
    pub fn sign_v1(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let prefix = signed_prefix(id, timestamp_s);
        let digest = self.0.clone().chain_update(prefix).chain_update(body).finalize().into_bytes();
        labelled("v1,", &digest)
    }

    /// `sha256=<hex>` over the body alone.
    pub fn body_hmac_hex(&self, body: &[u8]) -> String {
        let digest = self.0.clone().chain_update(body).finalize().into_bytes();
        format!("sha256={}", hex::encode(digest))
    }
}

/// `v1a,<base64>` over `id.timestamp.body`; `timestamp_s` is seconds since epoch, `id` has no dot.
pub fn sign_v1a(key: &Ed25519Key, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    // Ed25519 reads its message twice, so it needs it in one piece.
    let message = [signed_prefix(id, timestamp_s).as_bytes(), body].concat();
    labelled("v1a,", &key.sign(&message))
}

/// Everything one webhook signs with, made once and used for every attempt.
#[derive(Debug, Clone)]
pub struct Signer {
    current: SigningKey,
    /// What was in force before, the most recently replaced first.
    previous: Vec<Previous>,
    ed25519: Option<Ed25519Key>,
}

/// A replaced secret, which goes on signing so that receivers change theirs when it suits them.
#[derive(Debug, Clone)]
struct Previous {
    key: SigningKey,
    /// Milliseconds since epoch: it signs before this moment, not from it on.
    until_ms: i64,
}

/// The headers a signature consists of, by name in `pairs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeaders {
    pub webhook_id: String,
    /// Seconds since epoch, of this attempt.
    pub webhook_timestamp: String,
    /// Every live signature, separated by one space.
    pub webhook_signature: String,
    pub x_webhook_signature: String,
    /// The body HMAC of the previous secret, during an overlap.
    pub x_webhook_signature_previous: Option<String>,
}

impl Signer {
    /// Signs with `secret` alone.
    pub fn new(secret: &WebhookSecret) -> Self {
        Self { current: SigningKey::new(secret.key()), previous: Vec::new(), ed25519: None }
    }

    /// Adds a replaced secret, which signs too until `until_ms` (milliseconds since epoch).
    ///
    /// Called once for each, the most recently replaced first: `x-webhook-signature-previous` has room for one, and a receiver
    /// that has not changed its secret yet most likely has that one.
    pub fn with_previous(mut self, secret: &WebhookSecret, until_ms: i64) -> Self {
        self.previous.push(Previous { key: SigningKey::new(secret.key()), until_ms });
        self
    }

    /// Adds `v1a`, beside `v1`: the official libraries verify `v1` only.
    pub fn with_ed25519(self, key: Ed25519Key) -> Self {
        Self { ed25519: Some(key), ..self }
    }

    /// The headers of an attempt at `timestamp_s` (seconds since epoch) to send `body`.
    ///
    /// `id` is the delivery's, without dots; `body` is what goes over the wire, byte for byte.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> SignedHeaders {
        let now_ms = timestamp_s.saturating_mul(1000);
        let live = || self.previous.iter().filter(|previous| now_ms < previous.until_ms).map(|previous| &previous.key);
        let mut webhook_signature = self.current.sign_v1(id, timestamp_s, body);
        for key in live() {
            webhook_signature.push(' ');
            webhook_signature += &key.sign_v1(id, timestamp_s, body);
        }
        if let Some(key) = &self.ed25519 {
            webhook_signature.push(' ');
            webhook_signature += &sign_v1a(key, id, timestamp_s, body);
        }
        SignedHeaders {
            webhook_id: id.to_owned(),
            webhook_timestamp: timestamp_s.to_string(),
            webhook_signature,
            x_webhook_signature: self.current.body_hmac_hex(body),
            x_webhook_signature_previous: live().next().map(|key| key.body_hmac_hex(body)),
        }
    }
}

impl SignedHeaders {
    /// Header names and values, in the order they are sent.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let previous = self.x_webhook_signature_previous.as_deref();
        [
            ("webhook-id", self.webhook_id.as_str()),
            ("webhook-timestamp", &self.webhook_timestamp),
            ("webhook-signature", &self.webhook_signature),
            ("x-webhook-signature", &self.x_webhook_signature),
        ]
        .into_iter()
        .chain(previous.map(|signature| ("x-webhook-signature-previous", signature)))
    }
}

fn signed_prefix(id: &str, timestamp_s: i64) -> String {
    format!("{id}.{timestamp_s}.")
}

fn labelled(version: &str, signature: &[u8]) -> String {
    let mut text = version.to_owned();
    STANDARD.encode_string(signature, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;
    use sha2::Digest as _;

    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT_S: i64 = 1614265330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const V1A: &str = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).expect("a secret")
    }

    fn vector_secret() -> WebhookSecret {
        secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    fn vector_ed25519() -> Ed25519Key {
        Ed25519Key::parse(
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        )
        .expect("a key")
    }

    /// RFC 2104 written out, so that the signer is not checked against itself.
    fn hmac_by_hand(key: &[u8], message: &[u8]) -> [u8; 32] {
        let mut block = [0; 64];
        match key.len() > block.len() {
            true => block[..32].copy_from_slice(&Sha256::digest(key)),
            false => block[..key.len()].copy_from_slice(key),
        }
        let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
        Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
    }

    #[test]
    fn the_vectors_of_the_official_libraries_hold() {
        let first = secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            SigningKey::new(first.key()).sign_v1("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1649367553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
        assert_eq!(SigningKey::new(vector_secret().key()).sign_v1(ID, AT_S, BODY), V1);
        assert_eq!(sign_v1a(&vector_ed25519(), ID, AT_S, BODY), V1A);
    }

    #[test]
    fn the_body_hmac_is_hex_over_the_body_alone() {
        // RFC 4231, test case 2.
        assert_eq!(
            SigningKey::new(b"Jefe").body_hmac_hex(b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn both_keys_sign_in_one_header() {
        let signed = Signer::new(&vector_secret()).with_ed25519(vector_ed25519()).sign(ID, AT_S, BODY);
        let of_body = SigningKey::new(vector_secret().key()).body_hmac_hex(BODY);
        let signatures = format!("{V1} {V1A}");
        let expected = [
            ("webhook-id", ID),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", &signatures),
            ("x-webhook-signature", &of_body),
        ];
        assert_eq!(signed.pairs().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_replaced_secret_signs_beside_the_new_one_until_its_end() {
        let (newer, older) = (secret("newer"), secret("older"));
        let until_ms = AT_S * 1000;
        let signer = Signer::new(&vector_secret())
            .with_previous(&newer, until_ms + 1)
            .with_previous(&older, until_ms + 2000)
            .with_ed25519(vector_ed25519());
        let v1 = |secret: &WebhookSecret, at_s| SigningKey::new(secret.key()).sign_v1(ID, at_s, BODY);
        let of_body = |secret: &WebhookSecret| Some(SigningKey::new(secret.key()).body_hmac_hex(BODY));

        let both = signer.sign(ID, AT_S, BODY);
        assert_eq!(both.webhook_signature, format!("{V1} {} {} {V1A}", v1(&newer, AT_S), v1(&older, AT_S)));
        assert_eq!(both.x_webhook_signature_previous, of_body(&newer), "the one most recently replaced");
        let last = both.pairs().last();
        assert_eq!(last, Some(("x-webhook-signature-previous", of_body(&newer).as_deref().unwrap_or_default())));

        let one = signer.sign(ID, AT_S + 1, BODY);
        let second = one.webhook_signature.split(' ').nth(1).map(str::to_owned);
        assert_eq!((second, one.x_webhook_signature_previous), (Some(v1(&older, AT_S + 1)), of_body(&older)));

        let none = signer.sign(ID, AT_S + 2, BODY);
        assert_eq!(none.webhook_signature.split(' ').count(), 2, "the current one and v1a: {}", none.webhook_signature);
        assert_eq!((none.pairs().count(), none.x_webhook_signature_previous), (4, None), "an end is exclusive");
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", Signer::new(&secret("one")));
        assert_eq!(shown, format!("{:?}", Signer::new(&secret("two"))));
    }

    proptest::proptest! {
        #[test]
        fn hmac_signatures_are_those_of_rfc_2104(
            key in vec(any::<u8>(), 0..200), id in "[A-Za-z0-9_-]{1,40}", at_s: i64, body in vec(any::<u8>(), 0..400),
        ) {
            let message = [format!("{id}.{at_s}.").as_bytes(), &body].concat();
            let signing = SigningKey::new(&key);
            let v1 = format!("v1,{}", STANDARD.encode(hmac_by_hand(&key, &message)));
            proptest::prop_assert_eq!(signing.sign_v1(&id, at_s, &body), v1);
            let over_body = format!("sha256={}", hex::encode(hmac_by_hand(&key, &body)));
            proptest::prop_assert_eq!(signing.body_hmac_hex(&body), over_body);
        }

        /// What any receiver sees: whichever live secret it holds verifies, and no other text stands in the header.
        #[test]
        fn each_live_secret_verifies_and_no_ended_one(
            ends in vec(-3_i64..4, 0..5), with_ed25519: bool, at_s in -9_000_000_000_i64..9_000_000_000,
        ) {
            let mut signer = Signer::new(&secret("current"));
            for (n, end) in ends.iter().enumerate() {
                signer = signer.with_previous(&secret(&format!("previous {n}")), (at_s + end) * 1000);
            }
            if with_ed25519 {
                signer = signer.with_ed25519(vector_ed25519());
            }
            let signed = signer.sign(ID, at_s, BODY);
            let live = ends.iter().enumerate().filter(|(_, end)| **end > 0).map(|(n, _)| format!("previous {n}"));
            let keys: Vec<SigningKey> = std::iter::once("current".to_owned())
                .chain(live)
                .map(|text| SigningKey::new(secret(&text).key()))
                .collect();
            let mut expected: Vec<String> = keys.iter().map(|key| key.sign_v1(ID, at_s, BODY)).collect();
            expected.extend(with_ed25519.then(|| sign_v1a(&vector_ed25519(), ID, at_s, BODY)));
            proptest::prop_assert_eq!(signed.webhook_signature.split(' ').collect::<Vec<_>>(), expected);
            let previous = keys.get(1).map(|key| key.body_hmac_hex(BODY));
            proptest::prop_assert_eq!(signed.x_webhook_signature_previous, previous);
        }

        #[test]
        fn ed25519_signatures_verify_with_the_published_key(
            seed: [u8; 32], id in "[A-Za-z0-9_-]{1,40}", at_s: i64, body in vec(any::<u8>(), 0..400),
        ) {
            let key = Ed25519Key::from_seed(&seed);
            let published = STANDARD.decode(&key.public_key()["whpk_".len()..]).expect("base64");
            let verifying = ed25519_dalek::VerifyingKey::try_from(published.as_slice()).expect("a public key");
            let signature = STANDARD.decode(&sign_v1a(&key, &id, at_s, &body)["v1a,".len()..]).expect("base64");
            let signature = ed25519_dalek::Signature::from_slice(&signature).expect("64 bytes");
            let mut message = [format!("{id}.{at_s}.").as_bytes(), &body].concat();
            proptest::prop_assert!(verifying.verify_strict(&message, &signature).is_ok());
            message[0] ^= 1;
            proptest::prop_assert!(verifying.verify_strict(&message, &signature).is_err());
        }
    }
}
