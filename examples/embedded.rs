//! The router as a library: starts it inside this process and publishes typed events from Rust.
//!
//! Run with `cargo run --example embedded`. It keeps its data in a temporary folder and stops by itself.

use std::time::Duration;

use anyhow::Context;
use jackfield::{
    app::App,
    broadcaster::To,
    config::{Config, DatabaseSettings, Settings, TokenSettings},
    event::{
        Draft, EventType, TenantId, UserId,
        payload::{CallIncoming, Notification},
    },
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let settings = Settings {
        server_host: Some("127.0.0.1".to_owned()),
        server_port: Some("8017".to_owned()),
        database: DatabaseSettings {
            database_url: Some(format!("sqlite://{}", folder.path().join("embedded.db").display())),
            ..Default::default()
        },
        tokens: TokenSettings {
            jwt_secret: Some("a secret of at least 32 bytes, for HS256".to_owned()),
            ..Default::default()
        },
        shutdown_grace: Some("2s".to_owned()),
        ..Settings::default()
    };
    let config = Config::parse(&settings, None).map_err(|mistakes| anyhow::anyhow!(mistakes.join("; ")))?;
    let app = App::start(config).await?;
    let tenant = TenantId::parse("tenant-123").map_err(anyhow::Error::msg)?;

    // Typed: the compiler knows what an incoming call is.
    let call = CallIncoming {
        call_id: "call-77".to_owned(),
        caller: "+43 1 5550 123".to_owned(),
        queue: Some("sales".to_owned()),
        ..Default::default()
    };
    let published = app.broadcaster.call_incoming(&tenant, To::tenant().with_key("call-77"), call).await?;
    println!("call.incoming is on disk as {}", published.id);

    let user = UserId::parse("user-456").map_err(anyhow::Error::msg)?;
    let note = Notification { text: "Your break ends in 2 minutes".to_owned(), ..Default::default() };
    let published = app.broadcaster.notification(&tenant, To::user(user), note).await?;
    println!("notification is on disk as {}", published.id);

    // Any other type: JSON text, carried byte for byte.
    let survey = Draft::new(EventType::parse("survey.answered").map_err(anyhow::Error::msg)?, r#"{"score": 9.50}"#);
    let published = app.broadcaster.publish(&tenant, survey).await?;
    println!("survey.answered is on disk as {}", published.id);

    tokio::time::timeout(Duration::from_secs(5), app.stop()).await.context("the server did not stop")
}
