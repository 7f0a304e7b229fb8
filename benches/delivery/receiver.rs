//! The webhook's receiver: answers every POST with 200 at once and notes which event came when. It has one thread.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::net::{TcpListener, TcpStream};

use super::wire::{Connection, quoted_after};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// An event that arrived.
pub struct Receipt {
    pub id: String,
    /// The number that its publisher gave it.
    pub number: u64,
    pub at: Instant,
}

pub struct Receiver {
    pub address: SocketAddr,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    /// Pushed to by the receiver's thread alone, taken by the bench between two loads.
    receipts: Mutex<Vec<Receipt>>,
    count: AtomicU64,
}

impl Receiver {
    /// Listens, on a thread that lives as long as the process.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let noted = Arc::new(Noted::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let shared = noted.clone();
        std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::spawn(serve(stream, shared.clone()));
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                io::Result::Ok(())
            })
        })?;
        Ok(Self { address, noted })
    }

    /// Events that arrived since the last [`Receiver::take`], duplicates included.
    pub fn count(&self) -> u64 {
        self.noted.count.load(Ordering::Relaxed)
    }

    /// What arrived; nothing remains.
    pub fn take(&self) -> Vec<Receipt> {
        self.noted.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut *self.noted.receipts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A sender that breaks off in the middle is the sender's fault: what it owed it must send again.
async fn serve(stream: TcpStream, noted: Arc<Noted>) -> io::Result<()> {
    let mut connection = Connection::new(stream)?;
    while let Some(request) = connection.receive().await? {
        let at = Instant::now();
        // A request straight from the publishers is no envelope and has no id: it is answered only.
        if request.body.starts_with(br#"{"id":""#)
            && let Some(id) = quoted_after(request.body, br#"{"id":""#)
            && let Some(number) = quoted_after(request.body, br#""data":{"n":""#)
        {
            let receipt = Receipt { id: id.to_owned(), number: number.parse().unwrap_or(u64::MAX), at };
            noted.receipts.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
            noted.count.fetch_add(1, Ordering::Relaxed);
        }
        connection.send(ANSWER).await?;
    }
    Ok(())
}
