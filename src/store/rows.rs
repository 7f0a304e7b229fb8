//! Helpers shared by the statements: running what the query builder made, and splitting rows into few statement sizes.

use sea_query::{Expr, SqliteQueryBuilder};
use sea_query_sqlx::SqlxBinder;
use sqlx::{AssertSqlSafe, Executor, Sqlite, sqlite::SqliteRow};

/// # Errors
/// What the database says.
pub async fn execute<'e>(
    statement: &impl SqlxBinder,
    on: impl Executor<'e, Database = Sqlite>,
) -> Result<u64, sqlx::Error> {
    let (sql, values) = statement.build_sqlx(SqliteQueryBuilder);
    // Built by the query builder from constant names; every value is bound.
    Ok(sqlx::query_with(AssertSqlSafe(sql), values).execute(on).await?.rows_affected())
}

/// # Errors
/// What the database says.
pub async fn fetch<'e>(
    statement: &impl SqlxBinder,
    on: impl Executor<'e, Database = Sqlite>,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let (sql, values) = statement.build_sqlx(SqliteQueryBuilder);
    // As above.
    sqlx::query_with(AssertSqlSafe(sql), values).fetch_all(on).await
}

/// Pending deliveries come in two ranges of the index `jf_deliveries_pending`: asked for together, it is scanned whole.
/// Those in some memory are few.
pub fn leased() -> Expr {
    Expr::cust("state = 'pending' AND lease_owner IS NOT NULL")
}

pub fn unleased() -> Expr {
    Expr::cust("state = 'pending' AND lease_owner IS NULL")
}

/// Cuts rows into few pieces of few lengths: each piece is a visit to the database's thread, and each length another
/// statement to be kept prepared. Up to 64 rows go in one piece.
pub fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let len = match rows.len() {
            few @ ..=64 => few,
            65..128 => 64,
            128..256 => 128,
            _ => 256,
        };
        let (piece, rest) = rows.split_at(len);
        rows = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_and_cover_all() {
        let rows: Vec<u32> = (0..715).collect();
        let lengths: Vec<_> = pieces(&rows).map(<[u32]>::len).collect();
        assert_eq!(lengths, [256, 256, 128, 64, 11]);
        assert_eq!(pieces(&rows).flatten().copied().collect::<Vec<_>>(), rows);
    }
}
