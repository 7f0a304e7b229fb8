//! Which headers may be set by a plugin or a tenant.

use super::{Failure, call::Emitted};

const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 4096;
const MAX_NAME_BYTES: usize = 256;

/// Refuses headers that are not a plugin's to set, and gives the content type its default.
pub(super) fn checked(mut output: Emitted) -> Result<Emitted, Failure> {
    let refused = |what: String| Failure::new("bad-header", what);
    if output.content_type.is_empty() {
        output.content_type = "application/json".to_owned();
    }
    if output.content_type.len() > MAX_HEADER_BYTES || http::HeaderValue::from_str(&output.content_type).is_err() {
        return Err(refused(format!("the content type must be at most {MAX_HEADER_BYTES} visible characters")));
    }
    if output.headers.len() > MAX_HEADERS {
        return Err(refused(format!("{} headers are too many: at most {MAX_HEADERS}", output.headers.len())));
    }
    for (name, value) in &output.headers {
        check_header(name, value).map_err(refused)?;
    }
    Ok(output)
}

/// Whether a header may be set by a plugin or a tenant: not the ones that frame the message, say who sends, or sign.
///
/// # Errors
/// Names the header and the rule.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    const RESERVED: [&str; 17] = [
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    ];
    let lower = name.to_ascii_lowercase();
    if name.len() > MAX_NAME_BYTES || http::HeaderName::try_from(name).is_err() {
        let shown: String = name.chars().take(64).collect();
        return Err(format!("{shown:?} is no header name"));
    }
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") || lower.starts_with("x-webhook-") {
        return Err(format!("the header {lower} is reserved"));
    }
    if value.len() > MAX_HEADER_BYTES || http::HeaderValue::from_str(value).is_err() {
        return Err(format!("the value of {lower} must be at most {MAX_HEADER_BYTES} visible characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_that_frame_or_sign_a_delivery_are_reserved() {
        for name in [
            "Webhook-Id",
            "webhook-timestamp",
            "webhook-signature",
            "X-Webhook-Signature",
            "x-webhook-signature-previous",
            "x-webhook-event",
            "Content-Length",
            "user-agent",
        ] {
            assert!(check_header(name, "x").is_err(), "{name}");
        }
        assert_eq!(check_header("X-Team", "billing"), Ok(()));
        assert!(check_header("x-team", "a\r\nwebhook-id: 1").is_err());
        assert!(check_header("x team", "x").is_err());
    }
}
