//! HTTP as a user of the API speaks it.

use serde_json::Value;
use std::time::Duration;

/// One base URL and one token, or none.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// The body as JSON; null where it is none.
    pub body: Value,
}

/// Connections to one server: kept alive, and without redirects or proxies.
pub fn connections() -> reqwest::Client {
    // A second installation is refused, which is fine: one provider is all that is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(40))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a plain client can be built")
}

impl Client {
    pub fn new(http: &reqwest::Client, base: &str, token: Option<&str>) -> Client {
        Client { base: base.to_owned(), token: token.map(str::to_owned), http: http.clone() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None, Vec::new(), &[]).await
    }

    /// The status alone, or nothing when nobody listens.
    pub async fn try_get(&self, path: &str) -> Option<u16> {
        Some(self.http.get(format!("{}{path}", self.base)).send().await.ok()?.status().as_u16())
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_text(path, &body.to_string()).await
    }

    /// A body that must reach the server as it is written here.
    pub async fn post_text(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, Some("application/json"), body.as_bytes().to_vec(), &[]).await
    }

    /// A body of any bytes and type, with further headers.
    pub async fn post_bytes(&self, path: &str, content_type: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Reply {
        self.send("POST", path, Some(content_type), body, headers).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.put_text(path, &body.to_string()).await
    }

    /// A body that must reach the server as it is written here.
    pub async fn put_text(&self, path: &str, body: &str) -> Reply {
        self.send("PUT", path, Some("application/json"), body.as_bytes().to_vec(), &[]).await
    }

    /// A body of any bytes and type.
    pub async fn put_bytes(&self, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        self.send("PUT", path, Some(content_type), body, &[]).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, None, Vec::new(), &[]).await
    }

    /// All items of a list, read page after page of two.
    pub async fn get_all(&self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=2{cursor}")).await.expect(200);
            let data = items(&page.body);
            assert!(data.len() <= 2, "a page has at most its limit: {}", page.text);
            all.extend(data);
            let Some(next) = page.body["next_cursor"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    }

    pub async fn options(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("OPTIONS", path, None, Vec::new(), headers).await
    }

    /// POSTs an event; answers whatever comes, or nothing when the connection broke: for tests that kill the server.
    pub async fn try_publish(&self, event: &Value) -> Option<u16> {
        Some(self.try_post("/api/v1/events", event).await?.status)
    }

    /// The whole answer, or nothing when the connection broke.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<Reply> {
        let body = body.to_string().into_bytes();
        self.try_send("POST", path, Some("application/json"), body, &[]).await.ok()
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let sent = self.try_send(method, path, content_type, body, headers).await;
        sent.unwrap_or_else(|e| panic!("{method} {path} was not answered whole: {e:?}"))
    }

    async fn try_send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Result<Reply, reqwest::Error> {
        let method: reqwest::Method = method.parse().expect("a method's name");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Reply { status, headers, text, body })
    }
}

impl Reply {
    /// This reply, if it has this status; otherwise the test fails and shows the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "unexpected answer: {}", self.text);
        self
    }

    /// An RFC 9457 problem with this status; answers its body.
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> Value {
        let reply = self.expect(status);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{}", reply.text);
        for field in ["type", "title", "detail", "code"] {
            let word = reply.body[field].as_str().unwrap_or_default();
            assert!(!word.is_empty(), "a problem has a {field}: {}", reply.text);
        }
        assert_eq!(reply.body["status"], status, "the body repeats the status: {}", reply.text);
        let code = reply.body["code"].as_str().unwrap_or_default();
        assert!(code.chars().all(|c| c.is_ascii_lowercase() || "_-.".contains(c)), "a code is a stable word: {code}");
        reply.body
    }

    /// A 422 that names `field` among its `errors`; answers what it says about it.
    #[track_caller]
    pub fn expect_invalid(self, field: &str) -> String {
        let body = self.expect_problem(422);
        let errors = body["errors"].as_array().unwrap_or_else(|| panic!("a 422 lists errors: {body}"));
        let named = errors.iter().find(|e| e["field"].as_str().is_some_and(|name| name.contains(field)));
        let error = named.unwrap_or_else(|| panic!("no error names the field {field}: {body}"));
        error["message"].as_str().unwrap_or_else(|| panic!("an error has a message: {body}")).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// The items of a list answer: the array itself, or the one array inside the object around it.
#[track_caller]
pub fn items(body: &Value) -> Vec<Value> {
    let list = body.as_array().or_else(|| body.as_object()?.values().find_map(Value::as_array));
    list.unwrap_or_else(|| panic!("no list in {body}")).clone()
}

/// The value of the first member called `name`, at any depth.
pub fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(name).or_else(|| members.values().find_map(|inner| find(inner, name))),
        Value::Array(list) => list.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}
