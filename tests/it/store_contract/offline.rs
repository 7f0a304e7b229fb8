//! Lists of what users missed: in order, capped, gone some time after the last push; and the mailbox that writes them.

use crate::support::store::{open, tenant, user};
use crate::support::{Database, on_every_database};
use jackfield::event::EventType;
use jackfield::presence::{Mailbox, MailboxConfig};
use jackfield::store::{OfflineItem, Store};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

on_every_database! { relaxed:
    a_list_is_read_page_by_page_and_taken_out_by_ids,
    the_oldest_go_where_there_are_too_many_and_are_counted,
    a_list_ends_as_a_whole_after_its_last_push,
    lists_of_users_that_a_collation_folds_into_one_are_apart,
    lists_of_all_users_are_moved_oldest_first,
    pushes_at_once_share_transactions_and_keep_their_order,
    frames_of_many_mebibytes_are_kept_byte_for_byte,
}

const ALWAYS: i64 = 0;

fn item(tenant_name: &str, user_name: &str, frame: &str) -> OfflineItem {
    OfflineItem {
        tenant: tenant(tenant_name),
        user: user(user_name),
        event_type: EventType::parse("chat.message").expect("a type"),
        frame: frame.to_owned(),
        epoch: None,
        offset: None,
    }
}

async fn frames(store: &Store, tenant_name: &str, user_name: &str) -> Vec<String> {
    let rows = store.offline(&tenant(tenant_name), &user(user_name), 0, 10_000, ALWAYS).await;
    rows.expect("the database answers").into_iter().map(|row| row.item.frame).collect()
}

async fn a_list_is_read_page_by_page_and_taken_out_by_ids(database: Database) {
    let (store, task) = open(&database).await;
    let (acme, kim) = (tenant("acme"), user("kim"));
    let with_place = |n: u64| OfflineItem {
        epoch: Some("e73d82e9ff1f".to_owned()),
        offset: Some(n),
        ..item("acme", "kim", &format!("{{\"n\": {n}, \"text\": \"'☎' \\u0000\"}}"))
    };
    let items: Vec<_> = (0..30).map(with_place).collect();
    assert_eq!(store.push_offline(items.clone(), 1000, ALWAYS).await.expect("they are written"), 0);
    assert_eq!(store.count_offline(&acme, &kim, ALWAYS).await.expect("the database answers"), 30);
    let mut read = Vec::new();
    loop {
        let after = read.last().map_or(0, |row: &jackfield::store::OfflineRow| row.id);
        let page = store.offline(&acme, &kim, after, 7, ALWAYS).await.expect("the database answers");
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read.iter().map(|row| row.item.clone()).collect::<Vec<_>>(), items);
    assert!(read.iter().all(|row| row.at_ms > 1_700_000_000_000), "{read:?}");
    let ids: Vec<i64> = read[..20].iter().map(|row| row.id).collect();
    assert_eq!(store.remove_offline(ids.clone()).await.expect("they are taken out"), 20);
    assert_eq!(store.remove_offline(ids).await.expect("it is answered"), 0, "they are gone already");
    assert_eq!(store.count_offline(&acme, &kim, ALWAYS).await.expect("the database answers"), 10);
    assert_eq!(store.count_offline(&tenant("other"), &kim, ALWAYS).await.expect("the database answers"), 0);
    // Ids are not given twice, or what is taken out late would be another one.
    let rest = store.offline(&acme, &kim, 0, 100, ALWAYS).await.expect("the database answers");
    let last = rest.last().expect("ten are left").id;
    store.remove_offline(rest.iter().map(|row| row.id).collect()).await.expect("they are taken out");
    store.push_offline(vec![item("acme", "kim", "{}")], 1000, ALWAYS).await.expect("it is written");
    assert!(store.offline(&acme, &kim, 0, 1, ALWAYS).await.expect("the database answers")[0].id > last);
    task.close(&store).await;
}

async fn the_oldest_go_where_there_are_too_many_and_are_counted(database: Database) {
    let (store, task) = open(&database).await;
    let push = |items: Vec<OfflineItem>| {
        let store = store.clone();
        async move { store.push_offline(items, 5, ALWAYS).await.expect("they are written") }
    };
    let many =
        |user_name: &'static str, n: std::ops::Range<u32>| n.map(move |n| item("acme", user_name, &n.to_string()));
    assert_eq!(push(many("kim", 0..4).chain(many("sam", 0..2)).collect()).await, 0);
    assert_eq!(push(many("kim", 4..7).chain(many("lee", 0..9)).collect()).await, 2 + 4);
    assert_eq!(frames(&store, "acme", "kim").await, ["2", "3", "4", "5", "6"]);
    assert_eq!(frames(&store, "acme", "sam").await, ["0", "1"]);
    assert_eq!(frames(&store, "acme", "lee").await, ["4", "5", "6", "7", "8"]);
    assert_eq!(push(Vec::new()).await, 0);
    task.close(&store).await;
}

async fn a_list_ends_as_a_whole_after_its_last_push(database: Database) {
    let (store, task) = open(&database).await;
    for name in ["kim", "sam", "lee"] {
        let items = (0..3).map(|n| item("acme", name, &n.to_string())).collect();
        store.push_offline(items, 1000, ALWAYS).await.expect("they are written");
    }
    // kim's are old, sam's but for the last, lee's are young.
    database
        .execute("UPDATE jf_offline SET at_ms = 1000 WHERE user_id = 'kim' OR (user_id = 'sam' AND frame <> '2')")
        .await;
    let since = 2000;
    let (acme, kim) = (tenant("acme"), user("kim"));
    assert_eq!(store.count_offline(&acme, &kim, since).await.expect("the database answers"), 0);
    assert!(store.offline(&acme, &kim, 0, 9, since).await.expect("the database answers").is_empty());
    assert_eq!(store.count_offline(&acme, &user("sam"), since).await.expect("the database answers"), 3);
    let (mut from, mut deleted) = (None, 0);
    loop {
        let swept = store.sweep_offline(since, from).await.expect("it is swept");
        deleted += swept.deleted;
        from = swept.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((deleted, frames(&store, "acme", "kim").await.len()), (3, 0));
    assert_eq!(frames(&store, "acme", "sam").await.len(), 3);
    // Before the sweep comes, a push begins the list anew.
    database.execute("UPDATE jf_offline SET at_ms = 1000").await;
    store.push_offline(vec![item("acme", "lee", "new")], 1000, since).await.expect("it is written");
    assert_eq!(frames(&store, "acme", "lee").await, ["new"]);
    task.close(&store).await;
}

async fn lists_of_users_that_a_collation_folds_into_one_are_apart(database: Database) {
    let (store, task) = open(&database).await;
    let longest = "🧑".repeat(256);
    let users = ["kim", "Kim", "kim ", "kím", &longest];
    let items =
        users.iter().flat_map(|name| ["acme", "Acme"].map(|tenant| item(tenant, name, &format!("{tenant} {name}"))));
    store.push_offline(items.collect(), 1, ALWAYS).await.expect("they are written");
    for name in users {
        for tenant in ["acme", "Acme"] {
            assert_eq!(frames(&store, tenant, name).await, [format!("{tenant} {name}")]);
        }
    }
    assert_eq!(store.sweep_offline(i64::MAX, None).await.expect("it is swept").deleted, 10);
    task.close(&store).await;
}

async fn lists_of_all_users_are_moved_oldest_first(database: Database) {
    let (store, task) = open(&database).await;
    let items: Vec<_> = (0..25).map(|n| item("acme", &format!("user {}", n % 7), &n.to_string())).collect();
    store.push_offline(items.clone(), 1000, ALWAYS).await.expect("they are written");
    let mut moved = Vec::new();
    loop {
        let rows = store.any_offline(10).await.expect("the database answers");
        if rows.is_empty() {
            break;
        }
        store.remove_offline(rows.iter().map(|row| row.id).collect()).await.expect("they are taken out");
        moved.extend(rows.into_iter().map(|row| row.item));
    }
    assert_eq!(moved, items);
    task.close(&store).await;
}

async fn pushes_at_once_share_transactions_and_keep_their_order(database: Database) {
    let (store, task) = open(&database).await;
    let stopping = CancellationToken::new();
    let config = MailboxConfig { max: 50, ttl: Duration::from_secs(3600) };
    let (mailbox, writer) = Mailbox::start(store.clone(), config, stopping.clone());
    let of_one = |name: String| {
        let mailbox = mailbox.clone();
        async move {
            for n in 0..60 {
                mailbox.push(vec![item("acme", &name, &n.to_string())]).await.expect("it is written");
            }
        }
    };
    futures_util::future::join_all((0..20).map(|n| of_one(format!("user {n}")))).await;
    let (acme, first) = (tenant("acme"), user("user 0"));
    assert_eq!(mailbox.count(&acme, &first).await.expect("the database answers"), 50);
    let rows = mailbox.read(&acme, &first, 0, 100).await.expect("the database answers");
    let read: Vec<_> = rows.iter().map(|row| row.item.frame.parse::<u32>().expect("a number")).collect();
    assert_eq!(read, (10..60).collect::<Vec<_>>());
    assert_eq!(mailbox.dropped(), 20 * 10);
    assert_eq!(mailbox.remove(rows.iter().map(|row| row.id).collect()).await.expect("they are taken out"), 50);
    // What waits when the server stops is written yet.
    let last = mailbox.push(vec![item("acme", "user 0", "last")]);
    let stop = async { stopping.cancel() };
    let (pushed, ()) = tokio::join!(last, stop);
    writer.await.expect("the writer ends well");
    assert_eq!(frames(&store, "acme", "user 0").await.len(), usize::from(pushed.is_ok()));
    assert!(mailbox.push(vec![item("acme", "user 0", "late")]).await.is_err(), "the mailbox is closed");
    task.close(&store).await;
}

async fn frames_of_many_mebibytes_are_kept_byte_for_byte(database: Database) {
    let (store, task) = open(&database).await;
    let large = "☎️".repeat(40_000);
    let items = (0..100).map(|n| item("acme", "kim", &format!("{n}{large}"))).collect();
    store.push_offline(items, 1000, ALWAYS).await.expect("they are written");
    let read = frames(&store, "acme", "kim").await;
    assert!(read.iter().zip(0..100).all(|(frame, n)| *frame == format!("{n}{large}")) && read.len() == 100);
    task.close(&store).await;
}
