//! The table `webhooks`: made here, or adopted where another program has made one already. Adopting adds columns and
//! changes none; what cannot be adopted is refused by name.

use sea_query::{Expr, ExprTrait, Query};

use super::sql::{Connection, Dialect, fetch};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Flag,
    Text,
    /// A text, or the database's own JSON.
    Json,
}

struct Column {
    name: &'static str,
    kind: Kind,
    /// Behind the type; none: the other program must have it.
    added_with: Option<&'static str>,
}

const fn own(name: &'static str, kind: Kind, added_with: &'static str) -> Column {
    Column { name, kind, added_with: Some(added_with) }
}

const fn shared(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, added_with: None }
}

const COLUMNS: [Column; 19] = [
    shared("id", Kind::Number),
    shared("tenant_id", Kind::Text),
    shared("name", Kind::Text),
    shared("url", Kind::Text),
    shared("events", Kind::Json),
    shared("secret", Kind::Text),
    shared("is_active", Kind::Flag),
    own("description", Kind::Text, ""),
    own("headers", Kind::Json, ""),
    own("ed25519_seed", Kind::Text, ""),
    own("previous_secrets", Kind::Text, ""),
    own("retry_count", Kind::Number, " NOT NULL DEFAULT 8"),
    own("timeout_s", Kind::Number, " NOT NULL DEFAULT 30"),
    own("rate_limit", Kind::Number, ""),
    own("ordering", Kind::Text, ""),
    own("chain", Kind::Json, ""),
    own("disabled_reason", Kind::Text, ""),
    own("created_ms", Kind::Number, " NOT NULL DEFAULT 0"),
    own("updated_ms", Kind::Number, " NOT NULL DEFAULT 0"),
];

/// A column as the database describes it.
struct Found {
    name: String,
    /// Lower case.
    data_type: String,
    /// A row without it cannot be inserted.
    required: bool,
}

/// Makes the table, or adds what is missing to the one that is there.
///
/// # Errors
/// The outer one is the database's; the inner one names the difference that stands in the way.
pub async fn adopt_webhooks(connection: &mut Connection) -> Result<Result<(), String>, sqlx::Error> {
    let dialect = connection.dialect();
    let mut found = columns(connection).await?;
    if found.is_empty() {
        connection.control(create(dialect)).await?;
        found = columns(connection).await?;
    }
    let by_name = |name: &str| found.iter().find(|column| column.name == name);
    let mut differences = Vec::new();
    for column in &COLUMNS {
        match by_name(column.name) {
            None if column.added_with.is_none() => differences.push(format!("it lacks the column {}", column.name)),
            Some(there) if !fits(dialect, column.kind, &there.data_type) => {
                let (name, is) = (column.name, &there.data_type);
                differences.push(format!("its column {name} is {is}, and {} is needed", needed(dialect, column.kind)));
            }
            _ => {}
        }
    }
    let is_ours = |name: &str| COLUMNS.iter().any(|column| column.name == name);
    let in_the_way = found.iter().filter(|column| column.required && !is_ours(&column.name));
    differences.extend(in_the_way.map(|column| {
        format!("its column {} must be given and has no default, so that no row can be added without it", column.name)
    }));
    if !differences.is_empty() {
        let differences = differences.join("; ");
        return Ok(Err(format!(
            "the table webhooks cannot be adopted: {differences}. Change it, or use another database"
        )));
    }
    for column in COLUMNS.iter().filter(|column| by_name(column.name).is_none()) {
        let added_with = column.added_with.unwrap_or_default();
        let sql =
            format!("ALTER TABLE webhooks ADD COLUMN {} {}{added_with}", column.name, type_of(dialect, column.kind));
        if let Err(error) = connection.run_sql(sql).await
            // Another node may have added it in this moment.
            && !columns(connection).await?.iter().any(|there| there.name == column.name)
        {
            return Err(error);
        }
    }
    Ok(Ok(()))
}

/// SQLite's first migration makes the table: one that another program made stands aside for it, and comes back.
pub async fn step_aside(connection: &mut Connection) -> Result<(), sqlx::Error> {
    let is_foreign = !columns(connection).await?.is_empty() && !has_table(connection, "_sqlx_migrations").await?;
    if is_foreign {
        connection.control("ALTER TABLE webhooks RENAME TO jf_adopted_webhooks").await?;
    }
    Ok(())
}

/// What [`step_aside`] took away; also after a crash in between.
pub async fn come_back(connection: &mut Connection) -> Result<(), sqlx::Error> {
    if has_table(connection, "jf_adopted_webhooks").await? {
        connection
            .control(
                "BEGIN IMMEDIATE; DROP TABLE webhooks; ALTER TABLE jf_adopted_webhooks RENAME TO webhooks; \
                 CREATE INDEX IF NOT EXISTS webhooks_tenant ON webhooks (tenant_id, id); COMMIT",
            )
            .await?;
    }
    Ok(())
}

async fn has_table(connection: &mut Connection, name: &'static str) -> Result<bool, sqlx::Error> {
    let mut select = Query::select();
    select.column("name").from("sqlite_master").and_where(Expr::col("name").eq(name));
    Ok(!fetch(&select, connection).await?.is_empty())
}

async fn columns(connection: &mut Connection) -> Result<Vec<Found>, sqlx::Error> {
    let dialect = connection.dialect();
    let mut select = Query::select();
    match dialect {
        Dialect::Sqlite => {
            let required = Expr::cust("\"notnull\" = 1 AND dflt_value IS NULL AND pk = 0");
            select
                .column("name")
                .expr_as(Expr::cust("lower(type)"), "data_type")
                .expr_as(required, "required")
                .from_function(sea_query::Func::cust("pragma_table_info").arg("webhooks"), "columns");
        }
        Dialect::MySql => {
            let required = "IS_NULLABLE = 'NO' AND COLUMN_DEFAULT IS NULL AND EXTRA NOT LIKE '%auto_increment%' \
                            AND EXTRA NOT LIKE '%GENERATED%'";
            select
                .expr_as(Expr::cust("LOWER(COLUMN_NAME)"), "name")
                .expr_as(Expr::cust("LOWER(DATA_TYPE)"), "data_type")
                .expr_as(Expr::cust(required), "required")
                .from(("information_schema", "COLUMNS"))
                .and_where(Expr::cust("TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'webhooks'"));
        }
        Dialect::Postgres => {
            let required =
                "is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO' AND is_generated = 'NEVER'";
            select
                .expr_as(Expr::cust("CAST(column_name AS TEXT)"), "name")
                .expr_as(Expr::cust("CAST(data_type AS TEXT)"), "data_type")
                .expr_as(Expr::cust(required), "required")
                .from(("information_schema", "columns"))
                .and_where(Expr::cust("table_schema = current_schema() AND table_name = 'webhooks'"));
        }
    }
    fetch(&select, connection)
        .await?
        .iter()
        .map(|row| {
            Ok(Found { name: row.get("name")?, data_type: row.get("data_type")?, required: row.get("required")? })
        })
        .collect()
}

fn fits(dialect: Dialect, kind: Kind, data_type: &str) -> bool {
    let integer = ["tinyint", "smallint", "mediumint", "int", "integer", "bigint"].contains(&data_type);
    match (dialect, kind) {
        // A column takes values of any kind there: each row is looked at when it is read.
        (Dialect::Sqlite, _) => true,
        (_, Kind::Number) | (Dialect::MySql, Kind::Flag) => integer,
        (Dialect::Postgres, Kind::Flag) => data_type == "boolean",
        (_, Kind::Json) if is_json(data_type) => true,
        (Dialect::MySql, _) => data_type.ends_with("text") || data_type.ends_with("char") || data_type == "enum",
        (Dialect::Postgres, _) => ["text", "character varying", "character"].contains(&data_type),
    }
}

fn needed(dialect: Dialect, kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "an integer",
        Kind::Flag if dialect == Dialect::Postgres => "a boolean",
        Kind::Flag => "an integer or boolean",
        Kind::Text => "a text",
        Kind::Json => "a text or JSON",
    }
}

fn is_json(data_type: &str) -> bool {
    ["json", "jsonb"].contains(&data_type)
}

/// The columns into which Postgres takes no text: what is written there is to be cast.
pub async fn json_columns(connection: &mut Connection) -> Result<Vec<String>, sqlx::Error> {
    if connection.dialect() != Dialect::Postgres {
        return Ok(Vec::new());
    }
    let found = columns(connection).await?.into_iter();
    Ok(found.filter(|column| is_json(&column.data_type)).map(|column| column.name).collect())
}

fn type_of(dialect: Dialect, kind: Kind) -> &'static str {
    match (dialect, kind) {
        (Dialect::Sqlite, Kind::Number | Kind::Flag) => "INTEGER",
        (_, Kind::Number) => "BIGINT",
        (_, Kind::Flag) => "BOOLEAN",
        (Dialect::MySql, _) => "MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        _ => "TEXT",
    }
}

/// Only what other programs may count on: the other columns are added as in any table.
fn create(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "CREATE TABLE webhooks (id INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id TEXT NOT NULL, name TEXT NOT NULL, \
             url TEXT NOT NULL, events TEXT NOT NULL, secret TEXT, is_active INTEGER NOT NULL DEFAULT 1)"
        }
        Dialect::MySql => {
            "CREATE TABLE IF NOT EXISTS webhooks (id BIGINT AUTO_INCREMENT PRIMARY KEY, \
             tenant_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, name VARCHAR(255) NOT NULL, \
             url TEXT NOT NULL, events TEXT NOT NULL, secret TEXT, is_active BOOLEAN NOT NULL DEFAULT TRUE, \
             INDEX webhooks_tenant (tenant_id, id)) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4"
        }
        Dialect::Postgres => {
            "CREATE TABLE IF NOT EXISTS webhooks (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, \
             tenant_id TEXT NOT NULL, name TEXT NOT NULL, url TEXT NOT NULL, events TEXT NOT NULL, secret TEXT, \
             is_active BOOLEAN NOT NULL DEFAULT TRUE)"
        }
    }
}
