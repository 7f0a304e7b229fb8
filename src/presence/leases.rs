//! The leases of this node's connections in Redis: taken, renewed, ended, in the order in which it happened; and those of
//! dead nodes, swept.
//!
//! One task speaks for all connections, so that a renewal cannot bring back who has just left. While Redis is away it keeps
//! what there is to say, and leases everything anew when Redis is back, empty or not.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Announcer;
use crate::{
    bus::{Away, Bus, Clients, Control, Here, Lease, Left, LinkState},
    event::{TenantId, UserId},
};

const QUEUE: usize = 16_384;
const BATCH: usize = 512;
const TICK: Duration = Duration::from_secs(1);
/// A user's lease is renewed once in so many ticks, each at its own, so that not all come at once.
const RENEW_TICKS: u64 = 30;
/// Counts that have changed are told at once, but no more often than this.
const BEAT_PAUSE: Duration = Duration::from_millis(200);
/// Who left while Redis was away. Beyond it, leases end by themselves.
const MAX_UNSAID: usize = 100_000;
/// Whoever joins waits no longer than this for Redis.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);

enum Command {
    Join(Lease, oneshot::Sender<Option<Here>>),
    Leave(Left),
    Close(oneshot::Sender<()>),
}

pub struct Leases {
    queue: mpsc::Sender<Command>,
}

/// Tells this node's connections.
pub type Count = Box<dyn Fn() -> Clients + Send + Sync>;

/// The task behind it.
pub struct LeaseTask {
    bus: Bus,
    announcer: Arc<Announcer>,
    count: Count,
    commands: mpsc::Receiver<Command>,
    held: HashMap<(TenantId, UserId), Vec<String>>,
    unsaid: VecDeque<Left>,
    ticks: u64,
    last_beat: Instant,
    /// This node has said that it is no more: a beat would take that back.
    withdrawn: bool,
}

impl Leases {
    pub fn new(bus: Bus, announcer: Arc<Announcer>, count: Count) -> (Self, LeaseTask) {
        let (queue, commands) = mpsc::channel(QUEUE);
        let task = LeaseTask {
            bus,
            announcer,
            count,
            commands,
            held: HashMap::new(),
            unsaid: VecDeque::new(),
            ticks: 0,
            last_beat: Instant::now(),
            withdrawn: false,
        };
        (Self { queue }, task)
    }

    /// Leases a connection; what was found, or nothing while Redis is away.
    pub async fn join(&self, tenant: &TenantId, user: &UserId, connection: &str) -> Option<Here> {
        let lease = Lease { tenant: tenant.clone(), user: user.clone(), connections: vec![connection.to_owned()] };
        let (answer, answered) = oneshot::channel();
        self.queue.send(Command::Join(lease, answer)).await.ok()?;
        tokio::time::timeout(JOIN_PATIENCE, answered).await.ok()?.ok()?
    }

    pub async fn leave(&self, left: Left) {
        // The server has stopped otherwise.
        let _ = self.queue.send(Command::Leave(left)).await;
    }

    /// Says all that there is to say, and that this node is no more.
    pub async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Command::Close(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

impl LeaseTask {
    pub async fn run(mut self, stopping: CancellationToken) {
        let mut link = self.bus.state();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                changed = link.changed(), if !self.withdrawn => {
                    if changed.is_err() {
                        return;
                    }
                    let state = *link.borrow_and_update();
                    if matches!(state, LinkState::Up(_)) {
                        self.say_all().await;
                    }
                }
                _ = tick.tick(), if !self.withdrawn => self.tick().await,
                received = self.commands.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    self.obey(batch.drain(..)).await;
                    if !self.withdrawn && self.last_beat.elapsed() >= BEAT_PAUSE {
                        self.beat().await;
                    }
                }
            }
        }
    }

    /// In their order; what is of one kind goes in one round trip.
    async fn obey(&mut self, commands: impl Iterator<Item = Command>) {
        let (mut joins, mut answers, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for command in commands {
            match command {
                Command::Join(lease, answer) => {
                    self.leave(std::mem::take(&mut leaves)).await;
                    joins.push(lease);
                    answers.push(answer);
                }
                Command::Leave(left) => {
                    self.join(std::mem::take(&mut joins), std::mem::take(&mut answers)).await;
                    leaves.push(left);
                }
                Command::Close(answer) => {
                    self.join(std::mem::take(&mut joins), std::mem::take(&mut answers)).await;
                    self.leave(std::mem::take(&mut leaves)).await;
                    self.withdrawn = true;
                    if let Err(error) = self.hand_over().await {
                        tracing::warn!("the other nodes find out a little later that this one has gone: {error}");
                    }
                    let _ = answer.send(());
                }
            }
        }
        self.join(joins, answers).await;
        self.leave(leaves).await;
    }

    /// The others tell who leaves with this node, and count it no more.
    async fn hand_over(&self) -> Result<(), Away> {
        for some in self.announcer.leaving().chunks(BATCH) {
            let users = some.iter().map(|(tenant, user)| (tenant.to_string(), user.to_string())).collect();
            self.bus.tell(&Control::Left { users }).await?;
        }
        self.bus.withdraw().await
    }

    async fn join(&mut self, leases: Vec<Lease>, answers: Vec<oneshot::Sender<Option<Here>>>) {
        if leases.is_empty() {
            return;
        }
        for lease in &leases {
            let held = self.held.entry((lease.tenant.clone(), lease.user.clone())).or_default();
            held.extend(lease.connections.iter().cloned());
        }
        let here = self.bus.join(&leases).await;
        for (n, (lease, answer)) in leases.iter().zip(answers).enumerate() {
            let here = here.as_ref().ok().and_then(|here| here.get(n)).copied();
            if here.is_none_or(|here| here.before == 0) {
                self.announcer.joined(&lease.tenant, &lease.user);
            }
            // Whoever asked may have gone.
            let _ = answer.send(here);
        }
    }

    async fn leave(&mut self, leaves: Vec<Left>) {
        if leaves.is_empty() {
            return;
        }
        for left in &leaves {
            let key = (left.tenant.clone(), left.user.clone());
            if let Some(held) = self.held.get_mut(&key) {
                held.retain(|connection| *connection != left.connection);
                if held.is_empty() {
                    self.held.remove(&key);
                }
            }
        }
        if let Err(error) = self.say(&leaves).await {
            tracing::debug!("who left is told when Redis is back: {error}");
            self.unsaid.extend(leaves);
            let too_many = self.unsaid.len().saturating_sub(MAX_UNSAID);
            self.unsaid.drain(..too_many);
        }
    }

    async fn say(&self, leaves: &[Left]) -> Result<(), Away> {
        let counts = self.bus.leave(leaves).await?;
        for (left, _) in leaves.iter().zip(counts).filter(|(_, count)| *count == 0) {
            self.announcer.left(&left.tenant, &left.user);
        }
        Ok(())
    }

    /// Redis is there, perhaps after it was not, perhaps empty.
    async fn say_all(&mut self) {
        while !self.unsaid.is_empty() {
            let some: Vec<_> = self.unsaid.iter().take(BATCH).cloned().collect();
            if self.say(&some).await.is_err() {
                return;
            }
            self.unsaid.drain(..some.len());
        }
        self.beat().await;
        self.renew(|_| true).await;
    }

    async fn tick(&mut self) {
        if !matches!(*self.bus.state().borrow(), LinkState::Up(_)) {
            return;
        }
        self.ticks += 1;
        self.beat().await;
        let slot = self.ticks % RENEW_TICKS;
        self.renew(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish() % RENEW_TICKS == slot
        })
        .await;
        match self.bus.sweep().await {
            Ok(gone) => {
                for (tenant, user) in gone {
                    tracing::info!(tenant = tenant.as_str(), "a user of a dead node has left");
                    self.announcer.lost(&tenant, &user);
                }
            }
            Err(error) => tracing::debug!("dead nodes were not looked for: {error}"),
        }
    }

    async fn beat(&mut self) {
        self.last_beat = Instant::now();
        match self.bus.beat(&(self.count)()).await {
            Ok(true) => {}
            // Taken for dead, or Redis has lost all.
            Ok(false) => self.renew(|_| true).await,
            Err(error) => tracing::debug!("this node could not show that it lives: {error}"),
        }
    }

    async fn renew(&self, which: impl Fn(&(TenantId, UserId)) -> bool) {
        let due = self.held.iter().filter(|(key, _)| which(key));
        let leases: Vec<_> = due
            .map(|((tenant, user), connections)| Lease {
                tenant: tenant.clone(),
                user: user.clone(),
                connections: connections.clone(),
            })
            .collect();
        match self.bus.join(&leases).await {
            Ok(here) => {
                // They were not there: whoever left by that is back.
                for (lease, _) in leases.iter().zip(here).filter(|(_, here)| here.before == 0) {
                    self.announcer.joined(&lease.tenant, &lease.user);
                }
            }
            Err(error) => tracing::debug!("leases are renewed a little later: {error}"),
        }
    }
}
