//! One statement, three dialects: what the query builder made is rendered for the database at hand and run there. Nothing
//! here knows a table.

use sea_query::{
    Expr, ExprTrait, Func, InsertStatement, MysqlQueryBuilder, OnConflict, PostgresQueryBuilder, Query,
    SelectStatement, SqliteQueryBuilder,
};
use sea_query_sqlx::{SqlxBinder, SqlxValues};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection as _, Decode, MySql, MySqlConnection, MySqlPool, PgConnection, PgPool,
    Postgres, Row as _, Sqlite, SqliteConnection, SqlitePool, Type, mysql::MySqlRow, postgres::PgRow,
    sqlite::SqliteRow,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    /// MySQL and MariaDB.
    MySql,
    Postgres,
}

pub enum Connection {
    Sqlite(SqliteConnection),
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

#[derive(Clone)]
pub enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

pub enum Row {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
    Postgres(PgRow),
}

/// Runs an expression once for each database, with `$inner` bound to what is inside.
macro_rules! on_each {
    ($on:expr, $kind:ident :: $inner:ident => $run:expr) => {
        match $on {
            $kind::Sqlite($inner) => $run,
            $kind::MySql($inner) => $run,
            $kind::Postgres($inner) => $run,
        }
    };
}

impl Dialect {
    fn render(self, statement: &impl SqlxBinder) -> (String, SqlxValues) {
        match self {
            Self::Sqlite => statement.build_sqlx(SqliteQueryBuilder),
            Self::MySql => statement.build_sqlx(MysqlQueryBuilder),
            Self::Postgres => statement.build_sqlx(PostgresQueryBuilder),
        }
    }

    /// In the update of an upsert: the value that the insert brought.
    pub fn excluded(self, column: &'static str) -> Expr {
        match self {
            Self::MySql => Func::cust("VALUES").arg(Expr::col(column)).into(),
            _ => Expr::col(("excluded", column)),
        }
    }
}

impl Connection {
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::MySql(_) => Dialect::MySql,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Opens a transaction that may write.
    pub async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let begin = match self.dialect() {
            // The lock is taken now, not at the first write, when it could no longer be waited for.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::MySql => "START TRANSACTION",
            Dialect::Postgres => "BEGIN",
        };
        self.control(begin).await
    }

    /// A statement without values: transactions, savepoints, session settings.
    pub async fn control(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        // Not prepared: MySQL prepares no savepoints.
        on_each!(self, Self::connection => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()))
    }

    /// A statement made of this crate's own names.
    pub async fn run_sql(&mut self, sql: String) -> Result<(), sqlx::Error> {
        on_each!(self, Self::connection => sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ()))
    }

    pub async fn ping(&mut self) -> Result<(), sqlx::Error> {
        on_each!(self, Self::connection => connection.ping().await)
    }

    pub async fn close(self) -> Result<(), sqlx::Error> {
        on_each!(self, Self::connection => connection.close().await)
    }
}

impl Pool {
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::MySql(_) => Dialect::MySql,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub async fn fetch(&self, statement: &impl SqlxBinder) -> Result<Vec<Row>, sqlx::Error> {
        let (sql, values) = self.dialect().render(statement);
        // Built by the query builder from constant names; every value is bound.
        let sql = AssertSqlSafe(sql);
        Ok(match self {
            Self::Sqlite(pool) => rows(sqlx::query_with(sql, values).fetch_all(pool).await?, Row::Sqlite),
            Self::MySql(pool) => rows(sqlx::query_with(sql, values).fetch_all(pool).await?, Row::MySql),
            Self::Postgres(pool) => rows(sqlx::query_with(sql, values).fetch_all(pool).await?, Row::Postgres),
        })
    }

    pub async fn close(&self) {
        on_each!(self, Self::pool => pool.close().await);
    }
}

fn rows<R>(rows: Vec<R>, kind: fn(R) -> Row) -> Vec<Row> {
    rows.into_iter().map(kind).collect()
}

/// Runs a statement and tells how many rows it touched.
pub async fn execute(statement: &impl SqlxBinder, on: &mut Connection) -> Result<u64, sqlx::Error> {
    let (sql, values) = on.dialect().render(statement);
    run(sql, values, on).await.map(|done| done.rows)
}

struct Done {
    rows: u64,
    last_id: i64,
}

async fn run(sql: String, values: SqlxValues, on: &mut Connection) -> Result<Done, sqlx::Error> {
    let sql = AssertSqlSafe(sql);
    Ok(match on {
        Connection::Sqlite(connection) => {
            let done = sqlx::query_with(sql, values).execute(connection).await?;
            Done { rows: done.rows_affected(), last_id: done.last_insert_rowid() }
        }
        Connection::MySql(connection) => {
            let done = sqlx::query_with(sql, values).execute(connection).await?;
            Done { rows: done.rows_affected(), last_id: done.last_insert_id().cast_signed() }
        }
        Connection::Postgres(connection) => {
            let done = sqlx::query_with(sql, values).execute(connection).await?;
            Done { rows: done.rows_affected(), last_id: 0 }
        }
    })
}

pub async fn fetch(statement: &impl SqlxBinder, on: &mut Connection) -> Result<Vec<Row>, sqlx::Error> {
    let (sql, values) = on.dialect().render(statement);
    let sql = AssertSqlSafe(sql);
    Ok(match on {
        Connection::Sqlite(on) => rows(sqlx::query_with(sql, values).fetch_all(on).await?, Row::Sqlite),
        Connection::MySql(on) => rows(sqlx::query_with(sql, values).fetch_all(on).await?, Row::MySql),
        Connection::Postgres(on) => rows(sqlx::query_with(sql, values).fetch_all(on).await?, Row::Postgres),
    })
}

/// Inserts the rows that no unique index speaks against, and tells how many those were.
pub async fn insert_new(insert: &mut InsertStatement, on: &mut Connection) -> Result<u64, sqlx::Error> {
    let dialect = on.dialect();
    let (sql, values) = match dialect {
        // Lengths and kinds were checked before: nothing else is there to be ignored.
        Dialect::MySql => {
            let (sql, values) = dialect.render(insert);
            (sql.replacen("INSERT INTO", "INSERT IGNORE INTO", 1), values)
        }
        _ => dialect.render(insert.on_conflict(OnConflict::new().do_nothing().to_owned())),
    };
    run(sql, values, on).await.map(|done| done.rows)
}

/// Inserts one row and answers the `id` that the database gave it.
pub async fn insert_for_id(insert: &mut InsertStatement, on: &mut Connection) -> Result<i64, sqlx::Error> {
    let dialect = on.dialect();
    if dialect != Dialect::Postgres {
        let (sql, values) = dialect.render(insert);
        return run(sql, values, on).await.map(|done| done.last_id);
    }
    // Another program's ids may be narrower.
    let id = Query::returning().expr(Expr::col("id").cast_as("BIGINT"));
    let rows = fetch(insert.returning(id), on).await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.get(0)
}

/// Locks what a select finds until the transaction ends, and leaves out what others have locked.
pub fn skip_locked(select: &mut SelectStatement) -> &mut SelectStatement {
    select.lock_with_behavior(sea_query::LockType::Update, sea_query::LockBehavior::SkipLocked)
}

/// What a column may be read as from any of the databases.
pub trait Column:
    for<'r> Decode<'r, Sqlite>
    + Type<Sqlite>
    + for<'r> Decode<'r, MySql>
    + Type<MySql>
    + for<'r> Decode<'r, Postgres>
    + Type<Postgres>
{
}

impl<T> Column for T where
    T: for<'r> Decode<'r, Sqlite>
        + Type<Sqlite>
        + for<'r> Decode<'r, MySql>
        + Type<MySql>
        + for<'r> Decode<'r, Postgres>
        + Type<Postgres>
{
}

impl Row {
    /// # Errors
    /// No such column, or a value of another kind: another program may have written it.
    pub fn get<T: Column>(
        &self,
        column: impl ColumnIndex<SqliteRow> + ColumnIndex<MySqlRow> + ColumnIndex<PgRow>,
    ) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            // Ids are bytes there, or their collation would take `A` for `a` and `a ` for `a`.
            Self::MySql(row) => row.try_get_unchecked(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A count that fits 32 bits.
    pub fn get_u32(&self, column: &str) -> Result<u32, sqlx::Error> {
        Ok(u32::try_from(self.get::<i64>(column)?).unwrap_or(u32::MAX))
    }
}

/// Postgres takes no NUL in text. What comes from receivers and plugins may have one.
pub fn text(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}

/// Cuts rows into few pieces of few lengths: each piece is a visit to the database, and each length another statement to
/// be kept prepared, of which a batch of every length would need many. Up to 16 rows go in one piece.
pub fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let len = match rows.len() {
            few @ ..=16 => few,
            17..32 => 16,
            32..64 => 32,
            64..128 => 64,
            128..256 => 128,
            _ => 256,
        };
        let (piece, rest) = rows.split_at(len);
        rows = rest;
        Some(piece)
    })
}

/// Of one statement's data: beyond it, few rows go together.
const MAX_STATEMENT_BYTES: usize = 2 << 20;

/// Pieces that are small enough for one statement: MySQL's packet is 16 MiB by default.
pub fn parts<T>(rows: &[T], bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let few = if rows.iter().map(bytes).sum::<usize>() > MAX_STATEMENT_BYTES { 8 } else { usize::MAX };
    pieces(rows).flat_map(move |piece| piece.chunks(few.min(piece.len())))
}

/// One expression that picks a value by id: many rows are changed in one visit.
pub fn by_id<'a>(values: impl Iterator<Item = (&'a str, i64)>) -> Expr {
    let mut case = sea_query::CaseStatement::new();
    for (id, value) in values {
        case = case.case(Expr::col("id").eq(id), Expr::val(value));
    }
    case.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_and_cover_all() {
        let rows: Vec<u32> = (0..715).collect();
        let lengths: Vec<_> = pieces(&rows).map(<[u32]>::len).collect();
        assert_eq!(lengths, [256, 256, 128, 64, 11]);
        assert_eq!(pieces(&rows[..63]).map(<[u32]>::len).collect::<Vec<_>>(), [32, 16, 15]);
        assert_eq!(pieces(&rows).flatten().copied().collect::<Vec<_>>(), rows);
    }
}
