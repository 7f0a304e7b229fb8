//! What a client offers in its handshake, and what a refusal looks like as a close code.

use axum::http::{StatusCode, header, request::Parts};

use super::seat::Wish;
use crate::{
    config::SocketConfig,
    event::Patterns,
    http::Problem,
    hub::{Close, Position},
};

const OUR_PROTOCOL: &str = "jackfield.v1";
/// When a client that found no room is to come back.
const OVERLOADED_AFTER_MS: u64 = 1000;
const BEARER_PREFIX: &str = "bearer.";

/// The query and headers of a handshake.
#[derive(Debug, Default)]
pub struct Offer {
    /// From the subprotocols, or else from the query.
    pub token: Option<String>,
    /// `jackfield.v1` was among the subprotocols.
    pub speaks_ours: bool,
    pub wish: Wish,
    /// What is wrong with it, found before the token is looked at.
    fault: Option<Problem>,
}

impl Offer {
    pub fn read(parts: &Parts, config: &SocketConfig) -> Self {
        let mut offer = Self::default();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "token" => offer.token = Some(value.into_owned()),
                "events" => match Patterns::parse(value.split(',').map(str::trim).filter(|text| !text.is_empty())) {
                    Ok(patterns) => offer.wish.events = (!patterns.is_empty()).then_some(patterns),
                    Err(message) => offer.fault = Some(Problem::bad_request("bad_pattern", message)),
                },
                "since" => {
                    offer.wish.since = Position::parse(&value);
                    if offer.wish.since.is_none() {
                        let message = "`since` must be the `<epoch>:<offset>` of a frame";
                        offer.fault = Some(Problem::bad_request("bad_position", message));
                    }
                }
                _ => {}
            }
        }
        for protocol in parts
            .headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
        {
            if protocol == OUR_PROTOCOL {
                offer.speaks_ours = true;
            } else if let Some(token) = protocol.strip_prefix(BEARER_PREFIX) {
                offer.token = Some(token.to_owned());
            }
        }
        let origin = parts.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        // Clients that are no browser send no origin.
        let is_foreign = |origin: &str| !config.allowed_origins.iter().any(|allowed| allowed == origin);
        if !config.allowed_origins.is_empty() && origin.is_some_and(is_foreign) {
            offer.fault = Some(Problem::forbidden("pages of this origin may not connect (WS_ALLOWED_ORIGINS)"));
        }
        offer
    }

    /// # Errors
    /// 400 for a query that makes no sense, 403 for a page from elsewhere.
    pub fn check(&self) -> Result<(), Problem> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Our protocol only is echoed, never the one that carries the token.
    pub fn protocol(&self) -> Option<&'static str> {
        self.speaks_ours.then_some(OUR_PROTOCOL)
    }
}

/// The close code that says what the status would have said.
pub fn close_of(problem: &Problem) -> Close {
    let (code, reason) = match problem.status() {
        StatusCode::UNAUTHORIZED if problem.code == "token_expired" => (4419, "token_expired"),
        StatusCode::UNAUTHORIZED if problem.code == "revoked" => (4423, "revoked"),
        StatusCode::UNAUTHORIZED => (4401, "invalid_token"),
        StatusCode::FORBIDDEN => (4403, "forbidden"),
        StatusCode::NOT_FOUND => (4404, "no_such_session"),
        StatusCode::TOO_MANY_REQUESTS => (4429, "rate_limited"),
        StatusCode::SERVICE_UNAVAILABLE => (1013, problem.code),
        _ => (4400, "bad_request"),
    };
    Close { code, reason, after_ms: (code == 1013).then_some(OVERLOADED_AFTER_MS) }
}
