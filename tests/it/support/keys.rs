//! Key pairs of a key server under test, and the document that it publishes of them.

use super::receiver::{Answer, Receiver};
use super::tokens::Token;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};

/// Made for these tests and good for nothing else: making an RSA key takes seconds.
const RSA: &[u8] = include_bytes!("rsa_for_tests.pem");

/// One key pair with its name.
pub struct TokenKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub encoding: EncodingKey,
    /// The public part, as it is published.
    pub jwk: Value,
    /// The public part in every form that somebody might take for a secret.
    pub public_forms: Vec<Vec<u8>>,
}

impl TokenKey {
    /// Always of the same pair.
    pub fn rs256(kid: &str) -> TokenKey {
        let encoding = EncodingKey::from_rsa_pem(RSA).expect("the file holds an RSA key");
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256).expect("it has a public part");
        TokenKey::of(kid, Algorithm::RS256, encoding, serde_json::to_value(jwk).expect("a JWK is JSON"))
    }

    pub fn es256(kid: &str) -> TokenKey {
        let pair = pair(&PKCS_ECDSA_P256_SHA256);
        let (x, y) = pair.public_key_raw()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": part(x), "y": part(y)});
        let encoding = EncodingKey::from_ec_der(&pair.serialize_der());
        TokenKey::of(kid, Algorithm::ES256, encoding, jwk).and_of(&pair)
    }

    pub fn eddsa(kid: &str) -> TokenKey {
        let pair = pair(&PKCS_ED25519);
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": part(pair.public_key_raw()), "use": "sig"});
        let encoding = EncodingKey::from_ed_der(&pair.serialize_der());
        TokenKey::of(kid, Algorithm::EdDSA, encoding, jwk).and_of(&pair)
    }

    fn of(kid: &str, algorithm: Algorithm, encoding: EncodingKey, mut jwk: Value) -> TokenKey {
        jwk["kid"] = kid.into();
        let parts = ["n", "x"].iter().filter_map(|part| jwk[part].as_str());
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("a part is base64url");
        let mut public_forms: Vec<_> = parts.clone().map(decoded).collect();
        public_forms.extend(parts.map(|text| text.as_bytes().to_vec()));
        public_forms.push(jwk.to_string().into_bytes());
        TokenKey { kid: kid.to_owned(), algorithm, encoding, jwk, public_forms }
    }

    fn and_of(mut self, pair: &KeyPair) -> TokenKey {
        self.public_forms.push(pair.public_key_pem().into_bytes());
        self.public_forms.push(pair.subject_public_key_info());
        self.public_forms.push(pair.public_key_raw().to_vec());
        self
    }

    pub fn header(&self) -> Header {
        Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) }
    }

    pub fn sign(&self, token: Token) -> String {
        token.sign_as(&self.header(), &self.encoding)
    }
}

fn pair(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key can be made")
}

fn part(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a key server answers.
pub fn document(keys: &[&TokenKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()}).to_string()
}

/// From now on the receiver is a key server with these keys.
pub fn publish(keys: &[&TokenKey], at: &Receiver) {
    let document = document(keys);
    at.answer_by(move |_| Answer::status(200).body(document.clone().into_bytes()));
}
