//! The promise to those who compiled a plugin: components of every released interface run for ever. The ones in `fixtures` were
//! built when their interface was released, and are never built again.

use crate::stock_plugins::answers_every_case;
use crate::support::verify::sha256_hex;
use crate::support::{Server, repository};
use std::path::PathBuf;

/// The released interface, which is frozen.
const WIT: &str = "b69440503753a686ac1640dfbb12763383c8fe95e1b9bc4794d900b7e128ec20";
/// Each fixture of interface 1.0.0, by what it exports and its SHA-256: one that was rebuilt would prove nothing.
const FIXTURES: [(&str, &str, &str); 3] = [
    ("rust-transform", "transformer", "1238670fa39beb0407e3153bee30e395c78fe8701920b3a732be379c46b4fc12"),
    ("wat-filter", "filter", "dcf51f629bfbf8a7650080c7e538819e4d19d84f2a8069e5f0502e9e15a38820"),
    ("wat-transform", "transformer", "68acf9d92645c4ad30e090e4f230940f8481732f58d5133a519e52904249ebfc"),
];

fn folder() -> PathBuf {
    repository().join("tests/it/fixtures/wit-1.0.0")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.wasm"))).unwrap_or_else(|e| panic!("{name}.wasm cannot be read: {e}"))
}

#[test]
fn a_released_interface_and_its_fixtures_are_never_edited() {
    let wit = std::fs::read(repository().join("wit/plugin-1.0.0/plugin.wit")).expect("the interface is there");
    assert_eq!(sha256_hex(&wit), WIT, "interface 1.0.0 is frozen: a change is a new file beside it");
    for (name, _, sha256) in FIXTURES {
        assert_eq!(sha256_hex(&fixture(name)), sha256, "{name}.wasm was replaced: see the README beside it");
    }
    let files = std::fs::read_dir(folder()).expect("the fixtures are there");
    let names =
        files.map(|file| file.expect("a folder can be read").file_name().into_string().expect("names are text"));
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".wasm")?.to_owned())).collect();
    names.sort();
    assert_eq!(names, FIXTURES.map(|(name, ..)| name), "each fixture is listed above, in order");
}

#[tokio::test]
async fn components_of_interface_1_0_0_are_served_as_on_the_day_they_were_built() {
    for (name, exports, _) in FIXTURES {
        let component = fixture(name);
        let server = Server::with().plugin_file(&format!("{name}.wasm"), &component).start().await;
        server.plugin_serving(name, &component).await;
        let listed = server.plugin(name).await.expect("it is listed");
        assert!(listed["last_error"].is_null(), "{listed}");
        assert!(listed["exports"].to_string().contains(exports), "{listed}");
        answers_every_case(&server, name, &folder().join(name)).await;
    }
}
