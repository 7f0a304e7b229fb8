//! A name server over UDP that answers each question as the test says, for `WEBHOOK_DNS`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;

const TYPE_A: u16 = 1;
const NO_SUCH_NAME: u8 = 3;

pub struct NameServer {
    address: SocketAddr,
    /// Questions for IPv4 addresses so far.
    asked: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl NameServer {
    /// Answers the n-th question for a name's IPv4 addresses (n from 0) with `answer(name, n)`, to be kept for no time at
    /// all; none is "no such name". It knows no IPv6 addresses.
    pub async fn start(answer: impl Fn(&str, usize) -> Option<Vec<Ipv4Addr>> + Send + 'static) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let address = socket.local_addr().expect("a bound socket has an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Some(question) = Question::parse(&buffer[..length]) else { continue };
                let found = match question.kind {
                    TYPE_A => answer(&question.name, count.fetch_add(1, Ordering::SeqCst)),
                    _ => Some(Vec::new()),
                };
                let _ = socket.send_to(&question.answered(found), from).await;
            }
        });
        NameServer { address, asked, serving }
    }

    /// Answers every name with these.
    pub async fn always(ips: &[Ipv4Addr]) -> NameServer {
        let ips = ips.to_vec();
        NameServer::start(move |_, _| Some(ips.clone())).await
    }

    /// As `WEBHOOK_DNS` takes it.
    pub fn setting(&self) -> String {
        self.address.to_string()
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The one question of a query (RFC 1035 §4.1).
struct Question<'a> {
    id: &'a [u8],
    name: String,
    kind: u16,
    /// Name, type and class, as they are repeated in the answer.
    bytes: &'a [u8],
}

impl Question<'_> {
    fn parse(query: &[u8]) -> Option<Question<'_>> {
        let mut at = 12;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*query.get(at)?);
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).into_owned());
            at += 1 + length;
        }
        let kind = u16::from_be_bytes(query.get(at + 1..at + 3)?.try_into().ok()?);
        Some(Question { id: &query[..2], name: labels.join("."), kind, bytes: query.get(12..at + 5)? })
    }

    fn answered(&self, found: Option<Vec<Ipv4Addr>>) -> Vec<u8> {
        let code = if found.is_none() { NO_SUCH_NAME } else { 0 };
        let ips = found.unwrap_or_default();
        // An answer to a recursive query, from who can recurse.
        let flags = [0x81, 0x80 | code];
        let counts = [0, 1, 0, u8::try_from(ips.len()).expect("few addresses"), 0, 0, 0, 0];
        let mut answer = [self.id, &flags, &counts, self.bytes].concat();
        for ip in ips {
            // The name is the question's; type A, class IN, time to live 0, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(ip.octets());
        }
        answer
    }
}
