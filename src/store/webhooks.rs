//! The table of webhooks, as text: what the columns mean is the webhook room's matter.

use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    Store, StoreError,
    adopt::json_columns,
    sql::{Dialect, Row, execute, insert_for_id},
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
    pub headers: Option<String>,
    pub ed25519_seed: Option<String>,
    /// A JSON array of those that sign too until their time is over.
    pub previous_secrets: Option<String>,
    pub retry_count: i64,
    pub timeout_s: i64,
    pub rate_limit: Option<i64>,
    pub ordering: Option<String>,
    pub chain: Option<String>,
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

const COLUMNS: [&str; 18] = [
    "tenant_id",
    "name",
    "url",
    "events",
    "secret",
    "is_active",
    "description",
    "headers",
    "ed25519_seed",
    "previous_secrets",
    "retry_count",
    "timeout_s",
    "rate_limit",
    "ordering",
    "chain",
    "disabled_reason",
    "created_ms",
    "updated_ms",
];

/// Those that hold numbers.
const NUMBERS: [&str; 6] = ["is_active", "retry_count", "timeout_s", "rate_limit", "created_ms", "updated_ms"];

impl Store {
    /// All of them: the server keeps them in memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn webhooks(&self) -> Result<Vec<Result<WebhookRow, UnreadableRow>>, StoreError> {
        let mut select = Query::select();
        select.from("webhooks").order_by("id", Order::Asc);
        for column in ["id"].into_iter().chain(COLUMNS) {
            select.expr_as(read_as(self.dialect(), column), column);
        }
        let rows = self.read(&select).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Inserts; the row's own id is ignored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn insert_webhook(&self, row: WebhookRow) -> Result<WebhookId, StoreError> {
        self.write(row, |connection, row| {
            Box::pin(async move {
                let mut insert = Query::insert();
                let json = json_columns(connection).await?;
                let values = COLUMNS.into_iter().zip(values(row)).map(|(column, value)| cast(column, value, &json));
                insert.into_table("webhooks").columns(COLUMNS).values_panic(values);
                insert_for_id(&mut insert, connection).await.map(WebhookId)
            })
        })
        .await
    }

    /// Writes the columns that differ from `before`, which others may have read too: two who change different things do
    /// not undo each other. False when there is no such row.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn update_webhook(&self, before: WebhookRow, row: WebhookRow) -> Result<bool, StoreError> {
        self.write((before, row), |connection, (before, row)| {
            Box::pin(async move {
                let changed = COLUMNS.into_iter().zip(values(before)).zip(values(row));
                let changed: Vec<_> = changed
                    .filter(|((_, before), after)| before != after)
                    .map(|((column, _), after)| (column, after))
                    .collect();
                if changed.is_empty() {
                    return Ok(true);
                }
                let json = json_columns(connection).await?;
                let changed = changed.into_iter().map(|(column, value)| (column, cast(column, value, &json)));
                let mut update = Query::update();
                update.table("webhooks").values(changed).and_where(Expr::col("id").eq(row.id.0));
                Ok(execute(&update, connection).await? == 1)
            })
        })
        .await
    }

    /// Stops a webhook from owing anything new, and says why; false when it was off already.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn disable_webhook(&self, id: WebhookId, reason: String) -> Result<bool, StoreError> {
        self.write((id, reason), |connection, (id, reason)| {
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

    /// Deletes a webhook; false when there is none. What it was owed is cancelled in pieces: see
    /// [`Store::cancel_some_of`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_webhook(&self, tenant: &TenantId, id: WebhookId) -> Result<bool, StoreError> {
        self.write((tenant.to_string(), id), |connection, (tenant, id)| {
            Box::pin(async move {
                let mut delete = Query::delete();
                delete
                    .from_table("webhooks")
                    .and_where(Expr::col("id").eq(id.0))
                    .and_where(Expr::col("tenant_id").eq(tenant.as_str()));
                if execute(&delete, &mut *connection).await? == 0 {
                    return Ok(false);
                }
                let mut gate = Query::delete();
                gate.from_table("jf_gates").and_where(Expr::col("webhook_id").eq(id.0));
                execute(&gate, connection).await?;
                Ok(true)
            })
        })
        .await
    }
}

/// Another program's columns may be narrower numbers, JSON or shorter texts. SQLite's hold what was written, which is not
/// to be made into something else here.
fn read_as(dialect: Dialect, column: &'static str) -> Expr {
    let is_number = column == "id" || NUMBERS.contains(&column);
    match (dialect, is_number) {
        (Dialect::Sqlite, _) => Expr::col(column),
        (Dialect::MySql, true) => Expr::col(column).cast_as("SIGNED"),
        (Dialect::MySql, false) => Expr::col(column).cast_as("CHAR"),
        (Dialect::Postgres, true) if column == "is_active" => Expr::col(column).cast_as("INT").cast_as("BIGINT"),
        (Dialect::Postgres, true) => Expr::col(column).cast_as("BIGINT"),
        (Dialect::Postgres, false) => Expr::col(column).cast_as("TEXT"),
    }
}

/// Another program's ids may be narrower.
pub(super) fn as_id(dialect: Dialect, id: Expr) -> Expr {
    match dialect {
        Dialect::Sqlite => id,
        Dialect::MySql => id.cast_as("SIGNED"),
        Dialect::Postgres => id.cast_as("BIGINT"),
    }
}

/// Where another program made the column JSON, Postgres takes no text for it.
fn cast(column: &'static str, value: Expr, json: &[String]) -> Expr {
    if json.iter().any(|name| name == column) { value.cast_as("JSONB") } else { value }
}

fn values(row: &WebhookRow) -> [Expr; 18] {
    [
        row.tenant_id.as_str().into(),
        row.name.as_str().into(),
        row.url.as_str().into(),
        row.events.as_str().into(),
        row.secret.clone().into(),
        row.is_active.into(),
        row.description.clone().into(),
        row.headers.clone().into(),
        row.ed25519_seed.clone().into(),
        row.previous_secrets.clone().into(),
        row.retry_count.into(),
        row.timeout_s.into(),
        row.rate_limit.into(),
        row.ordering.clone().into(),
        row.chain.clone().into(),
        row.disabled_reason.clone().into(),
        row.created_ms.into(),
        row.updated_ms.into(),
    ]
}

/// Another program may have written values of any kind: SQLite's columns take them.
fn read(row: &Row) -> Result<Result<WebhookRow, UnreadableRow>, sqlx::Error> {
    let id = WebhookId(row.get("id")?);
    let read = || {
        Ok(WebhookRow {
            id,
            tenant_id: row.get("tenant_id")?,
            name: row.get("name")?,
            url: row.get("url")?,
            events: row.get("events")?,
            secret: row.get("secret")?,
            is_active: row.get::<i64>("is_active")? != 0,
            description: row.get("description")?,
            headers: row.get("headers")?,
            ed25519_seed: row.get("ed25519_seed")?,
            previous_secrets: row.get("previous_secrets")?,
            retry_count: row.get("retry_count")?,
            timeout_s: row.get("timeout_s")?,
            rate_limit: row.get("rate_limit")?,
            ordering: row.get("ordering")?,
            chain: row.get("chain")?,
            disabled_reason: row.get("disabled_reason")?,
            created_ms: row.get("created_ms")?,
            updated_ms: row.get("updated_ms")?,
        })
    };
    Ok(read().map_err(|error: sqlx::Error| UnreadableRow { id, reason: error.to_string() }))
}
