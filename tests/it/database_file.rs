//! A database file that cannot be used gets a clear answer, and nothing that was answered 202 is lost.

use crate::support::Server;
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Root may write what nobody may write: it has to give that right away first.
const WITHOUT_ROOTS_RIGHTS: [&str; 3] = ["setpriv", "--bounding-set", "-dac_override"];

#[tokio::test]
async fn a_read_only_database_is_refused_with_its_name() {
    let builder = Server::with();
    let folder = builder.home().join("sealed");
    std::fs::create_dir(&folder).expect("a folder can be made");
    std::fs::write(folder.join("jackfield.db"), b"").expect("a file can be made");
    let seal = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the owner sets permissions");
    };
    seal(&folder.join("jackfield.db"), 0o444);
    seal(&folder, 0o555);
    let url = format!("sqlite://{}", folder.join("jackfield.db").display());
    let builder = builder.env("DATABASE_URL", &url);
    let root = std::fs::metadata(builder.home()).expect("the folder is there").uid() == 0;
    let builder = if root { builder.through(&WITHOUT_ROOTS_RIGHTS) } else { builder };

    let ended = builder.run().await;
    seal(&folder, 0o755);
    assert!(ended.code.is_some_and(|code| code != 0), "{:?} {}", ended.code, ended.stderr);
    assert!(ended.stderr.contains("jackfield.db"), "the file is named: {}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_database_that_another_server_holds_is_refused_with_its_name() {
    let first = Server::start().await;
    let database = first.plugin_path("x").parent().and_then(|p| p.parent()).expect("a home").join("jackfield.db");
    let ended = Server::with().env("DATABASE_URL", &format!("sqlite://{}", database.display())).run().await;
    assert!(ended.code.is_some_and(|code| code != 0), "{:?} {}", ended.code, ended.stderr);
    assert!(ended.stderr.contains("jackfield.db"), "the file is named: {}", ended.stderr);
    assert!(ended.stderr.contains("lock") || ended.stderr.contains("in use"), "the reason is given: {}", ended.stderr);

    first.publish("acme", json!({"type": "call.incoming"})).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let builder = Server::with();
    let file = builder.home().join("jackfield.db");
    let letter = "Dear operator, this is a letter and not a database. ".repeat(40);
    std::fs::write(&file, &letter).expect("a file can be made");
    let ended = builder.run().await;
    assert!(ended.code.is_some_and(|code| code != 0), "{:?} {}", ended.code, ended.stderr);
    assert!(ended.stderr.contains("jackfield.db"), "the file is named: {}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&file).expect("the file is still there"), letter);
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_made() {
    let builder = Server::with();
    let file = builder.home().join("deep/down/events.db");
    let server = builder.env("DATABASE_URL", &format!("sqlite://{}", file.display())).start().await;
    server.publish("acme", json!({"type": "call.incoming"})).await;
    assert!(file.exists());
}

/// A limit on the size of any file stands for a full disk: writes fail, and the process must survive that.
#[tokio::test]
async fn a_full_disk_is_answered_503_and_loses_nothing_that_was_answered_202() {
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\""];
    let mut server = Server::with().through(&limited).start().await;
    let text = "x".repeat(200_000);
    let mut kept = Vec::new();
    let refused = loop {
        let event = json!({"id": format!("full-{}", kept.len()), "type": "call.incoming", "data": text});
        let reply = server.service("acme").post("/api/v1/events", event).await;
        if reply.status != 202 {
            break reply;
        }
        kept.push(reply.body["id"].as_str().unwrap_or_default().to_owned());
        assert!(kept.len() < 500, "the limit was never felt");
    };
    refused.expect_problem(503);
    server.anonymous().get("/healthz").await.expect(200);

    server.kill();
    server.restart_with(|builder| builder.unwrapped()).await;
    for id in kept {
        let again = server.service("acme").post("/api/v1/events", json!({"id": id, "type": "call.incoming"})).await;
        assert_eq!(again.expect(202).body["duplicate"], true, "{id} was answered 202 and is gone");
    }
}
