//! The table of webhooks, as text: what the columns mean is the webhook room's matter.

use sea_query::{Expr, ExprTrait, Order, Query};
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    Store, StoreError,
    rows::{execute, fetch, leased, unleased},
};
use crate::event::{TenantId, WebhookId, now_ms};

/// A row, as it stands: it may have been inserted by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    pub id: WebhookId,
    pub tenant_id: String,
    pub name: String,
    pub url: String,
    pub events: String,
    pub secret: Option<String>,
    pub is_active: bool,
    pub description: Option<String>,
    pub headers: String,
    pub ed25519_seed: Option<String>,
    pub retry_count: i64,
    pub timeout_s: i64,
    pub chain: String,
    pub disabled_reason: Option<String>,
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// A row of which a column holds no value of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    pub id: WebhookId,
    pub reason: String,
}

const COLUMNS: [&str; 15] = [
    "tenant_id",
    "name",
    "url",
    "events",
    "secret",
    "is_active",
    "description",
    "headers",
    "ed25519_seed",
    "retry_count",
    "timeout_s",
    "chain",
    "disabled_reason",
    "created_ms",
    "updated_ms",
];

impl Store {
    /// All of them: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn webhooks(&self) -> Result<Vec<Result<WebhookRow, UnreadableRow>>, StoreError> {
        let mut select = Query::select();
        select.column("id").columns(COLUMNS).from("webhooks").order_by("id", Order::Asc);
        Ok(fetch(&select, &self.readers).await?.iter().map(read).collect())
    }

    /// Inserts; the row's own id is ignored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn insert_webhook(&self, row: WebhookRow) -> Result<WebhookId, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert.into_table("webhooks").columns(COLUMNS).values_panic(values(&row)).returning_col("id");
                let rows = fetch(&insert, connection).await?;
                rows.first().map(|row| WebhookId(row.get(0))).ok_or(sqlx::Error::RowNotFound)
            })
        })
        .await
    }

    /// Writes all columns of the row with this id; false when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn update_webhook(&self, row: WebhookRow) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut update = Query::update();
                update
                    .table("webhooks")
                    .values(COLUMNS.into_iter().zip(values(&row)))
                    .and_where(Expr::col("id").eq(row.id.0));
                Ok(execute(&update, connection).await? == 1)
            })
        })
        .await
    }

    /// Stops a webhook from owing anything new, and says why.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn disable_webhook(&self, id: WebhookId, reason: String) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut update = Query::update();
                update
                    .table("webhooks")
                    .value("is_active", false)
                    .value("disabled_reason", reason.as_str())
                    .value("updated_ms", now_ms())
                    .and_where(Expr::col("id").eq(id.0))
                    .and_where(Expr::col("is_active").eq(true));
                Ok(execute(&update, connection).await? == 1)
            })
        })
        .await
    }

    /// Deletes a webhook and cancels what it was owed, in one transaction; false when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_webhook(&self, tenant: &TenantId, id: WebhookId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let mut delete = Query::delete();
                delete
                    .from_table("webhooks")
                    .and_where(Expr::col("id").eq(id.0))
                    .and_where(Expr::col("tenant_id").eq(tenant.as_str()));
                if execute(&delete, &mut *connection).await? == 0 {
                    return Ok(false);
                }
                for pending in [unleased(), leased()] {
                    let mut cancel = Query::update();
                    cancel
                        .table("jf_deliveries")
                        .value("state", "cancelled")
                        .value("reason", "the webhook was deleted")
                        .value("ended_ms", now_ms())
                        .and_where(pending)
                        .and_where(Expr::col("webhook_id").eq(id.0));
                    execute(&cancel, &mut *connection).await?;
                }
                Ok(true)
            })
        })
        .await
    }
}

fn values(row: &WebhookRow) -> [Expr; 15] {
    [
        row.tenant_id.as_str().into(),
        row.name.as_str().into(),
        row.url.as_str().into(),
        row.events.as_str().into(),
        row.secret.clone().into(),
        row.is_active.into(),
        row.description.clone().into(),
        row.headers.as_str().into(),
        row.ed25519_seed.clone().into(),
        row.retry_count.into(),
        row.timeout_s.into(),
        row.chain.as_str().into(),
        row.disabled_reason.clone().into(),
        row.created_ms.into(),
        row.updated_ms.into(),
    ]
}

/// Another program may have written values of any kind: SQLite's columns take them.
fn read(row: &SqliteRow) -> Result<WebhookRow, UnreadableRow> {
    let id = WebhookId(row.get("id"));
    let read = || {
        Ok(WebhookRow {
            id,
            tenant_id: row.try_get("tenant_id")?,
            name: row.try_get("name")?,
            url: row.try_get("url")?,
            events: row.try_get("events")?,
            secret: row.try_get("secret")?,
            is_active: row.try_get("is_active")?,
            description: row.try_get("description")?,
            headers: row.try_get("headers")?,
            ed25519_seed: row.try_get("ed25519_seed")?,
            retry_count: row.try_get("retry_count")?,
            timeout_s: row.try_get("timeout_s")?,
            chain: row.try_get("chain")?,
            disabled_reason: row.try_get("disabled_reason")?,
            created_ms: row.try_get("created_ms")?,
            updated_ms: row.try_get("updated_ms")?,
        })
    };
    read().map_err(|error: sqlx::Error| UnreadableRow { id, reason: error.to_string() })
}
