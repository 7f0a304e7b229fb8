//! Plugins in the store: components of any length, numbers that are given once, quotas that two cannot pass together.

use crate::support::store::open;
use crate::support::{Database, on_every_database};
use jackfield::store::{AddedVersion, NewPluginVersion, PluginQuota, Store};

on_every_database! { relaxed:
    a_component_longer_than_a_packet_comes_back_byte_for_byte,
    no_number_is_given_twice,
    uploads_at_one_time_do_not_pass_the_quota_together,
    the_oldest_that_nobody_needs_go,
}

const ROOMY: PluginQuota = PluginQuota { plugins: 100, bytes: 1 << 30 };

fn new(owner: &str, name: &str, wasm: Vec<u8>) -> NewPluginVersion {
    NewPluginVersion {
        owner: owner.to_owned(),
        name: name.to_owned(),
        sha256: crate::support::verify::sha256_hex(&wasm),
        wasm: wasm.into(),
        activate: true,
        roll_back: false,
        quota: Some(ROOMY),
        keep: 100,
        dispensable: Vec::new(),
    }
}

async fn add(store: &Store, new: NewPluginVersion) -> AddedVersion {
    store.add_plugin_version(new).await.expect("the database answers")
}

async fn active(store: &Store, owner: &str, name: &str) -> Option<u32> {
    let row = store.plugin(owner, name).await.expect("the database answers");
    row.and_then(|row| row.active).map(|version| version.version)
}

async fn a_component_longer_than_a_packet_comes_back_byte_for_byte(database: Database) {
    let (store, task) = open(&database).await;
    for (n, len) in [0, 1, 4 << 20, (4 << 20) + 1, 18_000_001].into_iter().enumerate() {
        let wasm: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let number = n as u32 + 1;
        assert_eq!(add(&store, new("acme", "p", wasm.clone())).await, AddedVersion::New(number));
        let read = store.plugin_wasm("acme", "p", number).await.expect("the database answers");
        assert!(read == Some(wasm), "{len} bytes");
    }
    task.close(&store).await;
}

async fn no_number_is_given_twice(database: Database) {
    let (store, task) = open(&database).await;
    for owner in ["acme", "ACME", ""] {
        assert_eq!(add(&store, new(owner, "p", vec![1])).await, AddedVersion::New(1));
        assert_eq!(
            add(&store, NewPluginVersion { activate: false, ..new(owner, "p", vec![2]) }).await,
            AddedVersion::New(2)
        );
        assert_eq!(active(&store, owner, "p").await, Some(1));
        assert_eq!(add(&store, new(owner, "p", vec![2])).await, AddedVersion::Known(2));
        assert_eq!(active(&store, owner, "p").await, Some(2));
        assert!(store.set_active_plugin(owner, "p", 1, false).await.expect("the database answers"));
        assert!(!store.set_active_plugin(owner, "p", 3, false).await.expect("the database answers"));
        assert_eq!(active(&store, owner, "p").await, Some(1));
        let before = store.plugin(owner, "p").await.expect("the database answers").expect("it is there").generation;
        assert!(store.delete_plugin(owner, "p").await.expect("the database answers"));
        assert!(!store.delete_plugin(owner, "p").await.expect("the database answers"), "once");
        assert_eq!(store.plugin_wasm(owner, "p", 1).await.expect("the database answers"), None);
        assert_eq!(add(&store, new(owner, "p", vec![1])).await, AddedVersion::New(3));
        let after = store.plugin(owner, "p").await.expect("the database answers").expect("it is there").generation;
        assert!(after > before, "nodes follow what grows: {before}, {after}");
    }
    assert_eq!(store.plugins().await.expect("the database answers").len(), 3);
    task.close(&store).await;
}

async fn uploads_at_one_time_do_not_pass_the_quota_together(database: Database) {
    let (store, task) = open(&database).await;
    let quotas = [PluginQuota { plugins: 5, bytes: 1 << 30 }, PluginQuota { plugins: 100, bytes: 5_000 }];
    for (owner, quota) in ["plugins", "bytes"].into_iter().zip(quotas) {
        let uploads = (0..12).map(|n| {
            let new = NewPluginVersion { quota: Some(quota), ..new(owner, &format!("p{n}"), vec![n; 1000]) };
            let store = store.clone();
            tokio::spawn(async move { add(&store, new).await })
        });
        let mut taken = 0;
        for upload in uploads.collect::<Vec<_>>() {
            taken += usize::from(matches!(upload.await.expect("it ends"), AddedVersion::New(1)));
        }
        assert_eq!(taken, 5, "of twelve under the quota of {owner}");
        let stored = store.plugins().await.expect("the database answers");
        assert_eq!(stored.iter().filter(|row| row.owner == owner).count(), 5);
    }
    task.close(&store).await;
}

async fn the_oldest_that_nobody_needs_go(database: Database) {
    let (store, task) = open(&database).await;
    for n in 1..=6 {
        add(&store, NewPluginVersion { activate: n == 2, ..new("acme", "p", vec![n]) }).await;
    }
    // 2 serves, and 3 is needed.
    let seventh =
        NewPluginVersion { activate: false, keep: 3, dispensable: vec![6, 5, 4, 2, 1], ..new("acme", "p", vec![7]) };
    assert_eq!(add(&store, seventh).await, AddedVersion::New(7));
    let left = store.plugin_versions("acme", "p").await.expect("the database answers");
    assert_eq!(left.iter().map(|version| version.version).collect::<Vec<_>>(), [7, 6, 3, 2]);
    task.close(&store).await;
}
