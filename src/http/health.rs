//! Whether the process lives, and whether it is ready for work.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::Api;
use crate::broadcaster::Standing;

/// What the composition root says of the server as a whole.
#[derive(Default)]
pub struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    pub fn ready(&self) {
        self.0.store(READY, Ordering::Relaxed);
    }

    pub fn drain(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }
}

/// Whoever asks has little patience itself: a database that does not answer in this time is none to work with now.
const PATIENCE: Duration = Duration::from_secs(1);

pub async fn healthz() -> Json<serde_json::Value> {
    Json(json!({"status": "ok"}))
}

pub async fn readyz(State(api): State<Api>) -> Response {
    let server = match api.readiness.0.load(Ordering::Relaxed) {
        STARTING => "starting",
        READY => "ok",
        _ => "draining",
    };
    let answers = tokio::time::timeout(PATIENCE, api.store.ping()).await.is_ok_and(|answer| answer.is_ok());
    let database = if answers { "ok" } else { "unavailable" };
    let (mode, redis) = match api.relay.standing().await {
        Standing::Single => ("single-server", "off"),
        Standing::Shared => ("multi-server", "ok"),
        Standing::Alone => ("single-server", "unavailable"),
        // Whoever is connected here would see nothing of what the other nodes publish.
        Standing::Deaf => ("multi-server", "deaf"),
    };
    let ready = server == "ok" && database == "ok" && redis != "deaf";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "parts": {"server": server, "database": database, "redis": redis},
        "mode": mode,
    });
    (status, Json(body)).into_response()
}
