//! Who is owed an event, with the plugin versions fixed now and a place in memory where there is room.

use super::Broadcaster;
use crate::{
    event::{DeliveryId, Event},
    store::NewDelivery,
    webhook::Reservation,
};

pub(super) struct Owed {
    pub delivery: NewDelivery,
    /// None: it is committed without a lease and claimed from the table later.
    pub place: Option<Reservation>,
}

impl Broadcaster {
    pub(super) fn owed(&self, event: &Event) -> Vec<Owed> {
        let parts = &self.parts;
        let owe = |webhook: std::sync::Arc<crate::webhook::Webhook>| {
            let order_key = webhook.order_key(event);
            // What has to wait for its turn or its time is claimed when that has come.
            let waits = order_key.is_some() || webhook.rate_limit.is_some();
            let id = DeliveryId::generate();
            let place = if waits { None } else { parts.scheduler.reserve(webhook.id, event, &id) };
            let delivery = NewDelivery {
                id,
                webhook: webhook.id,
                pins: webhook.chain.pins(&event.event_type),
                order_key,
                lease_owner: place.is_some().then(|| parts.node.clone()),
            };
            Owed { delivery, place }
        };
        parts.webhooks.owed(event).into_iter().map(owe).collect()
    }
}
