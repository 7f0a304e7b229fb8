//! Signatures, checked twice: by arithmetic here, and by the official `standardwebhooks` package for Python.

use super::Received;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// HMAC-SHA256 of `message`.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Lower-case hexadecimal SHA-256, as plugins are listed with.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// The key inside `whsec_…`, or the bytes of any other secret.
pub fn key_of(secret: &str) -> Vec<u8> {
    match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).expect("what follows whsec_ is base64"),
        None => secret.as_bytes().to_vec(),
    }
}

/// Fails the test unless the official library accepts this delivery under this `whsec_…` secret.
pub async fn by_the_official_library(delivery: &Received, signing_secret: &str) {
    let headers: serde_json::Map<_, _> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), json!(delivery.header(name))))
        .into_iter()
        .collect();
    let input = json!({"secret": signing_secret, "body": delivery.text(), "headers": headers}).to_string();
    let output = tokio::task::spawn_blocking(move || verify_in_python(&input)).await.expect("python was waited for");
    if let Err(words) = output {
        panic!("the standardwebhooks library refuses the delivery: {words}");
    }
}

const SCRIPT: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
x = json.load(sys.stdin)
Webhook(x['secret']).verify(x['body'], x['headers'])
";

fn verify_in_python(input: &str) -> Result<(), String> {
    let python = python();
    assert!(python.exists(), "{} is not there: run scripts/setup", python.display());
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    child.stdin.take().expect("stdin is a pipe").write_all(input.as_bytes()).expect("python reads its input");
    let output = child.wait_with_output().expect("python ends");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn python() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("JACKFIELD_PYTHON").unwrap_or_else(|| {
        let cache = set("JACKFIELD_CACHE").unwrap_or_else(|| {
            let home = set("HOME").expect("HOME is set");
            set("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("jackfield")
        });
        cache.join("venv/bin/python")
    })
}
