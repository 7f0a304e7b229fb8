//! An endpoint that webhooks are sent to: it records every request and answers as it is told.

use super::tls::{Authority, TlsListener};
use super::wait::{PATIENCE, within};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri, Version};
use axum::response::Response;
use axum::serve::{Listener, ListenerExt};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tokio::sync::{Notify, watch};

pub struct Receiver {
    pub address: SocketAddr,
    scheme: &'static str,
    inner: Arc<Inner>,
    /// How many requests the test has taken.
    taken: usize,
    serving: tokio::task::JoinHandle<()>,
}

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
    /// Set when an answer is about to go out; one whose sender has died first never gets any.
    answered: Arc<OnceLock<Instant>>,
}

/// What to answer.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    hangs: bool,
    /// It goes out when this door is open.
    behind: Option<watch::Receiver<bool>>,
}

/// What answers wait behind. Dropping it lets none of them go.
#[derive(Clone)]
pub struct Door(watch::Sender<bool>);

impl Door {
    pub fn shut() -> Door {
        Door(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

type Chooser = dyn Fn(&Received) -> Answer + Send + Sync;

struct Inner {
    /// Guards a push or a pop, never held over an await.
    script: Mutex<Script>,
    requests: Mutex<Vec<Received>>,
    arrived: Notify,
    connections: AtomicUsize,
}

struct Script {
    next: VecDeque<Answer>,
    otherwise: Arc<Chooser>,
}

impl Receiver {
    /// Listens on a free port and answers 200.
    pub async fn start() -> Receiver {
        Receiver::on("http", tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free"))
    }

    /// The same with TLS for `127.0.0.1`, certified by `authority`, with HTTP/2 and HTTP/1.1 on offer.
    pub async fn start_tls(authority: &Authority) -> Receiver {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let acceptor = authority.acceptor("127.0.0.1", &["h2", "http/1.1"]);
        Receiver::on("https", TlsListener { tcp, acceptor })
    }

    fn on<L>(scheme: &'static str, listener: L) -> Receiver
    where
        L: Listener<Addr = SocketAddr>,
    {
        let address = listener.local_addr().expect("a bound listener has an address");
        let script = Script { next: VecDeque::new(), otherwise: Arc::new(|_: &Received| Answer::status(200)) };
        let inner = Arc::new(Inner {
            script: Mutex::new(script),
            requests: Mutex::default(),
            arrived: Notify::new(),
            connections: AtomicUsize::new(0),
        });
        let app = axum::Router::new().fallback(receive).with_state(inner.clone());
        let counted = inner.clone();
        let listener = listener.tap_io(move |_| {
            counted.connections.fetch_add(1, Ordering::SeqCst);
        });
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("the receiver serves") });
        Receiver { address, scheme, inner, taken: 0, serving }
    }

    pub fn url(&self) -> String {
        self.url_of("/hook")
    }

    /// Another endpoint of the same receiver.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Connections so far, each with its handshake done.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// The next request that has no answer yet is answered with this status; later calls queue up.
    pub fn answer(&self, status: u16) {
        self.answer_with(Answer::status(status));
    }

    pub fn answer_with(&self, answer: Answer) {
        self.script().next.push_back(answer);
    }

    /// Every request that nothing else was queued for is answered so from now on.
    pub fn answer_always(&self, status: u16) {
        self.answer_by(move |_| Answer::status(status));
    }

    pub fn answer_by(&self, choose: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.script().otherwise = Arc::new(choose);
    }

    /// Reads requests and never answers them, until told otherwise.
    pub fn hang(&self) {
        self.answer_by(|_| Answer::never());
    }

    /// The next request, in order of arrival.
    pub async fn expect_delivery(&mut self) -> Received {
        self.expect_deliveries(1).await.remove(0)
    }

    pub async fn expect_deliveries(&mut self, count: usize) -> Vec<Received> {
        let (from, to) = (self.taken, self.taken + count);
        self.taken = to;
        within(PATIENCE, &format!("{to} requests at the receiver"), async {
            loop {
                // Asked for before looking: an arrival between the two is not missed.
                let arrival = self.inner.arrived.notified();
                if let Some(requests) = self.requests().get(from..to) {
                    return requests.to_vec();
                }
                arrival.await;
            }
        })
        .await
    }

    /// Waits until `enough` holds of everything received so far.
    pub async fn expect(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        within(PATIENCE * 2, &format!("the receiver to have {what}"), async {
            loop {
                let arrival = self.inner.arrived.notified();
                if enough(&self.requests()) {
                    return self.all();
                }
                arrival.await;
            }
        })
        .await
    }

    /// Waits until each of these ids was received at least once; `id_of` reads it from a request's JSON body.
    pub async fn expect_ids(&self, ids: &[String], id_of: impl Fn(&Value) -> &Value) {
        let mut missing: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let mut looked_at = 0;
        let all = async {
            while !missing.is_empty() {
                let arrival = self.inner.arrived.notified();
                let new = self.requests()[looked_at..].to_vec();
                looked_at += new.len();
                for request in &new {
                    missing.remove(id_of(&request.json()).as_str().unwrap_or_default());
                }
                if new.is_empty() {
                    arrival.await;
                }
            }
        };
        if tokio::time::timeout(PATIENCE * 4, all).await.is_err() {
            panic!("of {} events that were answered 202, {} never came: {missing:?}", ids.len(), missing.len());
        }
    }

    /// The next request must be the one for this event type, published after all else.
    pub async fn expect_silence_until(&mut self, marker: &str) {
        let delivery = self.expect_delivery().await;
        assert_eq!(delivery.header("x-webhook-event"), marker, "something came before the marker: {}", delivery.text());
    }

    pub fn count(&self) -> usize {
        self.requests().len()
    }

    /// What came after the first so many.
    pub fn after(&self, count: usize) -> Vec<Received> {
        self.requests()[count..].to_vec()
    }

    /// Waits until there are more than so many.
    pub async fn more_than(&self, count: usize) {
        loop {
            let arrival = self.inner.arrived.notified();
            if self.requests().len() > count {
                return;
            }
            arrival.await;
        }
    }

    /// Everything received so far.
    pub fn all(&self) -> Vec<Received> {
        self.requests().clone()
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Vec<Received>> {
        self.inner.requests.lock().expect("no handler panics")
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.inner.script.lock().expect("no handler panics")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new(), hangs: false, behind: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: Vec<u8>) -> Answer {
        self.body = body;
        self
    }

    /// No answer at all.
    pub fn never() -> Answer {
        Answer { hangs: true, ..Answer::status(200) }
    }

    /// The same, as soon as the door is open.
    pub fn behind(self, door: &Door) -> Answer {
        Answer { behind: Some(door.0.subscribe()), ..self }
    }
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    pub fn answered(&self) -> Option<Instant> {
        self.answered.get().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("a body is JSON ({e}): {}", self.text()))
    }
}

async fn receive(
    State(inner): State<Arc<Inner>>,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request =
        Received { path: uri.path().to_owned(), version, headers, body, at: Instant::now(), answered: Arc::default() };
    let answered = request.answered.clone();
    let choose = {
        let mut script = inner.script.lock().expect("no handler panics");
        match script.next.pop_front() {
            Some(answer) => Arc::new(move |_: &Received| answer.clone()) as Arc<Chooser>,
            None => script.otherwise.clone(),
        }
    };
    let answer = choose(&request);
    inner.requests.lock().expect("no handler panics").push(request);
    inner.arrived.notify_waiters();
    if answer.hangs {
        std::future::pending::<()>().await;
    }
    if let Some(mut door) = answer.behind
        && door.wait_for(|open| *open).await.is_err()
    {
        std::future::pending::<()>().await;
    }
    let _ = answered.set(Instant::now());
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).expect("a scripted answer is a valid one")
}
