//! JSON Web Tokens, good and bad.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

/// The key that every server under test is started with.
pub const SECRET: &str = "a-secret-for-tests-of-more-than-32-bytes";

/// Claims in the making; [`Token::sign`] ends it.
#[derive(Clone)]
pub struct Token {
    claims: Map<String, Value>,
}

impl Token {
    /// An admin of `tenant`, valid for ten minutes.
    pub fn of(tenant: &str) -> Token {
        let claims = json!({"tenant_id": tenant, "sub": "someone", "role": "admin", "iat": now(), "exp": now() + 600});
        let Value::Object(claims) = claims else { unreachable!("an object was written") };
        Token { claims }
    }

    pub fn user(self, user: &str) -> Token {
        self.claim("sub", json!(user))
    }

    pub fn role(self, role: &str) -> Token {
        self.claim("role", json!(role))
    }

    /// Seconds from now; negative is in the past.
    pub fn expires_in(self, seconds: i64) -> Token {
        self.claim("exp", json!(now() + seconds))
    }

    /// Seconds from now; negative is in the past.
    pub fn issued_in(self, seconds: i64) -> Token {
        self.claim("iat", json!(now() + seconds))
    }

    /// The patterns a socket may see.
    pub fn events(self, patterns: &[&str]) -> Token {
        self.claim("events", json!(patterns))
    }

    pub fn claim(mut self, name: &str, value: Value) -> Token {
        self.claims.insert(name.to_owned(), value);
        self
    }

    pub fn without(mut self, name: &str) -> Token {
        self.claims.remove(name);
        self
    }

    /// Signed as the server wants it.
    pub fn sign(self) -> String {
        self.sign_with(Algorithm::HS256, SECRET)
    }

    /// Signed by a stranger.
    pub fn sign_with_another_key(self) -> String {
        self.sign_with(Algorithm::HS256, "another-secret-of-more-than-32-bytes-too")
    }

    /// The right key and an algorithm that was not agreed.
    pub fn sign_with_hs512(self) -> String {
        self.sign_with(Algorithm::HS512, SECRET)
    }

    /// `alg: none`, without a signature.
    pub fn unsigned(self) -> String {
        format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&Value::Object(self.claims)))
    }

    /// A good HS256 signature under a header that claims RS256.
    pub fn labelled_rs256(self) -> String {
        let head = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&Value::Object(self.claims)));
        let signature = super::verify::hmac_sha256(SECRET.as_bytes(), head.as_bytes());
        format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Under any header, by any key.
    pub fn sign_as(self, header: &Header, key: &EncodingKey) -> String {
        jsonwebtoken::encode(header, &self.claims, key).expect("claims are plain JSON")
    }

    fn sign_with(self, algorithm: Algorithm, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        self.sign_as(&Header::new(algorithm), &key)
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Seconds since the epoch, UTC.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs() as i64
}
