//! `jackfield plugin push`: uploads a component as a new version of a tenant's own plugin.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use url::Url;

use super::{component::Shape, project::check_name, size, subject::Subject};
use crate::{config::ClientSettings, https};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the whole upload: a server compiles for a minute at most, and others may be before it.
const DEADLINE: Duration = Duration::from_secs(300);
const MAX_ANSWER_BYTES: usize = 1 << 20;
const USER_AGENT: &str = concat!("Jackfield/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
pub struct PushArgs {
    /// A component, or the folder of a project, which is built first
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    path: PathBuf,
    /// The plugin's name [default: the file's, or the project's]
    #[arg(long)]
    name: Option<String>,
    /// Where the server is: http:// or https://
    #[arg(long, default_value = "http://127.0.0.1:8000", value_parser = server_url)]
    url: Url,
    /// Keep the version that serves; the new one can be activated later
    #[arg(long)]
    no_activate: bool,
    #[command(flatten)]
    client: ClientSettings,
}

fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("it begins with http:// or https:// and names a host".to_owned()),
    }
}

/// Uploads, and says what the server made of it.
///
/// # Errors
/// The component is not good, the server is not there, or it says no: with its own words.
pub fn run(args: &PushArgs) -> Result<()> {
    let token = args.client.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
    let token = token.context("no token: give an administrator's as --token or JACKFIELD_TOKEN")?;
    let subject = Subject::open(&args.path)?;
    // What no server takes is not sent.
    Shape::of(&subject.component).with_context(|| format!("{} is refused", args.path.display()))?;
    let name = args.name.as_deref().unwrap_or(&subject.name);
    check_name(name).context("give another one with --name")?;
    let path = format!("{}/api/v1/plugins/{name}", args.url.path().trim_end_matches('/'));
    let mut url = args.url.clone();
    url.set_path(&path);
    url.set_query(args.no_activate.then_some("activate=false"));
    let request = Request::put(url.as_str())
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/wasm")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(Bytes::from(subject.component)))
        .context("the token has characters that no token has")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start")?;
    let answered = runtime.block_on(async { tokio::time::timeout(DEADLINE, send(request)).await });
    let (status, answer) = answered
        .map_err(|_| anyhow!("no answer within {} s", DEADLINE.as_secs()))?
        .with_context(|| format!("failed to reach {}", args.url))?;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    ensure!(status.is_success(), "{}", refusal(status, &answer));
    let text = |field: &str| answer[field].as_str().unwrap_or("?").to_owned();
    let bytes = answer["size_bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    let state = if answer["active"] == true { "serves now" } else { "is kept and does not serve yet" };
    println!("{} version {} {state}", text("name"), answer["version"]);
    println!("  sha256    {}", text("sha256"));
    println!("  size      {}", size(bytes));
    println!("  compiled  in {} ms", answer["compile_ms"]);
    Ok(())
}

async fn send(request: Request<Full<Bytes>>) -> Result<(http::StatusCode, Bytes)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(https::anywhere(CONNECT_TIMEOUT)?);
    let response = client.request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| anyhow!(error))?;
    Ok((status, body.to_bytes()))
}

/// The server's own words where it has some.
fn refusal(status: http::StatusCode, problem: &Value) -> String {
    let mut words = format!("the server says {}", status.as_u16());
    if let Some(detail) = problem["detail"].as_str().or_else(|| problem["title"].as_str()) {
        words += &format!(": {detail}");
    }
    for error in problem["errors"].as_array().into_iter().flatten() {
        let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        words += &format!("\n  {}: {}", part("field"), part("message"));
    }
    words
}
