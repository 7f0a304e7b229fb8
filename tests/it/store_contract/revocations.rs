//! Revocations: the latest of each user, and none of anybody else.

use crate::support::store::{open, tenant, user};
use crate::support::{Database, on_every_database};
use jackfield::store::{Revocation, Store};

on_every_database! { relaxed:
    of_two_revocations_the_later_one_counts_in_whichever_order,
    users_that_a_collation_folds_into_one_are_revoked_apart,
}

fn revocation(tenant_name: &str, user_name: &str, before_s: i64) -> Revocation {
    Revocation { tenant: tenant(tenant_name), user: user(user_name), before_s }
}

async fn all(store: &Store) -> Vec<Revocation> {
    let mut all = store.revocations().await.expect("the database answers");
    all.sort_by_key(|revocation| (revocation.before_s, revocation.user.clone()));
    all
}

async fn put(store: &Store, revocation: Revocation) {
    store.put_revocation(revocation).await.expect("it is written");
}

async fn of_two_revocations_the_later_one_counts_in_whichever_order(database: Database) {
    let (store, task) = open(&database).await;
    for before_s in [1_000, 2_000, 1_500, 2_000] {
        put(&store, revocation("acme", "kim", before_s)).await;
    }
    put(&store, revocation("other", "kim", 500)).await;
    assert_eq!(all(&store).await, [revocation("other", "kim", 500), revocation("acme", "kim", 2_000)]);
    task.close(&store).await;
}

async fn users_that_a_collation_folds_into_one_are_revoked_apart(database: Database) {
    let (store, task) = open(&database).await;
    let long = "é".repeat(256);
    let names = ["kim", "KIM", "kím", "kim ", &long];
    for (n, name) in names.iter().enumerate() {
        put(&store, revocation("acme", name, n as i64)).await;
    }
    let found: Vec<String> = all(&store).await.iter().map(|one| one.user.to_string()).collect();
    assert_eq!(found, names);
    task.close(&store).await;
}
