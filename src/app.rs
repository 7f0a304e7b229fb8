//! The composition root: builds the server's parts, starts them and stops them in order. Nothing else wires.

mod nodes;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::serve::ListenerExt;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use nodes::{Nodes, Online};

use crate::{
    broadcaster::{Broadcaster, DOUBTFUL, Parts, Relay, SocketTraces},
    bus::Control,
    config::{Config, PluginConfig, WebhookConfig},
    http::{self, Api, ApiParts, Readiness, Tokens},
    hub::{Close, Hub},
    keys::{KeyRing, KeySourceError},
    plugin::{Building, OPENINGS, Opened, PluginError, PluginFolder, PluginSecrets, Plugins, SocketChains},
    presence::{Announcer, Leases, Mail, Mailbox, MailboxConfig, Pace, Presence, Revocations},
    store::{OpenError, Store, StoreError, StoreTask},
    webhook::{
        Deliverer, InFlight, NodeId, Notice, Notices, Scheduler, Sender, SenderError, Webhooks, Workers, WorkersConfig,
        address::AddressPolicy, keep_house,
    },
    ws::Sockets,
};

/// Notices that may wait to be published.
const NOTICES: usize = 1024;
/// Sockets are asked to come back spread over this time, so that they do not all come at once.
const RECONNECT_SPREAD_MS: u64 = 5_000;
/// Of SHUTDOWN_GRACE, kept for writing what is left after sockets and deliveries had their time.
const CLOSING_RESERVE: Duration = Duration::from_millis(750);

/// Why the server did not start. Each says what to do, or what stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Sender(#[from] SenderError),
    #[error(transparent)]
    Keys(#[from] KeySourceError),
}

/// A server that runs.
pub struct App {
    pub address: SocketAddr,
    pub broadcaster: Broadcaster,
    api: Api,
    sockets: Sockets,
    workers: Workers,
    store_task: StoreTask,
    server: JoinHandle<std::io::Result<()>>,
    /// No new connections; requests under way end.
    stop_listening: CancellationToken,
    /// The folder's watcher and the notices end.
    stop_background: CancellationToken,
    background: Vec<JoinHandle<()>>,
    grace: Duration,
}

impl App {
    /// Starts a server; it takes requests when this returns.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        // Taken first and served last: a port in use is told before anything is touched.
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let node: NodeId = format!("node_{}", hex::encode(rand::random::<[u8; 6]>())).into();

        let (store, store_task) = Store::open(&config.database).await?;
        info!("Database connected successfully");
        if !store.is_shared() {
            let released = store.bury_all().await?;
            if released > 0 {
                info!("{released} deliveries that the last run held go on");
            }
        }
        store.enter_node(&node).await?;
        let plugin_secrets = Arc::new(PluginSecrets::load(store.clone(), config.vault.clone()).await?);
        let (openings, openings_received) = mpsc::channel(OPENINGS);
        let books = (plugin_secrets.clone(), openings);
        let plugins = Plugins::start(config.plugins.limits, building(&config), store.clone(), books).await?;
        let plugins = Arc::new(plugins);
        plugins.restore().await?;
        let mut folder = PluginFolder::new(plugins.clone(), config.plugins.dir.clone());
        folder.scan().await;
        let socket_chains = Arc::new(SocketChains::load(plugins.clone(), store.clone()).await?);
        let webhooks = Arc::new(Webhooks::load(store.clone(), plugins.clone(), config.vault.clone()).await?);
        let revocations = Arc::new(Revocations::load(store.clone()).await?);
        info!("Repositories initialized");
        for name in &config.not_read {
            warn!("{name} is set, but this version does not read it");
        }
        if config.vault.is_plain() {
            warn!("ENCRYPTION_KEY is not set: secrets are stored as plain text");
        }
        let keys = config.tokens.keys.clone().map(KeyRing::new).transpose()?.map(Arc::new);
        if let Some(keys) = &keys {
            keys.read().await;
        }
        let hub = Arc::new(Hub::new());
        let nodes = Nodes::find(&config, &node, store.is_shared()).await;
        let traces = Arc::<SocketTraces>::default();
        let (bus, messages) = nodes.map_or((None, None), |nodes| (Some(nodes.bus), Some(nodes.messages)));
        let stop_background = CancellationToken::new();
        let max = u64::try_from(config.offline.max).unwrap_or(u64::MAX);
        let mailbox = MailboxConfig { max, ttl: config.offline.ttl };
        let (mailbox, mailbox_task) = Mailbox::start(store.clone(), mailbox, stop_background.clone());
        let mail = Arc::new(Mail::new(mailbox, bus.clone()));
        let announcer = Arc::new(Announcer::new(store.clone(), Pace::default()).await?);
        let leases = bus.clone().map(|bus| Leases::new(bus, announcer.clone(), nodes::count(&hub)));
        let (leases, lease_task) = leases.map_or((None, None), |(leases, task)| (Some(leases), Some(task)));
        let presence = Arc::new(Presence::new(announcer.clone(), mail.clone(), leases));
        let (relay, ends) = Relay::new(hub.clone(), bus.clone(), mail.clone(), traces.clone());

        let (notices, notices_received) = mpsc::channel(NOTICES);
        let addresses = Arc::new(AddressPolicy::new(config.webhooks.allow_nets.clone()));
        let scheduler = Arc::new(Scheduler::new(in_flight(&config.webhooks)));
        let deliverer = Arc::new(Deliverer {
            store: store.clone(),
            webhooks: webhooks.clone(),
            plugins: plugins.clone(),
            scheduler: scheduler.clone(),
            sender: Sender::new(addresses.clone(), &config.webhooks.name_servers, config.webhooks.proxy.clone())?,
            schedule: config.webhooks.retry_schedule.clone(),
            notices: notices.clone(),
            node: node.clone(),
            look: Notify::new(),
        });
        let count = config.webhooks.workers;
        let workers =
            Workers::start(&deliverer, WorkersConfig { workers: count, max_in_flight: config.webhooks.max_in_flight });
        info!("Webhook manager started with {count} workers");
        let (doubtful, doubtful_received) = mpsc::channel(DOUBTFUL);
        let broadcaster = Broadcaster::new(Parts {
            store: store.clone(),
            relay: relay.clone(),
            plugins: plugins.clone(),
            socket_chains: socket_chains.clone(),
            webhooks: webhooks.clone(),
            scheduler,
            notices,
            node,
            traces,
            doubtful,
        });
        info!("Event broadcaster initialized (WebSocket + Webhooks)");

        let online = Arc::new(Online::new(hub.clone(), bus.clone(), store.is_shared()));
        let mut background = vec![
            mailbox_task,
            tokio::spawn(nodes::announce(announcer.clone(), online, broadcaster.clone(), stop_background.clone())),
            tokio::spawn(mail.keep_moving(stop_background.clone())),
            tokio::spawn(broadcaster.clone().run_doubtful(doubtful_received, stop_background.clone())),
            tokio::spawn(broadcaster.clone().run_foreign(ends.foreign, stop_background.clone())),
            tokio::spawn(nodes::obey(
                ends.controls,
                deliverer.clone(),
                (plugins.clone(), socket_chains.clone(), plugin_secrets.clone()),
                (revocations.clone(), hub.clone()),
                announcer.clone(),
                stop_background.clone(),
            )),
            tokio::spawn(nodes::put_out(revocations.clone(), hub.clone(), stop_background.clone())),
            tokio::spawn(folder.watch(stop_background.clone())),
            tokio::spawn(tell_openings(
                openings_received,
                (plugins.clone(), relay.clone()),
                deliverer.notices.clone(),
                stop_background.clone(),
            )),
            tokio::spawn(broadcaster.clone().run_notices(notices_received, stop_background.clone())),
            tokio::spawn(socket_chains.clone().keep_fresh(stop_background.clone())),
            tokio::spawn(plugins.clone().keep_fresh(stop_background.clone())),
            tokio::spawn(plugin_secrets.clone().keep_fresh(stop_background.clone())),
            tokio::spawn(keep_house(deliverer.clone(), config.webhooks.retention, stop_background.clone())),
        ];
        if let (Some(bus), Some(messages)) = (&bus, messages) {
            background.push(tokio::spawn(bus.clone().keep(stop_background.clone())));
            background.extend(lease_task.map(|task| tokio::spawn(task.run(stop_background.clone()))));
            background.push(tokio::spawn(relay.clone().run(messages, stop_background.clone())));
        }
        if let Some(keys) = keys.clone() {
            background.push(tokio::spawn(keys.keep_fresh(stop_background.clone())));
        }
        info!("Services initialized");
        let api: Api = Arc::new(ApiParts {
            tokens: Tokens::new(config.tokens.clone(), keys),
            broadcaster: broadcaster.clone(),
            store,
            hub,
            relay,
            presence,
            revocations,
            webhooks,
            deliverer,
            addresses,
            plugins,
            plugin_secrets,
            socket_chains,
            readiness: Readiness::default(),
        });
        let sockets = Sockets::new(api.clone(), config.sockets.clone());
        let router = http::router(api.clone(), sockets.router());
        info!("Handlers initialized");

        let stop_listening = CancellationToken::new();
        let listener = listener.tap_io(|stream| {
            // Frames and answers are small and whole: waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
        });
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serve = axum::serve(listener, service).with_graceful_shutdown(stop_listening.clone().cancelled_owned());
        let server = tokio::spawn(async move { serve.await });
        api.readiness.ready();
        info!("Starting server on {address}");
        Ok(Self {
            address,
            broadcaster,
            api,
            sockets,
            workers,
            store_task,
            server,
            stop_listening,
            stop_background,
            background,
            grace: config.shutdown_grace,
        })
    }

    /// Stops in order, within SHUTDOWN_GRACE: what is not sent by then is sent by the next start.
    pub async fn stop(self) {
        info!("stopping");
        let deadline = Instant::now() + self.grace;
        let grace = self.grace.saturating_sub(CLOSING_RESERVE).max(self.grace / 2);
        self.api.readiness.drain();
        self.stop_listening.cancel();
        self.api.hub.close_all(|| Close {
            code: 1012,
            reason: "drain",
            after_ms: Some(rand::random_range(0..RECONNECT_SPREAD_MS)),
        });
        let sockets_end = async {
            if tokio::time::timeout(grace, self.sockets.ended()).await.is_err() {
                warn!("some sockets did not take their goodbye in time");
            }
        };
        let server = self.server;
        let server_ends = async {
            // Idle connections are closed at once; a request that takes longer ends with the process.
            let abort = server.abort_handle();
            if tokio::time::timeout(grace, server).await.is_err() {
                abort.abort();
            }
        };
        tokio::join!(sockets_end, server_ends, self.workers.stop(grace));
        if tokio::time::timeout(CLOSING_RESERVE / 2, self.api.presence.withdraw()).await.is_err() {
            warn!("the other nodes find out a little later that this one has gone");
        }
        self.stop_background.cancel();
        for task in self.background {
            let _ = tokio::time::timeout(CLOSING_RESERVE / 2, task).await;
        }
        if self.api.relay.bus().is_some() {
            info!("Redis connection closed");
        }
        // What this node held is anybody's now; where it fails, the others find out by themselves.
        match tokio::time::timeout(CLOSING_RESERVE / 2, self.api.deliverer.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("this node's deliveries are taken over a little later: {error}"),
            Err(_) => warn!("this node's deliveries are taken over a little later: the database does not answer"),
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(CLOSING_RESERVE / 2);
        if tokio::time::timeout(left, self.store_task.close(&self.api.store)).await.is_err() {
            warn!("the database was not closed in time; what was answered is in it all the same");
        }
        info!("stopped");
    }
}

/// Tells tenants of plugins that rest from now on, until the server stops.
async fn tell_openings(
    mut openings: mpsc::Receiver<Opened>,
    (plugins, relay): (Arc<Plugins>, Arc<Relay>),
    notices: Notices,
    stopping: CancellationToken,
) {
    while let Some(Some(opened)) = stopping.run_until_cancelled(openings.recv()).await {
        let rolled_back = plugins.roll_back(&opened).await;
        let Opened { tenant, plugin, version, mut failure } = opened;
        match rolled_back {
            Ok(None) => {}
            Ok(Some(before)) => {
                failure.message = format!("{}; version {before} serves again", failure.message);
                relay.tell(Control::Plugins { tenant_id: tenant.to_string() }).await;
            }
            Err(error) => warn!(%tenant, "plugin {plugin} was not rolled back from version {version}: {error}"),
        }
        // Full: the journal has it.
        let _ = notices.try_send(Notice::PluginRests { tenant, plugin, version, failure });
    }
}

/// A quarter of the requests under way is kept from any one tenant.
fn in_flight(config: &WebhookConfig) -> InFlight {
    let per_tenant = (config.max_in_flight * 3).div_ceil(4);
    InFlight { per_webhook: config.max_in_flight_per_endpoint, per_tenant }
}

fn building(config: &Config) -> Building {
    let PluginConfig { workshop, cache_dir, compile_timeout, .. } = config.plugins.clone();
    Building { workshop, cache_dir, timeout: compile_timeout, vault: config.vault.clone() }
}
