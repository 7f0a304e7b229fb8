//! Sockets: the handshake of members (a token) and of visitors (a public session), and the session that follows. Streams of
//! server-sent events are the same without a way back.
//!
//! A refused handshake is an HTTP status. A browser cannot read one, so where `jackfield.v1` was offered the handshake is
//! taken and closed with the code that says the same.

mod client;
mod control;
mod echo;
mod expiry;
mod feed;
mod handshake;
mod letters;
mod limits;
mod replay;
mod seat;
mod session;
mod stream;
mod transport;
mod wire;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Path, Request, State},
    http::request::Parts,
    response::Response,
    routing::get,
};
use tokio_util::task::TaskTracker;

use crate::{
    config::SocketConfig,
    event::SessionId,
    http::{Api, Problem, bearer},
    store::SessionState,
};
use handshake::Offer;
use limits::{AddressLimiter, TenantPaces};
use seat::Who;
use session::Session;
use transport::{End, Transport};
use wire::{Shards, Upgrade};

/// What the handshakes reach. Cheap to clone.
#[derive(Clone)]
pub struct Sockets(Arc<SocketParts>);

struct SocketParts {
    api: Api,
    config: SocketConfig,
    visitors: AddressLimiter,
    tenants: TenantPaces,
    /// Every session, so that a stop can wait for their ends.
    sessions: TaskTracker,
    shards: Shards,
}

impl Sockets {
    pub fn new(api: Api, config: SocketConfig) -> Self {
        let (visitors, tenants) = Default::default();
        let parts =
            SocketParts { api, config, visitors, tenants, sessions: TaskTracker::new(), shards: Shards::start() };
        Self(Arc::new(parts))
    }

    pub fn router(&self) -> Router {
        let routes = || Router::new().route("/ws", get(member)).route("/ws/public/{session}", get(visitor));
        let v1 = routes().route("/events/stream", get(stream::stream));
        let mut router = routes().nest("/api/v1", v1);
        if self.0.config.echo {
            router = router.route("/ws/echo", get(echo::echo));
        }
        router.with_state(self.clone())
    }

    /// Waits until every session has ended.
    pub async fn ended(&self) {
        self.0.sessions.close();
        self.0.sessions.wait().await;
    }
}

async fn member(State(sockets): State<Sockets>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let offer = Offer::read(&parts, &sockets.0.config);
    let upgrade = Upgrade::read(&mut parts)?;
    match sockets.identify(&parts, &offer).await.and_then(|who| sockets.has_room(&who).map(|()| who)) {
        Ok(who) => Ok(sockets.accept(upgrade, offer, who, usize::MAX)),
        Err(problem) => sockets.refuse(upgrade, &offer, problem),
    }
}

/// Messages of a visitor, bytes.
const MAX_VISITOR_MESSAGE: usize = 4 * 1024;

async fn visitor(
    State(sockets): State<Sockets>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Path(session): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let offer = Offer::read(&parts, &sockets.0.config);
    let upgrade = Upgrade::read(&mut parts)?;
    match sockets.session_of(&offer, address, &session).await {
        Ok(who) => Ok(sockets.accept(upgrade, offer, who, MAX_VISITOR_MESSAGE)),
        Err(problem) => sockets.refuse(upgrade, &offer, problem),
    }
}

impl Sockets {
    /// # Errors
    /// What is wrong with the request, or 401.
    async fn identify(&self, parts: &Parts, offer: &Offer) -> Result<Who, Problem> {
        offer.check()?;
        let missing =
            "send a token: `Authorization: Bearer …`, the subprotocols `jackfield.v1, bearer.…`, or `?token=`";
        let token = bearer(parts).or(offer.token.as_deref());
        let token = token.ok_or_else(|| Problem::unauthorized("missing_token", missing))?;
        let identity = self.0.api.tokens.verify(token).await?;
        self.0.api.check_revoked(&identity)?;
        Ok(Who::Member(identity))
    }

    async fn session_of(&self, offer: &Offer, address: SocketAddr, session: &str) -> Result<Who, Problem> {
        offer.check()?;
        self.0.visitors.check(address.ip())?;
        let unknown = || Problem::not_found("there is no such session, or it has ended");
        let session = SessionId::parse(session).map_err(|_| unknown())?;
        match self.0.api.store.session(&session).await? {
            SessionState::Live(tenant) => {
                let who = Who::Visitor { tenant, session };
                self.has_room(&who).map(|()| who)
            }
            SessionState::Unknown | SessionState::Ended(_) => Err(unknown()),
        }
    }

    /// Told here, where a client can read it; kept by the hub, where two handshakes cannot pass at once.
    fn has_room(&self, who: &Who) -> Result<(), Problem> {
        if self.0.api.hub.has_room(who.tenant(), &who.viewer(), self.0.config.max_connections_per_tenant) {
            return Ok(());
        }
        Err(Problem::unavailable("too_many_connections", "the tenant has as many connections as it may have"))
    }

    fn accept(&self, upgrade: Upgrade, offer: Offer, who: Who, max_message: usize) -> Response {
        let (response, transport) = self.answer(upgrade, offer.protocol(), max_message);
        let (parts, wish) = (self.0.clone(), offer.wish);
        // In a place of its own: what a connection needs until it is open, it is not to hold while it is idle.
        let opened = Box::pin(async move { Session::open(parts, who, wish, transport.await?).await });
        self.0.sessions.spawn(async move {
            if let Some(session) = opened.await {
                session.run().await;
            }
        });
        response
    }

    /// A browser cannot read a status.
    fn refuse(&self, upgrade: Upgrade, offer: &Offer, problem: Problem) -> Result<Response, Problem> {
        if !offer.speaks_ours {
            return Err(problem);
        }
        let end = End::Close(handshake::close_of(&problem));
        let run = |transport: Transport| transport.end(end);
        Ok(self.upgraded(upgrade, offer.protocol(), MAX_VISITOR_MESSAGE, run))
    }

    /// Answers a handshake; what runs then is waited for by a stop.
    fn upgraded<F: Future<Output = ()> + Send + 'static>(
        &self,
        upgrade: Upgrade,
        protocol: Option<&'static str>,
        max_message: usize,
        run: impl FnOnce(Transport) -> F + Send + 'static,
    ) -> Response {
        let (response, transport) = self.answer(upgrade, protocol, max_message);
        self.0.sessions.spawn(async move {
            if let Some(transport) = transport.await {
                run(transport).await;
            }
        });
        response
    }

    /// Answers a handshake; the WebSocket comes once the answer is out. None: the client has gone meanwhile.
    fn answer(
        &self,
        upgrade: Upgrade,
        protocol: Option<&'static str>,
        max_message: usize,
    ) -> (Response, impl Future<Output = Option<Transport>> + Send + use<>) {
        let (response, stream) = upgrade.accept(protocol);
        let parts = self.0.clone();
        let transport = async move {
            let max_message = parts.config.max_message_bytes.min(max_message);
            Some(Transport::new(stream.await?, max_message, &parts.config))
        };
        (response, transport)
    }
}
