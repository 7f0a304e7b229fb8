//! Announcements of presence, as events of our own making that the whole tenant sees.

use super::{Broadcaster, PublishError, PublishResult, Received, To, typed_event};
use crate::{
    event::{
        Origin,
        payload::{AgentPresenceOffline, AgentPresenceOnline},
    },
    presence::Announcement,
};

impl Broadcaster {
    /// Publishes announcements in one commit, each with the generation that it makes. One that was made before, here or on
    /// another node, is a duplicate.
    pub async fn publish_presence(&self, announcements: Vec<Announcement>) -> Vec<PublishResult> {
        let received: Result<Vec<_>, _> = announcements.iter().map(received).collect();
        match received {
            Ok(received) => self.detached(received).await,
            Err(error) => vec![Err(error); announcements.len()],
        }
    }
}

fn received(announcement: &Announcement) -> Result<Received, PublishError> {
    let Announcement { id, tenant, announces, reason } = announcement;
    let (user_id, reason) = (announces.user.to_string(), (*reason).to_owned());
    let event = if announcement.is_online() {
        typed_event(tenant, To::tenant(), &AgentPresenceOnline { user_id, reason }, Origin::Own)?
    } else {
        typed_event(tenant, To::tenant(), &AgentPresenceOffline { user_id, reason }, Origin::Own)?
    };
    let event = crate::event::Event { id: id.clone(), ..event };
    Ok(Received { announces: Some(announces.clone()), ..Received::from(event) })
}
