//! Reading a JWKS document: which keys it holds, and why some of them cannot be used.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Below it a modulus can be factored; above it each token would cost too much to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// One coordinate of P-256, or a key of Ed25519.
const POINT_BYTES: usize = 32;

/// What verifies tokens of one `kid`, by this algorithm alone.
pub struct Key {
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// The keys by `kid`.
pub type Keys = HashMap<String, Arc<Key>>;

/// What a document was found to hold.
#[derive(Default)]
pub struct Document {
    pub keys: Keys,
    /// Why others of its keys are left out, a line each.
    pub skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The members of RFC 7517 and 7518 that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// # Errors
/// When it is no JWKS document, or none of its keys can be used.
pub fn parse(text: &[u8]) -> Result<Document, String> {
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is no JWKS document: {error}"))?;
    let mut document = Document::default();
    for (n, value) in set.keys.into_iter().enumerate() {
        let place = format!("key {}", n + 1);
        let jwk: Jwk = match serde_json::from_value(value) {
            Ok(jwk) => jwk,
            Err(error) => {
                document.skipped.push(format!("{place} is no JWK: {error}"));
                continue;
            }
        };
        // Key servers list what they encrypt with, too: nothing is wrong with it.
        if jwk.usage.as_deref() == Some("enc") {
            continue;
        }
        match jwk.key() {
            Ok((kid, key)) if !document.keys.contains_key(&kid) => {
                document.keys.insert(kid, Arc::new(key));
            }
            Ok((kid, _)) => document.skipped.push(format!("{place} has the kid {kid:?} of another one")),
            Err(why) => document.skipped.push(format!("{place} {why}")),
        }
    }
    if document.keys.is_empty() {
        let why = document.skipped.first().map_or("it holds none", |why| why.as_str());
        return Err(format!("it holds no key that verifies tokens: {why}"));
    }
    Ok(document)
}

impl Jwk {
    fn key(self) -> Result<(String, Key), String> {
        let Some(kid) = self.kid.filter(|kid| !kid.is_empty()) else {
            return Err("has no kid: tokens could not name it".to_owned());
        };
        let named = |why: &str| format!("({kid:?}) {why}");
        if self.usage.is_some_and(|usage| usage != "sig")
            || self.key_ops.is_some_and(|ops| !ops.contains(&"verify".into()))
        {
            return Err(named("is not for verifying"));
        }
        if self.d.is_some() {
            return Err(named("comes with its private part, which is to be published nowhere: make new keys"));
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (algorithm, decoding) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, rsa(&text(&self.n), &text(&self.e))),
            ("EC", Some("P-256")) => (Algorithm::ES256, ec(&text(&self.x), &text(&self.y))),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, ed(&text(&self.x))),
            (kty, crv) => {
                let crv = crv.map(|crv| format!(" with {crv:?}")).unwrap_or_default();
                return Err(named(&format!("is {kty:?}{crv}: RSA, EC with P-256 and OKP with Ed25519 are taken")));
            }
        };
        if let Some(alg) = &self.alg
            && *alg != format!("{algorithm:?}")
        {
            return Err(named(&format!("is for {alg:?}: RS256, ES256 and EdDSA are taken, each with its kind of key")));
        }
        let decoding = decoding.map_err(|why| named(&why))?;
        // Off the curve, or otherwise none.
        jsonwebtoken::crypto::verify("", &[], &decoding, algorithm).map_err(|_| named("is no key of its kind"))?;
        Ok((kid, Key { algorithm, decoding }))
    }
}

fn rsa(n: &str, e: &str) -> Result<DecodingKey, String> {
    let (n, e) = (bytes(n)?, bytes(e)?);
    let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("has {bits} bits: RSA keys of {} to {} are taken", RSA_BITS.start(), RSA_BITS.end()));
    }
    let exponent = e.iter().try_fold(0_u32, |sum, byte| sum.checked_mul(256)?.checked_add(u32::from(*byte)));
    if n.last().is_none_or(|last| last % 2 == 0) || exponent.is_none_or(|e| e < 3 || e % 2 == 0) {
        return Err("is no key of its kind".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(n, &e))
}

fn ec(x: &str, y: &str) -> Result<DecodingKey, String> {
    point(x)?;
    point(y)?;
    DecodingKey::from_ec_components(x, y).map_err(|error| error.to_string())
}

fn ed(x: &str) -> Result<DecodingKey, String> {
    point(x)?;
    DecodingKey::from_ed_components(x).map_err(|error| error.to_string())
}

fn point(text: &str) -> Result<(), String> {
    match bytes(text)?.len() {
        POINT_BYTES => Ok(()),
        len => Err(format!("has a coordinate of {len} bytes: {POINT_BYTES} are needed")),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "has a part that is no base64url".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A good modulus, as far as can be seen.
    fn modulus(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xc1; bytes])
    }

    fn rsa_key(kid: &str) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": modulus(256), "e": "AQAB"})
    }

    /// The examples of RFC 7515 A.3 and RFC 8037 A.2.
    fn ec_key() -> Value {
        json!({"kty": "EC", "kid": "ec", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    fn ed_key() -> Value {
        json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    fn read(keys: &[Value]) -> Result<Document, String> {
        parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn each_kind_of_key_has_its_one_algorithm() {
        let enc = with(rsa_key("enc"), "use", json!("enc"));
        let document = read(&[rsa_key("rsa"), ec_key(), with(ed_key(), "alg", json!("EdDSA")), enc]).unwrap();
        let algorithm = |kid: &str| document.keys[kid].algorithm;
        assert_eq!(
            [algorithm("rsa"), algorithm("ec"), algorithm("ed")],
            [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
        );
        assert_eq!((document.keys.len(), document.skipped.len()), (3, 0), "{:?}", document.skipped);
    }

    #[test]
    fn a_key_that_cannot_be_used_is_left_out_with_the_reason() {
        for (key, reason) in [
            (json!("text"), "no JWK"),
            (json!({"kid": "a"}), "no JWK"),
            (json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}), "is \"oct\""),
            (with(rsa_key("a"), "kid", Value::Null), "no kid"),
            (with(rsa_key("a"), "alg", json!("HS256")), "is for \"HS256\""),
            (with(rsa_key("a"), "alg", json!("PS256")), "is for \"PS256\""),
            (with(rsa_key("a"), "alg", json!("ES256")), "is for \"ES256\""),
            (with(rsa_key("a"), "n", json!(modulus(128))), "has 1024 bits"),
            (with(rsa_key("a"), "n", json!(modulus(1024))), "has 8192 bits"),
            (with(rsa_key("a"), "e", json!("AQ")), "no key of its kind"),
            (with(rsa_key("a"), "n", json!("?")), "no base64url"),
            (with(rsa_key("a"), "key_ops", json!(["encrypt"])), "not for verifying"),
            (with(rsa_key("a"), "d", json!("AQAB")), "private part"),
            (with(ec_key(), "crv", json!("P-384")), "with \"P-384\""),
            (with(ec_key(), "x", json!("AQAB")), "3 bytes"),
            (with(ec_key(), "y", ec_key()["x"].clone()), "no key of its kind"),
            (with(ed_key(), "x", json!("")), "0 bytes"),
            (rsa_key("good"), "of another one"),
        ] {
            let document = read(&[rsa_key("good"), key.clone()]).unwrap();
            assert_eq!((document.keys.len(), document.skipped.len()), (1, 1), "{key}");
            assert!(document.skipped[0].contains(reason), "{key}: {:?}", document.skipped);
        }
    }

    #[test]
    fn a_document_without_a_usable_key_is_none() {
        for text in
            ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"a","k":"AA"}]}"#]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
