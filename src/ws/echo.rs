//! Sends back what it hears, by the transport of the sockets: for a conformance suite, where WS_ECHO is set.

use std::future::pending;

use axum::{
    extract::{Request, State, ws::Message},
    response::Response,
};

use super::{
    Sockets,
    transport::{End, Said, Transport},
};
use crate::http::Problem;

pub async fn echo(State(sockets): State<Sockets>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let upgrade = super::upgrade(&mut parts).await?;
    Ok(sockets.upgraded(upgrade, usize::MAX, |_, transport| run(transport)))
}

async fn run(mut transport: Transport) {
    let end = loop {
        if let Err(end) = repeat(&mut transport).await {
            break end;
        }
    };
    transport.end(end).await;
}

async fn repeat(transport: &mut Transport) -> Result<(), End> {
    let message = match transport.hear().await? {
        Said::Text(text) => Message::Text(text),
        Said::Binary(bytes) => Message::Binary(bytes),
        Said::Ping | Said::Pong => return Ok(()),
    };
    transport.send_all(std::iter::once(message), pending()).await
}
