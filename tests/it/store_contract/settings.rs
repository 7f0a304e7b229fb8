//! What the server made for itself: the first one to make it wins, on every node.

use crate::support::store::open;
use crate::support::{Database, on_every_database};

on_every_database! { relaxed:
    a_setting_is_made_once_and_replaced_when_it_is_meant,
}

async fn a_setting_is_made_once_and_replaced_when_it_is_meant(database: Database) {
    let (store, task) = open(&database).await;
    let made = |value: &str| store.setting("a-key", value.to_owned());
    assert_eq!(made("first").await.expect("the database answers"), "first");
    assert_eq!(made("second").await.expect("the database answers"), "first");
    for value in ["third", "fourth"] {
        store.put_setting("a-key", value.to_owned()).await.expect("it is written");
        assert_eq!(made("fifth").await.expect("the database answers"), value);
    }
    task.close(&store).await;
}
