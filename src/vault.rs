//! Seals secrets for the database and opens them again: XChaCha20-Poly1305 under the keys of ENCRYPTION_KEY. It does not
//! know what the secrets are, nor which table they lie in.
//!
//! A stored text is one of three:
//!
//! | form | is |
//! |---|---|
//! | `enc:v1:<key id>:<base64 of nonce and ciphertext>` | sealed |
//! | `enc:none:<text>` | plain, of a text that begins with `enc:` itself and would be taken for something else |
//! | anything else | plain, as other programs write it |
//!
//! What is sealed is bound to its place (`bound_to`): a value that somebody copies into another tenant's row does not open
//! there. Deliberately absent: hiding a secret's length, and keys that are not in memory.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

const SEALED: &str = "enc:v1:";
const PLAIN: &str = "enc:none:";
/// Kept for us, so that a later form does not meet an old plain text.
const RESERVED: &str = "enc:";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// The keys. The first one seals, all of them open; without any, texts are stored plain.
#[derive(Clone, Default)]
pub struct Vault {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    /// Tells which key sealed a text: the first 8 hexadecimal digits of the key's SHA-256.
    id: String,
    cipher: XChaCha20Poly1305,
}

/// Why a stored text cannot be opened. It repeats nothing of the text but a key id, which is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is sealed with the key {key_id}, which ENCRYPTION_KEY does not hold: add that key to the list")]
    UnknownKey { key_id: String },
    #[error("it does not open with its key {key_id}: it was changed, or belongs to another row")]
    Damaged { key_id: String },
    #[error(
        "it begins with {SEALED} and is nothing that was sealed: cut short, or plain and to be written with {PLAIN} before it"
    )]
    Malformed,
}

impl Vault {
    /// Takes the keys, the current one first.
    pub fn new(keys: Vec<[u8; KEY_BYTES]>) -> Self {
        Self { keys: keys.iter().map(Key::new).collect() }
    }

    /// Whether there is no key, so that texts are stored plain.
    pub fn is_plain(&self) -> bool {
        self.keys.is_empty()
    }

    /// The form to store. `bound_to` names the place, e.g. `webhook-secret:acme`; the same is needed to open it.
    pub fn seal(&self, plain: &str, bound_to: &str) -> String {
        match self.keys.first() {
            // 192 random bits do not meet again, however much is sealed with one key.
            Some(key) => key.seal(plain, bound_to, &rand::random()),
            None if plain.starts_with(RESERVED) => format!("{PLAIN}{plain}"),
            None => plain.to_owned(),
        }
    }

    /// The text that was stored.
    ///
    /// # Errors
    /// `UnknownKey` when it was sealed with a key that is not here, `Damaged` when it was changed or bound to another place,
    /// `Malformed` for the remains of a sealed text: taken for a plain one, they would be used as a secret.
    pub fn open(&self, stored: &str, bound_to: &str) -> Result<String, OpenError> {
        if let Some(plain) = stored.strip_prefix(PLAIN) {
            return Ok(plain.to_owned());
        }
        let Some(sealed) = stored.strip_prefix(SEALED) else { return Ok(stored.to_owned()) };
        let (key_id, encoded) = sealed.split_once(':').filter(|(id, _)| is_key_id(id)).ok_or(OpenError::Malformed)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| OpenError::Malformed)?;
        if bytes.len() < NONCE_BYTES + TAG_BYTES {
            return Err(OpenError::Malformed);
        }
        let mut named = self.keys.iter().filter(|key| key.id == key_id).peekable();
        if named.peek().is_none() {
            return Err(OpenError::UnknownKey { key_id: key_id.to_owned() });
        }
        // Two keys may share their 32 bits of id.
        let opened = named.find_map(|key| key.open(&bytes, bound_to));
        opened.ok_or_else(|| OpenError::Damaged { key_id: key_id.to_owned() })
    }

    /// Whether it was sealed with some key.
    pub fn is_sealed(&self, stored: &str) -> bool {
        stored.starts_with(SEALED)
    }

    /// Whether it is stored as `seal` would store it now: under the first key, or plain where there is none. What is not is
    /// to be opened and sealed again.
    pub fn is_current(&self, stored: &str) -> bool {
        match self.keys.first() {
            Some(key) => {
                let rest = stored.strip_prefix(SEALED).and_then(|sealed| sealed.strip_prefix(&*key.id));
                rest.is_some_and(|rest| rest.starts_with(':'))
            }
            None => !stored.starts_with(SEALED),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self { id: hex::encode(&Sha256::digest(key)[..4]), cipher: XChaCha20Poly1305::new(key.into()) }
    }

    fn seal(&self, plain: &str, bound_to: &str, nonce: &[u8; NONCE_BYTES]) -> String {
        let payload = Payload { msg: plain.as_bytes(), aad: bound_to.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(*nonce), payload).expect("a text is shorter than 256 GiB");
        let mut text = format!("{SEALED}{}:", self.id);
        STANDARD.encode_string([nonce.as_slice(), &sealed].concat(), &mut text);
        text
    }

    fn open(&self, bytes: &[u8], bound_to: &str) -> Option<String> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: bound_to.as_bytes() };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(plain).ok()
    }
}

fn is_key_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];
    const PLACE: &str = "webhook-secret:acme";

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else() {
        let vault = Vault::new(vec![NEW]);
        let sealed = vault.seal("hunter2", PLACE);
        assert!(sealed.starts_with("enc:v1:75877bb4:") && !sealed.contains("hunter2"), "{sealed}");
        assert_eq!(vault.open(&sealed, PLACE).as_deref(), Ok("hunter2"));
        let elsewhere = vault.open(&sealed, "webhook-secret:globex");
        assert_eq!(elsewhere, Err(OpenError::Damaged { key_id: "75877bb4".to_owned() }));
        assert_ne!(sealed, vault.seal("hunter2", PLACE), "equal secrets do not look equal");
    }

    /// Draft-irtf-cfrg-xchacha-03, A.3.1: the cipher is the one that others have, too.
    #[test]
    fn the_cipher_is_that_of_the_published_vector() {
        let key: [u8; 32] = std::array::from_fn(|n| 0x80 + n as u8);
        let nonce: [u8; 24] = std::array::from_fn(|n| 0x40 + n as u8);
        let aad = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
        let payload = Payload { msg: plain.as_slice(), aad: &aad };
        let sealed = Key::new(&key).cipher.encrypt(&XNonce::from(nonce), payload).unwrap();
        let tag = &sealed[sealed.len() - TAG_BYTES..];
        assert_eq!(hex::encode(tag), "c0875924c1c7987947deafd8780acf49");
        assert!(hex::encode(&sealed).starts_with("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"));
    }

    #[test]
    fn older_keys_open_and_only_the_first_seals() {
        let sealed = Vault::new(vec![OLD]).seal("hunter2", PLACE);
        let rotated = Vault::new(vec![NEW, OLD]);
        assert_eq!(rotated.open(&sealed, PLACE).as_deref(), Ok("hunter2"));
        assert!(!rotated.is_current(&sealed));
        let again = rotated.seal("hunter2", PLACE);
        assert!(rotated.is_current(&again) && Vault::new(vec![NEW]).open(&again, PLACE).is_ok());
    }

    #[test]
    fn a_lost_key_is_named_with_the_setting() {
        let sealed = Vault::new(vec![OLD]).seal("hunter2", PLACE);
        for vault in [Vault::default(), Vault::new(vec![NEW])] {
            let error = vault.open(&sealed, PLACE).unwrap_err();
            assert_eq!(error, OpenError::UnknownKey { key_id: "72cd6e84".to_owned() });
            assert!(error.to_string().contains("ENCRYPTION_KEY") && !vault.is_current(&sealed), "{error}");
        }
    }

    #[test]
    fn untagged_values_are_plain_and_to_be_sealed_where_there_is_a_key() {
        for (keys, current) in [(vec![], true), (vec![NEW], false)] {
            let vault = Vault::new(keys);
            for stored in ["hunter2", "", "enc:", "enc:v2:x", "ENC:V1:x"] {
                assert_eq!(vault.open(stored, PLACE).as_deref(), Ok(stored));
                assert_eq!(vault.is_current(stored), current, "{stored}");
            }
        }
    }

    #[test]
    fn a_secret_that_looks_sealed_is_a_secret_like_any_other() {
        let sealed = Vault::new(vec![OLD]).seal("inner", PLACE);
        for vault in [Vault::default(), Vault::new(vec![OLD])] {
            for plain in ["enc:v1:", "enc:none:x", "enc:", &sealed] {
                let stored = vault.seal(plain, PLACE);
                assert_eq!(vault.open(&stored, PLACE).as_deref(), Ok(plain));
                assert!(vault.is_current(&stored), "{stored}");
            }
        }
    }

    #[test]
    fn the_remains_of_a_sealed_text_are_no_secret() {
        let vault = Vault::new(vec![OLD]);
        let sealed = vault.seal("hunter2", PLACE);
        for stored in ["enc:v1:", "enc:v1:my-own-secret", "enc:v1:72cd6e84:", "enc:v1:72CD6E84:AAAA", &sealed[..40]] {
            let error = vault.open(stored, PLACE).unwrap_err();
            assert_eq!(error, OpenError::Malformed);
            assert!(!error.to_string().contains("my-own-secret"));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Vault::new(vec![OLD, NEW])), r#"["72cd6e84", "75877bb4"]"#);
    }

    proptest! {
        #[test]
        fn any_text_reads_back_under_any_keys(
            plain in any::<String>(), tagged in any::<bool>(), place in any::<String>(), keys: Vec<[u8; 32]>,
        ) {
            let plain = if tagged { format!("enc:v1:{plain}") } else { plain };
            let vault = Vault::new(keys);
            let stored = vault.seal(&plain, &place);
            prop_assert!(vault.is_current(&stored));
            prop_assert_eq!(vault.open(&stored, &place), Ok(plain));
        }

        #[test]
        fn a_changed_character_never_opens_as_something_else(plain in any::<String>(), at: prop::sample::Index, to: char) {
            let vault = Vault::new(vec![NEW]);
            let sealed = vault.seal(&plain, PLACE);
            let mut changed: Vec<char> = sealed.chars().collect();
            let at = SEALED.len() + at.index(changed.len() - SEALED.len());
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            prop_assert!(changed == sealed || vault.open(&changed, PLACE).is_err());
        }

        #[test]
        fn no_stored_text_panics(stored in "(enc:(v1|none):)?[0-9a-f]{0,9}:?[A-Za-z0-9+/=]{0,80}", keys: Vec<[u8; 32]>) {
            let vault = Vault::new(keys);
            let _ = (vault.open(&stored, PLACE), vault.is_current(&stored));
        }
    }
}
