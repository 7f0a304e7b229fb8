//! A wire between a client and a server that a test can cut: the connections break, and the next ones hold. It may speak TLS
//! on the client's side.

use super::peer::Peer;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

pub struct Wire {
    peer: Peer,
    cut: Arc<Notify>,
}

impl Wire {
    /// To a port of this machine.
    pub async fn to(port: u16) -> Wire {
        let cut = Arc::new(Notify::new());
        let cutting = cut.clone();
        let peer = Peer::start(move |client| carry(client, port, cutting.clone())).await;
        Wire { peer, cut }
    }

    /// The same with TLS up to here.
    pub async fn with_tls(acceptor: TlsAcceptor, port: u16) -> Wire {
        let cut = Arc::new(Notify::new());
        let cutting = cut.clone();
        let peer = Peer::start(move |client| {
            let (acceptor, cut) = (acceptor.clone(), cutting.clone());
            async move {
                // Who does not trust the certificate says so and goes.
                if let Ok(client) = acceptor.accept(client).await {
                    carry(client, port, cut).await;
                }
            }
        })
        .await;
        Wire { peer, cut }
    }

    pub fn port(&self) -> u16 {
        self.peer.address.port()
    }

    /// Breaks every connection that there is now.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}

async fn carry(mut client: impl AsyncRead + AsyncWrite + Unpin, port: u16, cut: Arc<Notify>) {
    // Nobody there: the client finds its connection closed.
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = cut.notified() => {}
    }
}
