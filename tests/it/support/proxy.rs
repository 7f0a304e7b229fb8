//! An egress proxy that writes down what it is asked for, and leads every tunnel to one receiver, wherever it was to go.

use super::peer::{Peer, request};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub struct EgressProxy {
    peer: Peer,
    /// Heads of the CONNECT requests so far, in lower case. The lock guards only pushes and copies.
    asked: Arc<Mutex<Vec<String>>>,
}

impl EgressProxy {
    /// Answers CONNECT with this status line; on a 2xx the tunnel ends at `to`.
    pub async fn start(to: SocketAddr, status: &'static str) -> EgressProxy {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = asked.clone();
        let peer = Peer::start(move |mut stream| {
            let heads = heads.clone();
            async move {
                let head = request(&mut stream).await;
                heads.lock().expect("no tunnel panics").push(head);
                let answer = format!("HTTP/1.1 {status}\r\nproxy-agent: test\r\n\r\n");
                let written = stream.write_all(answer.as_bytes()).await;
                if written.is_ok() && status.starts_with('2') {
                    let mut receiver = TcpStream::connect(to).await.expect("the receiver listens");
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut receiver).await;
                }
            }
        })
        .await;
        EgressProxy { peer, asked }
    }

    /// As `WEBHOOK_PROXY` takes it, with credentials (`user:password@`) or none.
    pub fn setting(&self, credentials: &str) -> String {
        format!("http://{credentials}{}", self.peer.address)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no tunnel panics").clone()
    }
}
