//! A place among a tenant's connections: taken and given up in the same way by sockets and streams.

use super::{control::Control, feed::Feed};
use crate::{
    broadcaster::Stay,
    bus::Placed,
    config::SocketConfig,
    event::{Patterns, SessionId, TenantId, UserId},
    http::{Api, Identity, Problem},
    hub::{Closing, Connection, ConnectionLimits, Filter, Frame, JoinError, Position, Routing, Viewer},
    presence::{Departure, letter},
    store::{OfflineItem, SessionState},
};

/// What may wait for a visitor.
const MAX_VISITOR_QUEUE_BYTES: usize = 128 * 1024;

pub enum Who {
    Member(Identity),
    Visitor { tenant: TenantId, session: SessionId },
}

impl Who {
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Member(identity) => &identity.tenant,
            Self::Visitor { tenant, .. } => tenant,
        }
    }

    pub fn viewer(&self) -> Viewer {
        match self {
            Self::Member(identity) => Viewer::Member { user: identity.user.clone() },
            Self::Visitor { session, .. } => Viewer::Visitor { session: session.clone() },
        }
    }
}

/// What a connection asks for when it comes.
#[derive(Debug, Default)]
pub struct Wish {
    /// `?events=`.
    pub events: Option<Patterns>,
    /// Where the last connection ended.
    pub since: Option<Position>,
}

pub struct Seat {
    pub feed: Feed,
    pub closing: Closing,
    /// Goes right behind the welcome.
    pub gap: Option<Frame>,
    /// Events that wait for the user.
    pub waiting: u64,
    /// Until the end: the tenant's events come from all nodes.
    pub stay: Stay,
}

impl Seat {
    /// # Errors
    /// 503: no room, no Redis, or a stop; 404: the session has ended meanwhile.
    pub async fn take(api: &Api, config: &SocketConfig, who: &Who, wish: Wish) -> Result<Self, Problem> {
        let (allowed, issued_s, max_queue_bytes) = match who {
            Who::Member(identity) => (identity.events.clone(), identity.issued_s, config.max_queue_bytes),
            Who::Visitor { .. } => (None, None, MAX_VISITOR_QUEUE_BYTES.min(config.max_queue_bytes)),
        };
        let tenant = who.tenant();
        let limits =
            ConnectionLimits { max_queue_bytes, max_connections_per_tenant: config.max_connections_per_tenant };
        // Given with the join: no event may come in between.
        let filter = Filter { allowed, issued_s, wanted: wish.events.unwrap_or_else(Patterns::all) };
        let stay = api.relay.enter(tenant).await.map_err(|error| {
            tracing::warn!("a connection was put off: {error}");
            Problem::unavailable("overloaded", "the tenant's events cannot be followed now")
        })?;
        let joined = api.hub.join(tenant, who.viewer(), filter, limits, wish.since.as_ref()).map_err(|refused| {
            let code = match refused {
                JoinError::TenantFull => "too_many_connections",
                JoinError::Stopping => "draining",
            };
            Problem::unavailable(code, refused.to_string())
        })?;
        let (feed, closing, gap) = Feed::new(joined);
        let mut seat = Self { feed, closing, gap, waiting: 0, stay };
        if let Who::Member(identity) = who {
            // It may have been revoked between the handshake and the join, when there was no connection yet to be closed.
            if let Err(problem) = api.check_revoked(identity) {
                let Self { feed, stay, .. } = seat;
                Self::leave(api, feed, None, stay).await;
                return Err(problem);
            }
            let connection = &seat.feed.connection;
            seat.waiting = api.presence.enter(&identity.tenant, &identity.user, &connection.id).await;
        }
        if let Who::Visitor { session, .. } = who {
            // It may have ended between the handshake and the join, when there was no connection yet to be closed.
            let ended = match api.store.session(session).await {
                Ok(SessionState::Live(_)) => None,
                Ok(_) => Some(Problem::not_found("the session has ended")),
                Err(error) => Some(error.into()),
            };
            if let Some(problem) = ended {
                let Self { feed, stay, .. } = seat;
                Self::leave(api, feed, None, stay).await;
                return Err(problem);
            }
        }
        Ok(seat)
    }

    /// Gives the place up. What was on its way to a member after `confirmed` waits, if it was the user's last connection. What
    /// is still in its queue is forgotten at once: a slow goodbye must not keep it.
    pub async fn leave(api: &Api, feed: Feed, confirmed: Option<&Position>, stay: Stay) {
        let connection = feed.connection.clone();
        // Whoever comes in this moment waits until it is known what waits.
        let putting = connection.viewer.user().map(|user| api.presence.mail.begin(&connection.tenant, user));
        api.hub.leave(&connection);
        drop(feed);
        if let Some(user) = connection.viewer.user() {
            let (tenant, user) = (connection.tenant.clone(), user.clone());
            let heard = api.hub.position(&tenant).filter(|(_, is_shared)| *is_shared).map(|(position, _)| position);
            let heard = heard.map(|Position { epoch, offset }| Placed { epoch: epoch.to_string(), offset });
            let left_here = api.hub.user(&tenant, user.as_str()).0;
            // Beside another connection of the user nothing waits: what it had not read is not gathered, which may be much.
            let after = confirmed.filter(|_| left_here == 0);
            let unconfirmed = after.map_or_else(Vec::new, |after| unconfirmed(api, &connection, &user, after));
            let connection = connection.id.clone();
            let departure = Departure { tenant, user, connection, left_here, heard, unconfirmed };
            api.presence.leave(departure).await;
        }
        drop(putting);
        drop(stay);
    }

    pub fn welcome(&self, who: &Who, config: &SocketConfig) -> String {
        let (user, expires_in_ms) = match who {
            Who::Member(identity) => (Some(identity.user.as_str()), Some(identity.expires_in_ms())),
            Who::Visitor { .. } => (None, None),
        };
        let (connection, Position { epoch, offset }) = (&self.feed.connection, &self.feed.position);
        Control::Welcome {
            connection_id: &connection.id,
            user_id: user,
            tenant_id: connection.tenant.as_str(),
            epoch,
            offset: *offset,
            ping_interval_ms: u64::try_from(config.ping_interval.as_millis()).unwrap_or(u64::MAX),
            expires_in_ms,
            offline: self.waiting,
        }
        .to_json()
    }
}

/// The user's events after a place, which this connection may have got and has not confirmed.
fn unconfirmed(api: &Api, connection: &Connection, user: &UserId, after: &Position) -> Vec<OfflineItem> {
    let events = api.hub.addressed_to(&connection.tenant, user, &after.epoch, after.offset);
    let seen = events.into_iter().filter(|(routing, _)| connection.sees(routing));
    let item = |(routing, frame): (Routing, Frame)| {
        let at = frame.position()?;
        Some(letter(&connection.tenant, user, &routing.event_type, frame.open(), (&at.epoch, at.offset)))
    };
    seen.filter_map(item).collect()
}
