//! Signatures, checked three times: by arithmetic here, and by the official `standardwebhooks` packages for Python and Node.

use super::{Received, tools};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use std::io::Write;
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

/// Fails the test unless the official Python library accepts this delivery under this `whsec_…` secret.
pub async fn by_the_official_library(delivery: &Received, signing_secret: &str) {
    let mut command = Command::new(tools::python());
    command.args(["-c", PYTHON_SCRIPT]);
    verify(command, delivery, signing_secret).await;
}

/// The same by the official npm package.
pub async fn by_the_official_npm_package(delivery: &Received, signing_secret: &str) {
    let mut command = Command::new("node");
    command.args(["-e", NODE_SCRIPT]).current_dir(tools::node_packages());
    verify(command, delivery, signing_secret).await;
}

const PYTHON_SCRIPT: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
x = json.load(sys.stdin)
Webhook(x['secret']).verify(x['body'], x['headers'])
";

const NODE_SCRIPT: &str = "
const { Webhook } = require('standardwebhooks');
const x = JSON.parse(require('fs').readFileSync(0, 'utf8'));
new Webhook(x.secret).verify(x.body, x.headers);
";

/// Runs a verifier that reads secret, body and headers as JSON and fails when it does not believe them.
async fn verify(command: Command, delivery: &Received, signing_secret: &str) {
    let headers: serde_json::Map<_, _> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), json!(delivery.header(name))))
        .into_iter()
        .collect();
    let input = json!({"secret": signing_secret, "body": delivery.text(), "headers": headers}).to_string();
    let output = tokio::task::spawn_blocking(move || run(command, &input)).await.expect("the verifier was waited for");
    if let Err(words) = output {
        panic!("the standardwebhooks library refuses the delivery: {words}");
    }
}

fn run(mut command: Command, input: &str) -> Result<(), String> {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|e| panic!("{command:?} does not start ({e}): run scripts/setup"));
    child.stdin.take().expect("stdin is a pipe").write_all(input.as_bytes()).expect("the verifier reads its input");
    let output = child.wait_with_output().expect("the verifier ends");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
