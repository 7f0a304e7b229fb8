//! A wire between the server and its database that breaks where a test wants it to: after a commit has reached the
//! database and before its answer is back. Or it holds a commit, until the test has done something else.

use super::peer::Peer;
use super::wait::{PATIENCE, within};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

type Condition = dyn Fn(&Transaction) -> bool + Send + Sync;

pub struct Relay {
    peer: Peer,
    /// Taken by the first commit that it is true of. The lock guards only looks.
    plan: Plan,
}

type Plan = Arc<Mutex<Option<(Box<Condition>, Fate)>>>;

/// What becomes of a commit.
enum Fate {
    /// Its answer is not heard.
    Cut,
    /// It waits on its way.
    Held(Arc<Held>),
}

/// A commit on its way.
#[derive(Default)]
pub struct Held {
    arrived: Notify,
    may_go: Notify,
}

impl Held {
    pub async fn arrived(&self) {
        within(PATIENCE, "a commit to be on its way", self.arrived.notified()).await;
    }

    pub fn let_go(&self) {
        self.may_go.notify_one();
    }
}

/// What has gone through one connection since its last commit. Neither password nor query is encrypted on this machine.
#[derive(Default)]
pub struct Transaction {
    pub said: String,
    pub heard: String,
}

impl Relay {
    pub async fn to(database: SocketAddr) -> Relay {
        let plan = Plan::default();
        let planned = plan.clone();
        let peer = Peer::start(move |client| carry(client, database, planned.clone())).await;
        Relay { peer, plan }
    }

    pub fn port(&self) -> u16 {
        self.peer.address.port()
    }

    /// The next commit of which `condition` holds is the last thing that its connection does.
    pub fn cut_after_the_commit_of(&self, condition: impl Fn(&Transaction) -> bool + Send + Sync + 'static) {
        self.set(Box::new(condition), Fate::Cut);
    }

    /// The next commit of which `condition` holds waits until it is let go.
    pub fn hold_the_commit_of(&self, condition: impl Fn(&Transaction) -> bool + Send + Sync + 'static) -> Arc<Held> {
        let held = Arc::new(Held::default());
        self.set(Box::new(condition), Fate::Held(held.clone()));
        held
    }

    fn set(&self, condition: Box<Condition>, fate: Fate) {
        *self.plan.lock().expect("no connection panics") = Some((condition, fate));
    }

    pub fn has_cut(&self) -> bool {
        self.plan.lock().expect("no connection panics").is_none()
    }
}

async fn carry(mut client: TcpStream, database: SocketAddr, plan: Plan) {
    let mut server = TcpStream::connect(database).await.expect("the database listens");
    let mut transaction = Transaction::default();
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&from_client[..len]);
                transaction.said.push_str(&text);
                let mut fate = None;
                if text.contains("COMMIT") {
                    let transaction = std::mem::take(&mut transaction);
                    let is_it = |plan: &mut (Box<Condition>, Fate)| plan.0(&transaction);
                    fate = plan.lock().expect("no condition panics").take_if(is_it).map(|(_, fate)| fate);
                }
                if let Some(Fate::Held(held)) = &fate {
                    held.arrived.notify_one();
                    held.may_go.notified().await;
                }
                if server.write_all(&from_client[..len]).await.is_err() {
                    return;
                }
                if matches!(fate, Some(Fate::Cut)) {
                    // It is done when the database says so, and nobody hears it.
                    let _ = server.read(&mut from_server).await;
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(len @ 1..) = read else { return };
                transaction.heard.push_str(&String::from_utf8_lossy(&from_server[..len]));
                if client.write_all(&from_server[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}
