//! Events on their way to all nodes, and the stream that keeps the last of them.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};

use super::{Away, Bus, keys};
use crate::event::{EventId, EventType, TenantId, UserId};

/// Kept per tenant.
const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// An event to be published to all nodes.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    pub tenant: &'a TenantId,
    pub id: &'a EventId,
    pub event_type: &'a EventType,
    /// For whom it is to wait, if that user is away.
    pub waits_for: Option<&'a UserId>,
    /// Its frame without the closing brace.
    pub open: &'a str,
    /// It may have been published before, by a call that was not answered.
    pub again: bool,
}

/// The place that an event got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub epoch: String,
    pub offset: u64,
}

/// Events of a tenant's stream, in order.
#[derive(Debug)]
pub struct Page {
    /// Where the tenant is now.
    pub top: Placed,
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub struct Entry {
    pub offset: u64,
    /// The event's id, and its frame without the closing brace. None: events were lost here.
    pub event: Option<(String, String)>,
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn new_epoch() -> String {
    hex::encode(rand::random::<[u8; 6]>())
}

impl Bus {
    /// Gives an event its place, keeps it, and tells all nodes, this one too.
    ///
    /// # Errors
    /// [`Away`]: it may have been published all the same.
    pub async fn publish(&self, publication: Publication<'_>) -> Result<Placed, Away> {
        let command = self.publish_command(publication);
        let mut commands = self.commands()?;
        let mut answer = command.query_async(&mut commands).await;
        if answer.as_ref().is_err_and(is_unknown_script) {
            self.load_publish(&mut commands).await?;
            answer = command.query_async(&mut commands).await;
        }
        let (epoch, offset, _new): (String, u64, i64) = answer.map_err(|error| self.failed(error))?;
        Ok(Placed { epoch, offset })
    }

    /// Does so with many, in their order.
    ///
    /// # Errors
    /// [`Away`]: any of them may have been published all the same.
    pub async fn publish_all(&self, publications: impl Iterator<Item = Publication<'_>>) -> Result<(), Away> {
        let mut commands = self.commands()?;
        // Not when it turns out to be unknown: the first would be refused, and those behind it overtake it.
        self.load_publish(&mut commands).await?;
        let mut all = redis::pipe();
        for publication in publications {
            all.add_command(self.publish_command(publication)).ignore();
        }
        all.query_async(&mut commands).await.map_err(|error| self.failed(error))
    }

    async fn load_publish(&self, commands: &mut MultiplexedConnection) -> Result<(), Away> {
        let loaded = self.0.scripts.publish.load_async(commands).await;
        loaded.map(|_| ()).map_err(|error| self.failed(error))
    }

    fn publish_command(&self, publication: Publication<'_>) -> Cmd {
        let Publication { tenant, id, event_type, waits_for, open, again } = publication;
        let (name, user) = (tenant.as_str(), waits_for.map_or("", UserId::as_str));
        let keys = [
            keys::meta(name),
            keys::stream(name),
            keys::online(name),
            keys::offline(name, user),
            keys::offline_dropped(name),
        ];
        let offline = self.0.offline;
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.0.scripts.publish.get_hash()).arg(keys.len()).arg(&keys);
        command.arg(keys::channel(tenant, event_type)).arg(open).arg(new_epoch()).arg(MAX_EVENTS).arg(MAX_BYTES);
        command.arg(id.as_str()).arg(i32::from(again));
        command.arg(user).arg(offline.max).arg(offline.ttl.as_secs().max(1));
        command
    }

    /// Tells all nodes of an event that gets no place and is not kept.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn pass(&self, tenant: &TenantId, event_type: &EventType, open: &str) -> Result<(), Away> {
        let mut commands = self.commands()?;
        // What comes from a node names an epoch: the chain has run.
        let text = format!(r#"{open},"epoch":null}}"#);
        let channel = keys::channel(tenant, event_type);
        let sent = redis::cmd("PUBLISH").arg(channel).arg(text).query_async::<i64>(&mut commands).await;
        sent.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Takes a place for events that were lost.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn lose(&self, tenant: &TenantId) -> Result<(), Away> {
        let mut commands = self.commands()?;
        let name = tenant.as_str();
        let lose = &self.0.scripts.lose;
        lose.key(keys::meta(name))
            .key(keys::stream(name))
            .arg(new_epoch())
            .invoke_async::<u64>(&mut commands)
            .await
            .map_err(|error| self.failed(error))?;
        self.tell(&super::Control::Lost { tenant_id: name.to_owned() }).await
    }

    /// Begins a new epoch of a tenant: Redis has lost the last offsets of this one, and would give them twice.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn renew(&self, tenant: &TenantId, old: &str) -> Result<(), Away> {
        let mut commands = self.commands()?;
        let name = tenant.as_str();
        let mut call = self.0.scripts.renew.prepare_invoke();
        call.key(keys::meta(name)).key(keys::stream(name)).arg(old).arg(new_epoch());
        call.invoke_async::<i64>(&mut commands).await.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Where a tenant is, and at most `limit` of its events after an offset.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn read(&self, tenant: &TenantId, after: u64, limit: usize) -> Result<Page, Away> {
        let mut commands = self.commands()?;
        let name = tenant.as_str();
        let read = &self.0.scripts.read;
        let (epoch, offset, entries): (String, u64, Vec<Value>) = read
            .key(keys::meta(name))
            .key(keys::stream(name))
            .arg(new_epoch())
            .arg(after)
            .arg(limit)
            .invoke_async(&mut commands)
            .await
            .map_err(|error| self.failed(error))?;
        let entries = entries.iter().filter_map(entry).collect();
        Ok(Page { top: Placed { epoch, offset }, entries })
    }
}

/// `[0-<offset>, [i, <id>, t, <frame>]]`, or `[0-<offset>, [l, 1]]`.
fn entry(value: &Value) -> Option<Entry> {
    let (id, fields): (String, Vec<String>) = redis::from_redis_value_ref(value).ok()?;
    let offset = id.strip_prefix("0-")?.parse().ok()?;
    let mut fields = fields.into_iter();
    match (fields.next().as_deref(), fields.next(), fields.next(), fields.next()) {
        (Some("i"), Some(id), _, Some(open)) => Some(Entry { offset, event: Some((id, open)) }),
        _ => Some(Entry { offset, event: None }),
    }
}
