//! Publishers at full speed, each with one request under way, until they are told to end or their server dies.

use super::client::{Client, Reply};
use super::wait::{PATIENCE, within};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Few, so that publishers meet behind them.
const KEYS: usize = 7;

pub struct Load {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<()>>,
}

/// What a publisher does when its connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenItBreaks {
    /// The server is dead: it ends.
    End,
    /// It sends the same again.
    SendAgain,
}

/// How publishers go about it.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub when_it_breaks: WhenItBreaks,
    /// Of the events of one request, in turn.
    pub types: &'static [&'static str],
    /// Between an answer and the next request.
    pub pause: Option<Duration>,
}

#[derive(Default)]
struct Shared {
    /// Ids of events that were answered 202. Guards pushes and looks.
    accepted: Mutex<Vec<String>>,
    refused: AtomicUsize,
    slowest: Mutex<Duration>,
    /// Told at every answer.
    answers: Notify,
    ending: AtomicBool,
}

impl Load {
    /// One publisher for each of these clients, in turn of single events and of arrays of ten. Ids start with `name`.
    pub fn start(name: &str, clients: Vec<Client>, when_it_breaks: WhenItBreaks) -> Load {
        Load::planned(name, clients, Plan { when_it_breaks, types: &["call.ended"], pause: None })
    }

    pub fn planned(name: &str, clients: Vec<Client>, plan: Plan) -> Load {
        let shared = Arc::new(Shared::default());
        let publishers = clients.into_iter().enumerate();
        let publishers = publishers
            .map(|(n, client)| {
                let (name, shared) = (format!("{name}-{n}"), shared.clone());
                let many = if n % 2 == 0 { 1 } else { 10 };
                tokio::spawn(async move { shared.publish(&name, &client, many, plan).await })
            })
            .collect();
        Load { shared, publishers }
    }

    /// How many events were answered 202.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.lock().expect("no publisher panics").len()
    }

    /// How many requests were answered 503.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// The longest that anyone waited for an answer.
    pub fn slowest(&self) -> Duration {
        *self.shared.slowest.lock().expect("no publisher panics")
    }

    /// Waits until so many events were answered 202 in all, however many that are.
    pub async fn accept_many(&self, count: usize) {
        while self.accepted() < count {
            self.accept_more(200.min(count - self.accepted())).await;
        }
    }

    /// Waits until so many more events were answered 202.
    pub async fn accept_more(&self, count: usize) {
        let goal = self.accepted() + count;
        self.until(&format!("{count} more answers of 202"), || self.accepted() >= goal).await;
    }

    /// Waits until a request was answered 503 that was not before.
    pub async fn refuse_more(&self) {
        let before = self.refused();
        self.until("an answer of 503", || self.refused() > before).await;
    }

    async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        within(PATIENCE * 2, what, async {
            loop {
                let answer = self.shared.answers.notified();
                if reached() {
                    return;
                }
                assert!(
                    !self.publishers.iter().any(JoinHandle::is_finished),
                    "a publisher has ended: what it saw is above"
                );
                answer.await;
            }
        })
        .await;
    }

    /// Waits until the publishers have ended, because their server is dead or because they are asked to; answers the ids
    /// of all events that were answered 202.
    pub async fn end(self) -> Vec<String> {
        self.shared.ending.store(true, Ordering::SeqCst);
        for publisher in self.publishers {
            within(PATIENCE * 3, "a publisher to get its last answer", publisher)
                .await
                .expect("every answer was clean");
        }
        std::mem::take(&mut *self.shared.accepted.lock().expect("no publisher panics"))
    }
}

impl Shared {
    async fn publish(&self, name: &str, client: &Client, many: usize, plan: Plan) {
        // Only while a database is away; at full speed otherwise.
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        let mut pace = plan.pause.map(tokio::time::interval);
        for n in 0.. {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let ids: Vec<String> = (0..many).map(|item| format!("{name}-{n}-{item}")).collect();
            let events = ids.iter().zip(plan.types.iter().cycle().skip(n % plan.types.len())).map(
                |(id, event_type)| json!({"id": id, "type": event_type, "key": format!("key-{}", n % KEYS), "data": {"n": n}}),
            );
            let body = if many == 1 { events.clone().next().expect("there is one") } else { events.collect() };
            loop {
                if self.ending.load(Ordering::SeqCst) {
                    return;
                }
                let begun = Instant::now();
                let reply = client.try_post("/api/v1/events", &body).await;
                self.waited(begun.elapsed());
                match reply {
                    None if plan.when_it_breaks == WhenItBreaks::End => return,
                    None => {}
                    Some(reply) if reply.status == 503 => {
                        let retry_after = reply.header("retry-after").to_owned();
                        assert!(retry_after.parse::<u32>().is_ok(), "a 503 says when to come back: {retry_after:?}");
                        reply.expect_problem(503);
                        self.refused.fetch_add(1, Ordering::SeqCst);
                        self.answers.notify_waiters();
                    }
                    Some(reply) => {
                        assert_all_accepted(reply, many);
                        self.accepted.lock().expect("no publisher panics").extend(ids);
                        self.answers.notify_waiters();
                        break;
                    }
                }
                pause.tick().await;
            }
        }
    }

    fn waited(&self, time: Duration) {
        let mut slowest = self.slowest.lock().expect("no publisher panics");
        *slowest = time.max(*slowest);
    }
}

fn assert_all_accepted(reply: Reply, many: usize) {
    let reply = reply.expect(202);
    let answers: Vec<Value> = reply.body.as_array().cloned().unwrap_or_else(|| vec![reply.body.clone()]);
    assert!(answers.len() == many && answers.iter().all(|answer| answer["id"].is_string()), "{}", reply.text);
}
