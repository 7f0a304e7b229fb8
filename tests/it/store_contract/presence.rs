//! Generations of presence: they grow with the events that announce them, and by nothing else.

use crate::support::store::{announce, open, tenant, user, who};
use crate::support::{Database, on_every_database};
use jackfield::event::{EventId, TenantId, UserId};
use jackfield::store::{Announces, Store};

on_every_database! { relaxed:
    an_event_and_its_generation_are_one,
    a_generation_moves_on_from_where_it_was_read_alone,
    whoever_is_announced_online_is_found_page_by_page,
    users_that_a_collation_folds_into_one_are_announced_apart,
    a_database_has_one_id_for_ever,
}

fn id(text: &str) -> EventId {
    EventId::parse(text).expect("a test's id keeps the rule")
}

fn from(name: &str, from: i64) -> Announces {
    Announces { user: user(name), from }
}

async fn generation(store: &Store, who: &(TenantId, UserId)) -> Option<i64> {
    store.announced(std::slice::from_ref(who)).await.expect("the database answers").remove(who)
}

async fn an_event_and_its_generation_are_one(database: Database) {
    let (store, task) = open(&database).await;
    let (acme, kim) = (tenant("acme"), who("acme", "kim"));
    assert_eq!(generation(&store, &kim).await, None);
    let online = |store: Store| async move {
        announce(&store, &tenant("acme"), &id("e1"), "agent.presence.online", from("kim", 0)).await
    };
    // Two nodes that say the same.
    let both = tokio::join!(online(store.clone()), online(store.clone()));
    let both = [both.0.expect("it is written"), both.1.expect("it is written")];
    assert!(both.contains(&true) && both.contains(&false), "one of them is a duplicate: {both:?}");
    assert_eq!(generation(&store, &kim).await, Some(1));
    let offline = announce(&store, &acme, &id("e2"), "agent.presence.offline", from("kim", 1)).await;
    assert!(offline.expect("it is written"));
    // A node that was away says again what it said long ago.
    assert!(!online(store.clone()).await.expect("it is answered"), "a duplicate");
    assert_eq!(generation(&store, &kim).await, Some(2));
    assert_eq!(generation(&store, &who("other", "kim")).await, None);
    task.close(&store).await;
}

async fn a_generation_moves_on_from_where_it_was_read_alone(database: Database) {
    let (store, task) = open(&database).await;
    let note = |list: Vec<(&'static str, i64)>| {
        let list = list.into_iter().map(|(name, generation)| (tenant("acme"), from(name, generation))).collect();
        let store = store.clone();
        async move { store.note_announced(list).await.expect("it is written") }
    };
    note(vec![("kim", 0), ("sam", 0), ("kim", 0)]).await;
    note(vec![("kim", 1), ("sam", 0)]).await;
    note(vec![("kim", 0)]).await;
    assert_eq!(generation(&store, &who("acme", "kim")).await, Some(2));
    assert_eq!(generation(&store, &who("acme", "sam")).await, Some(1));
    note(Vec::new()).await;
    task.close(&store).await;
}

async fn whoever_is_announced_online_is_found_page_by_page(database: Database) {
    let (store, task) = open(&database).await;
    let (mut all, mut online) = (Vec::new(), Vec::new());
    for tenant_name in ["acme", "Acme", "acme-2"] {
        for n in 0..150 {
            let one = who(tenant_name, &format!("user {n}"));
            // Of three one is offline again.
            all.push((one.0.clone(), Announces { user: one.1.clone(), from: i64::from(n % 3 == 0) }));
            if n % 3 != 0 {
                online.push(one);
            }
        }
    }
    store.note_announced(all.clone()).await.expect("they are written");
    let users: Vec<_> = all.iter().map(|(tenant, one)| (tenant.clone(), one.user.clone())).collect();
    assert_eq!(store.announced(&users).await.expect("the database answers").len(), 450);
    online.sort();
    let mut found = Vec::new();
    loop {
        let page = store.announced_online(found.last(), 64).await.expect("the database answers");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 64);
        found.extend(page);
    }
    assert_eq!(found, online, "each once, in order");
    task.close(&store).await;
    let select = "SELECT tenant_id, user_id FROM jf_presence WHERE is_online = 1 ORDER BY tenant_id, user_id LIMIT 64";
    let plan = database.plan(select).await.join("\n");
    // A small table is read whole by Postgres, whatever there is.
    let is_read_whole = plan.contains("Seq Scan");
    assert!(is_read_whole || plan.contains("jf_presence_online"), "{plan}");
}

async fn users_that_a_collation_folds_into_one_are_announced_apart(database: Database) {
    let (store, task) = open(&database).await;
    let users = ["kim", "Kim", "kim ", "kím", "kim\u{200b}"];
    let list = users.iter().zip(0..).map(|(name, n)| (tenant("acme"), from(name, n))).collect();
    store.note_announced(list).await.expect("they are written");
    for (name, n) in users.iter().zip(1..) {
        assert_eq!(generation(&store, &who("acme", name)).await, Some(n), "{name:?}");
    }
    let longest = "🧑".repeat(256);
    store.note_announced(vec![(tenant(&"t".repeat(64)), from(&longest, 4))]).await.expect("it is written");
    assert_eq!(generation(&store, &who(&"t".repeat(64), &longest)).await, Some(5));
    task.close(&store).await;
}

async fn a_database_has_one_id_for_ever(database: Database) {
    let (store, task) = open(&database).await;
    let ids = tokio::join!(store.database_id(), store.database_id());
    let first = ids.0.expect("the database answers");
    assert_eq!(ids.1.expect("the database answers"), first);
    assert_eq!(first.len(), 32);
    task.close(&store).await;
    let (store, task) = open(&database).await;
    assert_eq!(store.database_id().await.expect("the database answers"), first);
    task.close(&store).await;
}
