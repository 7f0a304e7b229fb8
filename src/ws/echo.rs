//! Sends back what it hears, by the transport of the sockets: for a conformance suite, where WS_ECHO is set.

use std::future::pending;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    Sockets,
    transport::{End, Transport},
    wire::{Opcode, Said, Upgrade, encode},
};
use crate::http::Problem;

pub async fn echo(State(sockets): State<Sockets>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let upgrade = Upgrade::read(&mut parts)?;
    Ok(sockets.upgraded(upgrade, None, usize::MAX, run))
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
        Said::Text(text) => encode(Opcode::Text, text.as_bytes()),
        Said::Binary(bytes) => encode(Opcode::Binary, &bytes),
        Said::Ping(_) | Said::Pong(_) | Said::Close(_) => return Ok(()),
    };
    transport.send_raw(message, pending()).await
}
