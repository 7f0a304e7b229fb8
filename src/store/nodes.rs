//! The nodes that share a database. Each lets a counter grow while it lives; who watches one stand still takes over what
//! it held. No clock is compared with another machine's.

use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    Store, StoreError,
    sql::{execute, fetch, insert_new},
};
use crate::event::now_ms;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    pub id: String,
    pub slot: i64,
    /// Grows while the node lives.
    pub beat: i64,
}

impl Store {
    /// Enters a node with the lowest number that is free.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn enter_node(&self, node: &str) -> Result<i64, StoreError> {
        let slot = self
            .write(node.to_owned(), |connection, node| {
                Box::pin(async move {
                    loop {
                        let mut select = Query::select();
                        select.column("slot").from("jf_nodes").order_by("slot", Order::Asc);
                        let mut slot = 0;
                        for row in fetch(&select, connection).await? {
                            if row.get::<i64>("slot")? == slot {
                                slot += 1;
                            }
                        }
                        let mut insert = Query::insert();
                        insert.into_table("jf_nodes").columns(["id", "slot", "started_ms"]).values_panic([
                            node.as_str().into(),
                            slot.into(),
                            now_ms().into(),
                        ]);
                        // None: another node took the number in this moment.
                        if insert_new(&mut insert, connection).await? == 1 {
                            return Ok(slot);
                        }
                    }
                })
            })
            .await?;
        self.set_slot(slot);
        Ok(slot)
    }

    /// Lets the node's counter grow; false when the node was declared dead.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn beat(&self, node: &str) -> Result<bool, StoreError> {
        self.write(node.to_owned(), |connection, node| {
            Box::pin(async move {
                let mut update = Query::update();
                update
                    .table("jf_nodes")
                    .value("beat", Expr::col("beat").add(1_i64))
                    .and_where(Expr::col("id").eq(node.as_str()));
                Ok(execute(&update, connection).await? == 1)
            })
        })
        .await
    }

    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let mut select = Query::select();
        select.columns(["id", "slot", "beat"]).from("jf_nodes").order_by("slot", Order::Asc);
        let rows = self.read(&select).await?;
        let read =
            |row: &super::sql::Row| Ok(NodeRow { id: row.get("id")?, slot: row.get("slot")?, beat: row.get("beat")? });
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Whoever holds leases, node or not: one that was taken for dead wrongly takes more until it finds out. A step through
    /// the index `jf_deliveries_leased` for each.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lease_owners(&self) -> Result<Vec<String>, StoreError> {
        let mut owners: Vec<String> = Vec::new();
        loop {
            let mut select = Query::select();
            select
                .column("lease_owner")
                .from("jf_deliveries")
                .and_where(Expr::col("lease_owner").gt(owners.last().map_or("", String::as_str)))
                .order_by("lease_owner", Order::Asc)
                .limit(1);
            match self.read(&select).await?.first() {
                Some(row) => owners.push(row.get("lease_owner")?),
                None => return Ok(owners),
            }
        }
    }

    /// Buries a node that stands still, or that stops: it is no more, and what it held is free. None when it has moved
    /// since.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn bury(&self, node: NodeRow) -> Result<Option<u64>, StoreError> {
        self.write(node, |connection, node| {
            Box::pin(async move {
                let mut delete = Query::delete();
                delete
                    .from_table("jf_nodes")
                    .and_where(Expr::col("id").eq(node.id.as_str()))
                    .and_where(Expr::col("beat").eq(node.beat));
                if execute(&delete, connection).await? == 0 {
                    return Ok(None);
                }
                let released = super::queue::release_all_of(connection, &node.id).await?;
                Ok(Some(released))
            })
        })
        .await
    }

    /// Buries every node: on a file that is one server's alone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn bury_all(&self) -> Result<u64, StoreError> {
        for node in self.nodes().await? {
            self.bury(node).await?;
        }
        self.release_all_leases().await
    }
}
