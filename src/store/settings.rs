//! What the server made for itself and all its nodes share, by name.

use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{
    Store, StoreError,
    sql::{execute, fetch, insert_new},
};

impl Store {
    /// The value under a name; where there is none, `new` becomes it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn setting(&self, name: &'static str, new: String) -> Result<String, StoreError> {
        self.write(new, move |connection, new| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_settings")
                    .columns(["name", "value"])
                    .values_panic([Expr::from(name), new.as_str().into()]);
                insert_new(&mut insert, &mut *connection).await?;
                let mut select = Query::select();
                select.column("value").from("jf_settings").and_where(Expr::col("name").eq(name));
                let rows = fetch(&select, &mut *connection).await?;
                rows.first().map_or_else(|| Ok(new.clone()), |row| row.get("value"))
            })
        })
        .await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn put_setting(&self, name: &'static str, value: String) -> Result<(), StoreError> {
        self.write(value, move |connection, value| {
            Box::pin(async move {
                let mut insert = Query::insert();
                insert
                    .into_table("jf_settings")
                    .columns(["name", "value"])
                    .values_panic([Expr::from(name), value.as_str().into()])
                    .on_conflict(OnConflict::column("name").update_column("value").to_owned());
                execute(&insert, connection).await.map(|_| ())
            })
        })
        .await
    }
}
