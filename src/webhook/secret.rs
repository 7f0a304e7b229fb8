//! The keys a webhook signs with and the texts they are shown as: `whsec_…` for HMAC, `whsk_…` and `whpk_…` for Ed25519.
//! Storing and encrypting them is the store's work, signing with them is `signature`'s.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};

/// The longest secret, in bytes of its text.
pub const MAX_SECRET_BYTES: usize = 512;

const SECRET_PREFIX: &str = "whsec_";
const PRIVATE_KEY_PREFIX: &str = "whsk_";
const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// A webhook's HMAC secret, as its owner wrote it, with the key it stands for.
#[derive(Clone)]
pub struct WebhookSecret {
    text: String,
    key: Vec<u8>,
}

/// Why a text is no secret. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("secret must have 1 to {MAX_SECRET_BYTES} bytes, not {0}")]
    Length(usize),
    #[error(
        "what follows whsec_ must be a key in standard base64 with padding; \
         write it so, drop the prefix, or leave the secret out to have one made"
    )]
    NotBase64,
}

impl WebhookSecret {
    /// Makes a new secret: `whsec_` and 32 random bytes.
    pub fn generate() -> Self {
        let key = rand::random::<[u8; 32]>().to_vec();
        Self { text: prefixed(SECRET_PREFIX, &key), key }
    }

    /// Takes a secret of the owner's choice, 1 to 512 bytes of any text.
    ///
    /// The key is the base64-decoded part after `whsec_`, or the UTF-8 bytes of any other text, spaces included.
    ///
    /// # Errors
    /// `Length` outside the limits; `NotBase64` when it starts with `whsec_` and no key follows: the official libraries
    /// could not read it, so every signature would fail at the receiver.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if text.is_empty() || text.len() > MAX_SECRET_BYTES {
            return Err(SecretError::Length(text.len()));
        }
        let key = match text.strip_prefix(SECRET_PREFIX) {
            None => text.as_bytes().to_vec(),
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?,
        };
        if key.is_empty() {
            return Err(SecretError::NotBase64);
        }
        Ok(Self { text: text.to_owned(), key })
    }

    /// The secret as its owner wrote it: for the store, and for the answer of the create.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The same key in the form the official libraries take, `whsec_` and base64.
    pub fn signing_secret(&self) -> String {
        prefixed(SECRET_PREFIX, &self.key)
    }

    /// The HMAC key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(redacted)")
    }
}

/// A webhook's Ed25519 key pair.
#[derive(Clone)]
pub struct Ed25519Key(SigningKey);

/// Why a text is no Ed25519 key. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key: whsk_ and the base64 of its 32-byte seed, or of seed and public key")]
pub struct Ed25519KeyError;

impl Ed25519Key {
    /// Makes a new key pair.
    pub fn generate() -> Self {
        Self::from_seed(&rand::random())
    }

    /// The key pair that grows from `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads `whsk_…`, the form that `private_key` writes; a bare 32-byte seed is read too.
    ///
    /// # Errors
    /// `Ed25519KeyError` when it is anything else, or when the public key in it is another's.
    pub fn parse(text: &str) -> Result<Self, Ed25519KeyError> {
        let encoded = text.strip_prefix(PRIVATE_KEY_PREFIX).ok_or(Ed25519KeyError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| Ed25519KeyError)?;
        if let Ok(seed) = <&[u8; 32]>::try_from(bytes.as_slice()) {
            return Ok(Self::from_seed(seed));
        }
        let pair = <&[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| Ed25519KeyError)?;
        SigningKey::from_keypair_bytes(pair).map(Self).map_err(|_| Ed25519KeyError)
    }

    /// `whsk_…` with seed and public key, as Standard Webhooks writes it: for the store alone.
    pub fn private_key(&self) -> String {
        prefixed(PRIVATE_KEY_PREFIX, &self.0.to_keypair_bytes())
    }

    /// `whpk_…`: what receivers verify with, for anyone to see.
    pub fn public_key(&self) -> String {
        prefixed(PUBLIC_KEY_PREFIX, self.0.verifying_key().as_bytes())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Key({})", self.public_key())
    }
}

fn prefixed(prefix: &str, bytes: &[u8]) -> String {
    let mut text = prefix.to_owned();
    STANDARD.encode_string(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    #[test]
    fn a_generated_secret_is_new_and_reads_back() {
        let secret = WebhookSecret::generate();
        let read = WebhookSecret::parse(secret.expose()).expect("what was generated");
        assert_eq!((read.key(), read.key().len()), (secret.key(), 32));
        assert_eq!(secret.signing_secret(), secret.expose());
        assert_ne!(secret.expose(), WebhookSecret::generate().expose());
    }

    #[test]
    fn a_secret_of_ones_own_is_its_bytes_and_has_a_signing_form() {
        let secret = WebhookSecret::parse("pässword ").expect("any text");
        assert_eq!(secret.key(), "pässword ".as_bytes());
        assert_eq!(secret.signing_secret(), "whsec_cMOkc3N3b3JkIA==");
        let signing = WebhookSecret::parse(&secret.signing_secret()).expect("the signing form");
        assert_eq!(signing.key(), secret.key());
    }

    #[test]
    fn what_no_receiver_could_use_is_refused() {
        let refusal = |text: &str| WebhookSecret::parse(text).expect_err("refused");
        assert_eq!(refusal(""), SecretError::Length(0));
        assert_eq!(refusal(&"x".repeat(513)), SecretError::Length(513));
        WebhookSecret::parse(&"x".repeat(512)).expect("the longest");
        for text in ["whsec_", "whsec_not base64", "whsec_YWJj_-Y=", "whsec_YWI", "whsec_YWI=\n"] {
            assert_eq!(refusal(text), SecretError::NotBase64, "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = WebhookSecret::parse("hunter2").expect("a secret");
        assert_eq!(format!("{secret:?}"), "WebhookSecret(redacted)");
        let key = Ed25519Key::parse(PRIVATE).expect("a key");
        assert_eq!(format!("{key:?}"), format!("Ed25519Key({PUBLIC})"));
    }

    #[test]
    fn an_ed25519_key_reads_and_writes_the_standard_form() {
        let key = Ed25519Key::parse(PRIVATE).expect("the vector");
        assert_eq!((key.private_key().as_str(), key.public_key().as_str()), (PRIVATE, PUBLIC));
        let from_seed = Ed25519Key::parse("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=").expect("its seed");
        assert_eq!(from_seed.public_key(), PUBLIC);
        assert_ne!(Ed25519Key::generate().public_key(), Ed25519Key::generate().public_key());
    }

    #[test]
    fn a_damaged_ed25519_key_is_refused() {
        let wrong_half = PRIVATE.replace("VKIDij2HK", "VKIDij2HL");
        for text in ["", "whsk_", "whsk_YWJj", PUBLIC, wrong_half.as_str()] {
            assert_eq!(Ed25519Key::parse(text).expect_err(text), Ed25519KeyError);
        }
    }
}
