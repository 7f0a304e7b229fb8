//! A wire between the server and its database that breaks where a test wants it to: after a commit has reached the
//! database and before its answer is back.

use super::peer::Peer;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Condition = dyn Fn(&Transaction) -> bool + Send + Sync;

pub struct Relay {
    peer: Peer,
    /// Taken by the first commit that it is true of. The lock guards only looks.
    cut: Arc<Mutex<Option<Box<Condition>>>>,
}

/// What has gone through one connection since its last commit. Neither password nor query is encrypted on this machine.
#[derive(Default)]
pub struct Transaction {
    pub said: String,
    pub heard: String,
}

impl Relay {
    pub async fn to(database: SocketAddr) -> Relay {
        let cut: Arc<Mutex<Option<Box<Condition>>>> = Arc::default();
        let condition = cut.clone();
        let peer = Peer::start(move |client| carry(client, database, condition.clone())).await;
        Relay { peer, cut }
    }

    pub fn port(&self) -> u16 {
        self.peer.address.port()
    }

    /// The next commit of which `condition` holds is the last thing that its connection does.
    pub fn cut_after_the_commit_of(&self, condition: impl Fn(&Transaction) -> bool + Send + Sync + 'static) {
        *self.cut.lock().expect("no connection panics") = Some(Box::new(condition));
    }

    pub fn has_cut(&self) -> bool {
        self.cut.lock().expect("no connection panics").is_none()
    }
}

async fn carry(mut client: TcpStream, database: SocketAddr, cut: Arc<Mutex<Option<Box<Condition>>>>) {
    let mut server = TcpStream::connect(database).await.expect("the database listens");
    let mut transaction = Transaction::default();
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&from_client[..len]);
                let commits = text.contains("COMMIT");
                transaction.said.push_str(&text);
                if server.write_all(&from_client[..len]).await.is_err() {
                    return;
                }
                if commits {
                    let is_it = |cut: &mut Box<Condition>| cut(&transaction);
                    if cut.lock().expect("no condition panics").take_if(is_it).is_some() {
                        // It is done when the database says so, and nobody hears it.
                        let _ = server.read(&mut from_server).await;
                        return;
                    }
                    transaction = Transaction::default();
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
