//! Webhooks as the tests make and watch them.

use super::client::{Client, Reply};
use super::wait::eventually;
use super::{Database, Server, find, items};
use serde_json::{Value, json};

/// A webhook of one tenant.
pub struct Webhook {
    pub id: i64,
    pub secret: String,
    pub signing_secret: String,
    client: Client,
}

impl Server {
    /// A webhook of `tenant` for calls and the tests' `marker`, sent to `url`; not for presence, which comes unasked.
    pub async fn webhook(&self, tenant: &str, url: &str) -> Webhook {
        self.webhook_with(tenant, url, json!({})).await
    }

    /// The same with further fields, e.g. `{"events": ["*"], "retry_count": 2}`.
    pub async fn webhook_with(&self, tenant: &str, url: &str, fields: Value) -> Webhook {
        let mut body = json!({"name": "under test", "url": url, "events": ["call.*", "marker"]});
        for (name, value) in fields.as_object().expect("fields are an object") {
            body[name] = value.clone();
        }
        let client = self.admin(tenant);
        let reply = client.post("/api/v1/webhooks", body).await.expect(201);
        let word = |name: &str| reply.body[name].as_str().unwrap_or_default().to_owned();
        Webhook {
            id: reply.body["id"].as_i64().unwrap_or_else(|| panic!("no integer id in {}", reply.text)),
            secret: word("secret"),
            signing_secret: word("signing_secret"),
            client,
        }
    }
}

impl Webhook {
    pub fn path(&self) -> String {
        format!("/api/v1/webhooks/{}", self.id)
    }

    pub async fn change(&self, fields: Value) {
        self.client.put(&self.path(), fields).await.expect(200);
    }

    pub async fn shown(&self) -> Value {
        self.client.get(&self.path()).await.expect(200).body
    }

    /// The attempts logged so far, newest first.
    pub async fn logs(&self) -> Vec<Value> {
        items(&self.client.get(&format!("{}/logs", self.path())).await.expect(200).body)
    }

    /// Waits until so many attempts are logged.
    pub async fn expect_attempts(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} logged attempts of webhook {}", self.id), || async {
            let logs = self.logs().await;
            (logs.len() >= count).then_some(logs)
        })
        .await
    }

    /// Waits for the first attempt, and answers it.
    pub async fn expect_attempt(&self) -> Value {
        self.expect_attempts(1).await.pop().expect("one at least")
    }

    /// The same webhook as another tenant, or the server after a restart, is asked about it.
    pub fn of(&self, server: &Server, tenant: &str) -> Webhook {
        let Webhook { id, secret, signing_secret, .. } = self;
        Webhook {
            id: *id,
            secret: secret.clone(),
            signing_secret: signing_secret.clone(),
            client: server.admin(tenant),
        }
    }

    /// Asks for a delivery to be sent again now.
    pub async fn retry(&self, delivery: &str) -> Reply {
        self.client.post(&format!("/api/v1/deliveries/{delivery}/retry"), json!({})).await
    }

    pub async fn delivery(&self, delivery: &str) -> Value {
        self.client.get(&format!("/api/v1/deliveries/{delivery}")).await.expect(200).body
    }

    /// Waits until a delivery is in this state, and answers it.
    pub async fn expect_state(&self, delivery: &str, state: &str) -> Value {
        eventually(&format!("delivery {delivery} to be {state}"), || async {
            let shown = self.delivery(delivery).await;
            (shown["state"] == state).then_some(shown)
        })
        .await
    }

    /// What holds the webhook back, as its statistics tell.
    pub async fn circuit(&self) -> Value {
        self.stats().await["circuit"].clone()
    }

    pub async fn expect_circuit(&self, state: &str) -> Value {
        eventually(&format!("the circuit of webhook {} to be {state}", self.id), || async {
            let circuit = self.circuit().await;
            (circuit["state"] == state).then_some(circuit)
        })
        .await
    }

    pub async fn stats(&self) -> Value {
        self.client.get(&format!("{}/stats", self.path())).await.expect(200).body
    }

    /// Waits until the statistics count `number` deliveries in this state.
    pub async fn expect_count(&self, state: &str, number: u64) {
        eventually(&format!("{number} {state} deliveries of webhook {}", self.id), || async {
            let stats = self.stats().await;
            let totals = find(&stats, "totals").unwrap_or(&stats);
            (find(totals, state)?.as_u64()? == number).then_some(())
        })
        .await;
    }

    /// Waits until `/failed` lists a delivery of this webhook.
    pub async fn expect_failed(&self) -> Value {
        eventually(&format!("a failed delivery of webhook {}", self.id), || async {
            let listed = self.client.get("/api/v1/webhooks/failed").await.expect(200);
            items(&listed.body).into_iter().find(|d| d["webhook_id"] == self.id)
        })
        .await
    }
}

/// Also what was sent twice, or written twice, counts once.
pub async fn all_is_finished_and_counted_once(database: &Database, webhooks: &[Webhook]) {
    eventually("nothing to be pending", || async {
        let pending = database.count("SELECT COUNT(*) FROM jf_deliveries WHERE state = 'pending'").await;
        (pending == 0).then_some(())
    })
    .await;
    for webhook in webhooks {
        let count = |table: &str, state: &str| {
            let id = webhook.id;
            format!("SELECT COUNT(*) FROM {table} WHERE webhook_id = {id} AND state = '{state}'")
        };
        let delivered = database.count(&count("jf_deliveries", "delivered")).await;
        assert_eq!(database.count(&count("jf_attempts", "succeeded")).await, delivered);
        let totals = webhook.stats().await;
        assert_eq!(find(&totals, "delivered").and_then(Value::as_i64), Some(delivered), "{totals}");
    }
}
