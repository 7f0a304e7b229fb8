//! What a built module is to the router: made into a component, and described.

use anyhow::{Context, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

/// What Rust is built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Makes a component of a core module; what is one already stays as it is.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    // Bytes 4 to 7 are the version and, in the last two, the layer: 1 is a component.
    if module.get(6..8) == Some(&[1, 0]) {
        return Ok(module.to_owned());
    }
    let (_, metadata) = wit_component::metadata::decode(module).context("failed to read the module")?;
    ensure!(
        !metadata.resolve.worlds[metadata.world].exports.is_empty(),
        "the module exports no plugin: use the jackfield-plugin crate (`export!`) or wit-bindgen"
    );
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| {
        let why = format!("{error:#}");
        if why.contains("wasi_snapshot_preview1") || why.contains("wasi:") {
            return error.context(wasi_hint());
        }
        error.context("the module does not fit its world")
    })
}

fn wasi_hint() -> String {
    format!(
        "plugins have no WASI: build for {TARGET}, and remove what uses files, network, environment or random numbers"
    )
}

/// What a component is to the router.
#[derive(Debug, PartialEq)]
pub struct Shape {
    worlds: Vec<&'static str>,
    imports: Vec<String>,
}

impl Shape {
    pub fn of(component: &[u8]) -> Result<Self> {
        let DecodedWasm::Component(resolve, world) =
            wit_component::decode(component).context("failed to read it back")?
        else {
            bail!("the result is a WIT package, not a component");
        };
        let world = &resolve.worlds[world];
        let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>();
        let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>();
        Self::from_names(&imports, &exports)
    }

    /// From names like `jackfield:plugin/log@1.0.0`.
    fn from_names(imports: &[String], exports: &[String]) -> Result<Self> {
        if let Some(wasi) = imports.iter().find(|name| name.starts_with("wasi:")) {
            bail!("it imports {wasi}: {}", wasi_hint());
        }
        let exports = |interface| exports.iter().any(|name| ours(name) == Some(interface));
        let mut worlds = Vec::new();
        if exports("filter") {
            worlds.push("filter-plugin");
        }
        if exports("transformer") {
            worlds.push("transform-plugin");
        }
        ensure!(
            exports("lifecycle") && !worlds.is_empty(),
            "it fits no world of jackfield:plugin: use the jackfield-plugin crate (`export!`) or wit-bindgen"
        );
        // `types` holds no functions: it is imported by whoever names one of its records.
        let imports = imports.iter().filter(|name| ours(name) != Some("types"));
        Ok(Self { worlds, imports: imports.map(|name| ours(name).unwrap_or(name).to_owned()).collect() })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let imports = if self.imports.is_empty() { "none".to_owned() } else { self.imports.join(" ") };
        write!(formatter, "world {}, imports: {imports}", self.worlds.join(" and "))
    }
}

/// The interface's bare name, where it is one of ours.
fn ours(name: &str) -> Option<&str> {
    let interface = name.strip_prefix("jackfield:plugin/")?;
    Some(interface.split('@').next().unwrap_or(interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_component_is_described_by_its_world_and_the_functions_it_imports() {
        let imports = names(&["jackfield:plugin/types@1.0.0", "jackfield:plugin/log@1.0.0"]);
        let exports = names(&["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/transformer@1.0.0"]);
        let shape = Shape::from_names(&imports, &exports).unwrap();
        assert_eq!(shape.to_string(), "world transform-plugin, imports: log");
    }

    #[test]
    fn wasi_and_foreign_worlds_are_refused_with_what_to_do() {
        let exports = names(&["jackfield:plugin/lifecycle@1.0.0", "jackfield:plugin/filter@1.0.0"]);
        let wasi = Shape::from_names(&names(&["wasi:cli/environment@0.2.0"]), &exports).unwrap_err();
        assert!(wasi.to_string().contains("build for wasm32-unknown-unknown"), "{wasi}");
        let foreign = Shape::from_names(&[], &names(&["other:thing/run"])).unwrap_err();
        assert!(foreign.to_string().contains("jackfield-plugin crate"), "{foreign}");
    }

    #[test]
    fn a_module_that_describes_no_world_is_refused() {
        let error = encode(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(format!("{error:#}").contains("jackfield-plugin crate"), "{error:#}");
    }
}
