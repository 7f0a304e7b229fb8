//! Public chat sessions: made here for a visitor, joined at `/ws/public/{sessionId}`.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{Api, Problem, auth::ServiceUser, body::Text};
use crate::{
    broadcaster::To,
    event::{SessionId, payload::ChatSessionCreated},
};

/// Makes a session with an id that cannot be guessed, and tells the tenant of it.
pub async fn create(
    ServiceUser(who): ServiceUser,
    State(api): State<Api>,
    body: Text,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let mut visitor = None;
    if !body.is_empty() {
        let mut fields = body.fields()?;
        visitor = fields.optional("visitor", "a string");
        fields.finish()?;
    }
    let session = SessionId::generate();
    let created = ChatSessionCreated { visitor, ..ChatSessionCreated::default() };
    let published = api.broadcaster.chat_session_created(&who.tenant, To::session(session.clone()), created).await?;
    let answer = json!({
        "session_id": session.as_str(),
        "event_id": published.id.as_str(),
        "path": format!("/ws/public/{session}"),
    });
    Ok((StatusCode::CREATED, Json(answer)))
}
