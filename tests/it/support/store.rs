//! The store itself, for what no door of a server leads to.

use super::Database;
use jackfield::event::{Draft, EventId, EventType, Origin, TenantId, UserId, now_ms};
use jackfield::store::{Announces, Committed, Location, NewEvent, Store, StoreError, StoreTask};
use std::sync::Arc;

pub fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a test's tenant keeps the rule")
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a test's user keeps the rule")
}

/// A user of a tenant.
pub fn who(tenant_name: &str, user_name: &str) -> (TenantId, UserId) {
    (tenant(tenant_name), user(user_name))
}

/// Opens the database as a server does. The task is to be kept: it writes.
pub async fn open(database: &Database) -> (Store, StoreTask) {
    let location = Location::parse(&database.url()).expect("a test's database has a URL");
    Store::open(&location).await.expect("the database opens")
}

/// Commits an event with what it announces, as the broadcaster does: whether it was new.
pub async fn announce(
    store: &Store,
    tenant: &TenantId,
    id: &EventId,
    event_type: &str,
    announces: Announces,
) -> Result<bool, StoreError> {
    let event_type = EventType::parse(event_type).expect("a test's type keeps the rule");
    let data = format!("{:?}", announces.user.as_str());
    let draft = Draft { id: Some(id.clone()), ..Draft::new(event_type, data) };
    let event = Arc::new(draft.receive(tenant, now_ms(), Origin::Own));
    let new = NewEvent {
        event,
        idempotency_key: None,
        owed: Vec::new(),
        user_state: None,
        ends_session: None,
        announces: Some(announces),
    };
    Ok(store.commit(vec![new]).await? == [Committed::New])
}
