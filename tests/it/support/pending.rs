//! Many rows that wait, without the time that publishing them takes; and how the server asks for them. Benchmarks include
//! this file too.

use super::databases::{Database, Kind};

/// The claim's look for what is due, as the server asks it.
pub fn claim(kind: Kind) -> String {
    let webhook = if kind == Kind::MariaDb { "waiting_webhook" } else { "webhook_id" };
    format!(
        "SELECT id FROM jf_deliveries WHERE {webhook} = 2 AND lane = 0 AND due_ms <= 9999999999999 ORDER BY due_ms LIMIT 200"
    )
}

/// Rows as the server writes them: one event each, due now.
pub async fn fill(database: &Database, name: &str, webhook: i64, lane: i64, count: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let (numbers, digits) = match database.kind() {
        Kind::Sqlite => (
            format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})"),
            "printf('%018d', n)",
        ),
        Kind::MariaDb => (format!("WITH s AS (SELECT seq AS n FROM seq_1_to_{count})"), "LPAD(n, 18, '0')"),
        Kind::Postgres => {
            (format!("WITH s AS (SELECT n FROM generate_series(1, {count}) AS g(n))"), "LPAD(CAST(n AS TEXT), 18, '0')")
        }
    };
    let id = |prefix: &str| match database.kind() {
        Kind::MariaDb => format!("CONCAT('{prefix}', '{name}', {digits})"),
        _ => format!("'{prefix}' || '{name}' || {digits}"),
    };
    // MySQL wants the numbers behind the insert, and the others take them there.
    database
        .execute(&format!(
            "INSERT INTO jf_events (tenant_id, id, type, timestamp_ms, data) {numbers} \
             SELECT 'bench', {}, '{name}', {now}, '{{\"n\":\"1\"}}' FROM s",
            id("evt_")
        ))
        .await;
    database
        .execute(&format!(
            "INSERT INTO jf_deliveries (id, tenant_id, webhook_id, event_id, event_type, attempts, lane, due_ms, created_ms) \
             {numbers} SELECT {}, 'bench', {webhook}, {}, '{name}', {lane}, {lane}, {now} - 1000, {now} FROM s",
            id("dlv_"),
            id("evt_")
        ))
        .await;
    if database.kind() == Kind::Postgres {
        database.execute("ANALYZE").await;
    }
}
