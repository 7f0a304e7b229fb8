//! A wire between nodes and their Redis that is cut, or carries nothing back to those who listen.

use super::peer::Peer;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Whoever is connected is thrown out, and whoever comes.
    Cut,
    /// What Redis says on a connection that has subscribed to anything is not heard; on others it is.
    Deaf,
}

pub struct Wire {
    peer: Peer,
    state: watch::Sender<State>,
}

impl Wire {
    pub async fn to(redis: SocketAddr) -> Wire {
        let (state, watched) = watch::channel(State::Whole);
        let peer = Peer::start(move |client| carry(client, redis, watched.clone())).await;
        Wire { peer, state }
    }

    /// For `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.peer.address)
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub fn deafen(&self) {
        self.state.send_replace(State::Deaf);
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn carry(mut client: TcpStream, redis: SocketAddr, mut state: watch::Receiver<State>) {
    // Nobody there: the client is hung up on.
    let Ok(mut server) = TcpStream::connect(redis).await else { return };
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut listens = false;
    loop {
        if *state.borrow_and_update() == State::Cut {
            return;
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                listens |= from_client[..len].windows(9).any(|word| word.eq_ignore_ascii_case(b"subscribe"));
                if server.write_all(&from_client[..len]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(len @ 1..) = read else { return };
                if listens && *state.borrow() == State::Deaf {
                    continue;
                }
                if client.write_all(&from_server[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}
