//! Listeners that no library would make: they count their connections and treat each as the test says, byte by byte.

use super::wait::{PATIENCE, within};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Peer {
    pub address: SocketAddr,
    /// Connections so far: those that came, and those that the test's treatment has ended with.
    came: watch::Receiver<usize>,
    ended: watch::Receiver<usize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Peer {
    /// Listens on a free port and treats each connection so.
    pub async fn start<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> Peer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        Peer::on(listener, treat)
    }

    /// Listens at an address where nobody should come.
    pub async fn trap(address: SocketAddr) -> Peer {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("no trap at {address}: {e}"));
        Peer::on(listener, |stream| async move { drop(stream) })
    }

    fn on<F>(listener: TcpListener, treat: impl Fn(TcpStream) -> F + Send + 'static) -> Peer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().expect("a bound listener has an address");
        let (arrivals, came) = watch::channel(0);
        let (ends, ended) = watch::channel(0);
        let serving = tokio::spawn(async move {
            let mut treated = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                arrivals.send_modify(|count| *count += 1);
                let (treatment, ends) = (treat(stream), ends.clone());
                treated.spawn(async move {
                    treatment.await;
                    ends.send_modify(|count| *count += 1);
                });
            }
        });
        Peer { address, came, ended, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn connections(&self) -> usize {
        *self.came.borrow()
    }

    /// Waits until the treatment of a connection has ended: for one that goes on for ever, until the server hung up.
    pub async fn expect_end(&self) {
        let mut ended = self.ended.clone();
        let end = async { ended.wait_for(|count| *count > 0).await.map(|_| ()) };
        within(PATIENCE, "the server to hang up", end).await.expect("the peer serves");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The same port at another address of this machine.
pub fn beside(port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, 2), port).into()
}

/// Reads one request, body and all; answers its head. Empty when the other end closed instead.
pub async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0_usize) {
                return head;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return String::new();
        }
    }
}

/// Writes a beginning, then the same bytes again and again, waiting before each, until the other end hangs up.
pub async fn write_for_ever(stream: &mut TcpStream, first: &str, again: &[u8], pause: Option<Duration>) {
    let _ = stream.write_all(first.as_bytes()).await;
    let mut ticks = pause.map(tokio::time::interval);
    loop {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        if stream.write_all(again).await.is_err() {
            return;
        }
    }
}

/// Writes an answer whole and closes in good order.
pub async fn answer(stream: &mut TcpStream, bytes: &[u8]) {
    // The server may hang up before the end, as it should.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}

/// Writes half an answer and breaks the connection with a reset. The half is read first: it lies at the other end.
pub async fn reset_after(mut stream: TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.set_zero_linger();
}
