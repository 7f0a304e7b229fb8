//! Presence: leases of connections, and the set of users that follows from them.

use std::{collections::HashMap, time::Duration};

use super::{Away, Bus, Placed, keys};
use crate::event::{TenantId, UserId};

/// A lease is renewed every 30 s.
const LEASE: Duration = Duration::from_secs(90);
/// What an operator's scripts read as a proof of life.
const PRESENCE_S: u64 = 300;
/// A node that has not beaten for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(8);
const MAX_SWEPT: usize = 500;
/// Counts of a node that is no more go by themselves.
const COUNTS_S: u64 = 15;

/// Connections of one user on this node.
#[derive(Debug, Clone)]
pub struct Lease {
    pub tenant: TenantId,
    pub user: UserId,
    pub connections: Vec<String>,
}

/// The connections of a node, of members and visitors.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    pub by_tenant: HashMap<TenantId, usize>,
    /// Users with a connection on it.
    pub users: usize,
}

/// The field of a node's users among the names of tenants, none of which has a bar.
const USERS: &str = "|users";

/// What a join found.
#[derive(Debug, Clone, Copy)]
pub struct Here {
    /// Connections that the user had before.
    pub before: u64,
    /// Events that wait for it.
    pub waiting: u64,
}

/// A connection that ended.
#[derive(Debug, Clone)]
pub struct Left {
    pub tenant: TenantId,
    pub user: UserId,
    pub connection: String,
    /// Up to where the node had heard the tenant's events when it left: later ones did not find it there.
    pub heard: Option<Placed>,
    /// Messages that were on their way to it, and that it did not confirm: they wait if it was the user's last.
    pub unconfirmed: Vec<String>,
}

impl Bus {
    fn member(tenant: &TenantId, connection: &str, user: &UserId) -> String {
        format!("{tenant}|{connection}|{user}")
    }

    /// Leases connections, one after the other in one round trip. Repeating it renews them.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn join(&self, leases: &[Lease]) -> Result<Vec<Here>, Away> {
        let commands = self.commands()?;
        let mut here = Vec::with_capacity(leases.len());
        for chunk in leases.chunks(200) {
            let calls = chunk.iter().map(|lease| {
                let (tenant, user) = (lease.tenant.as_str(), lease.user.as_str());
                let mut call = self.0.scripts.join.prepare_invoke();
                call.key(keys::online(tenant))
                    .key(keys::presence(tenant, user))
                    .key(keys::conns(tenant, user))
                    .key(keys::node_conns(&self.0.node))
                    .key(keys::offline(tenant, user))
                    .arg(user)
                    .arg(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX))
                    .arg(PRESENCE_S);
                for connection in &lease.connections {
                    call.arg(connection).arg(Self::member(&lease.tenant, connection, &lease.user));
                }
                let mut commands = commands.clone();
                async move { call.invoke_async::<(u64, u64)>(&mut commands).await }
            });
            // The connection keeps their order, and sends them in one go.
            for answer in futures_util::future::join_all(calls).await {
                let (before, waiting) = answer.map_err(|error| self.failed(error))?;
                here.push(Here { before, waiting });
            }
        }
        Ok(here)
    }

    /// Ends leases; tells for each how many connections its user has left.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn leave(&self, left: &[Left]) -> Result<Vec<u64>, Away> {
        let commands = self.commands()?;
        let offline = self.0.offline;
        let mut counts = Vec::with_capacity(left.len());
        for chunk in left.chunks(200) {
            let calls = chunk.iter().map(|left| {
                let (tenant, user) = (left.tenant.as_str(), left.user.as_str());
                let mut call = self.0.scripts.leave.prepare_invoke();
                call.key(keys::online(tenant))
                    .key(keys::conns(tenant, user))
                    .key(keys::node_conns(&self.0.node))
                    .key(keys::offline(tenant, user))
                    .key(keys::offline_dropped(tenant))
                    .key(keys::presence(tenant, user))
                    .key(keys::meta(tenant))
                    .key(keys::stream(tenant))
                    .arg(user)
                    .arg(&left.connection)
                    .arg(Self::member(&left.tenant, &left.connection, &left.user))
                    .arg(offline.max)
                    .arg(offline.ttl.as_secs().max(1))
                    // As it stands in a frame.
                    .arg(serde_json::Value::from(user).to_string())
                    .arg(left.heard.as_ref().map_or("", |heard| heard.epoch.as_str()))
                    .arg(left.heard.as_ref().map_or(0, |heard| heard.offset));
                for text in &left.unconfirmed {
                    call.arg(text);
                }
                let mut commands = commands.clone();
                async move { call.invoke_async::<u64>(&mut commands).await }
            });
            for answer in futures_util::future::join_all(calls).await {
                counts.push(answer.map_err(|error| self.failed(error))?);
            }
        }
        Ok(counts)
    }

    /// Shows that this node lives, with its connections by tenant. False: the others hold it for dead, or Redis has lost
    /// all; it is to lease anew.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn beat(&self, clients: &Clients) -> Result<bool, Away> {
        let mut commands = self.commands()?;
        let mut call = self.0.scripts.beat.prepare_invoke();
        call.key(keys::NODES).key(keys::clients(&self.0.node)).arg(&self.0.node).arg(COUNTS_S);
        call.arg(USERS).arg(clients.users);
        for (tenant, count) in &clients.by_tenant {
            call.arg(tenant.as_str()).arg(count);
        }
        let known: i64 = call.invoke_async(&mut commands).await.map_err(|error| self.failed(error))?;
        Ok(known == 1)
    }

    /// Ends the leases of dead nodes; tells who has left by that.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn sweep(&self) -> Result<Vec<(TenantId, UserId)>, Away> {
        let mut commands = self.commands()?;
        let mut call = self.0.scripts.sweep.prepare_invoke();
        call.key(keys::NODES)
            .arg(u64::try_from(DEAD_AFTER.as_millis()).unwrap_or(u64::MAX))
            .arg(MAX_SWEPT)
            .arg(keys::PREFIX);
        let names: Vec<String> = call.invoke_async(&mut commands).await.map_err(|error| self.failed(error))?;
        let pairs = names.chunks_exact(2);
        Ok(pairs.filter_map(|pair| Some((TenantId::parse(&pair[0]).ok()?, UserId::parse(&pair[1]).ok()?))).collect())
    }

    /// This node stops: it is none of the nodes any more. Its leases have ended before.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn withdraw(&self) -> Result<(), Away> {
        let mut commands = self.commands()?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZREM").arg(keys::NODES).arg(&self.0.node).ignore();
        pipeline.cmd("DEL").arg(keys::clients(&self.0.node)).arg(keys::node_conns(&self.0.node)).ignore();
        pipeline.query_async::<()>(&mut commands).await.map_err(|error| self.failed(error))
    }

    /// Which of these users have a connection.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn are_online(&self, users: &[(TenantId, UserId)]) -> Result<Vec<bool>, Away> {
        let mut commands = self.commands()?;
        let mut pipeline = redis::pipe();
        for (tenant, user) in users {
            pipeline.cmd("SISMEMBER").arg(keys::online(tenant.as_str())).arg(user.as_str());
        }
        if users.is_empty() {
            return Ok(Vec::new());
        }
        pipeline.query_async(&mut commands).await.map_err(|error| self.failed(error))
    }

    /// A user's connections on all nodes, and when it was last seen (ms), as far as that is still known.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn user(&self, tenant: &TenantId, user: &UserId) -> Result<(usize, Option<i64>), Away> {
        let mut commands = self.commands()?;
        let (tenant, user) = (tenant.as_str(), user.as_str());
        let (online, connections, seen_s): (bool, usize, Option<i64>) = redis::pipe()
            .cmd("SISMEMBER")
            .arg(keys::online(tenant))
            .arg(user)
            .cmd("ZCARD")
            .arg(keys::conns(tenant, user))
            .cmd("GET")
            .arg(keys::presence(tenant, user))
            .query_async(&mut commands)
            .await
            .map_err(|error| self.failed(error))?;
        Ok((if online { connections.max(1) } else { 0 }, seen_s.map(|s| s.saturating_mul(1000))))
    }

    /// All users of a tenant with a connection.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn online_users(&self, tenant: &TenantId) -> Result<Vec<String>, Away> {
        let mut commands = self.commands()?;
        let online = keys::online(tenant.as_str());
        let members = redis::cmd("SMEMBERS").arg(online).query_async(&mut commands).await;
        members.map_err(|error| self.failed(error))
    }

    /// Each node with its connections.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn nodes(&self) -> Result<Vec<(String, Clients)>, Away> {
        let mut commands = self.commands()?;
        let all = redis::cmd("ZRANGE").arg(keys::NODES).arg(0).arg(-1).query_async(&mut commands).await;
        let nodes: Vec<String> = all.map_err(|error| self.failed(error))?;
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for node in &nodes {
            pipeline.cmd("HGETALL").arg(keys::clients(node));
        }
        let counts: Vec<HashMap<String, usize>> =
            pipeline.query_async(&mut commands).await.map_err(|error| self.failed(error))?;
        let clients = counts.into_iter().map(|mut counts| Clients {
            users: counts.remove(USERS).unwrap_or(0),
            by_tenant: counts.into_iter().filter_map(|(name, n)| Some((TenantId::parse(&name).ok()?, n))).collect(),
        });
        Ok(nodes.into_iter().zip(clients).collect())
    }

    /// How many users of each tenant have a connection.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn online_counts(&self, tenants: &[TenantId]) -> Result<Vec<usize>, Away> {
        if tenants.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = self.commands()?;
        let mut pipeline = redis::pipe();
        for tenant in tenants {
            pipeline.cmd("SCARD").arg(keys::online(tenant.as_str()));
        }
        pipeline.query_async(&mut commands).await.map_err(|error| self.failed(error))
    }
}
