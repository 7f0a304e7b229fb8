//! What a built module is to the router: made into a component, and described.

use anyhow::{Context, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

/// What Rust is built for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// What a plugin may import, of our package.
const IMPORTS: [&str; 4] = ["types", "log", "secrets", "clock"];

/// Makes a component of a core module; what is one already stays as it is.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    // Bytes 4 to 7 are the version and, in the last two, the layer: 1 is a component.
    if module.get(6..8) == Some(&[1, 0]) {
        return Ok(module.to_owned());
    }
    let (_, metadata) = wit_component::metadata::decode(module).context("failed to read the module")?;
    ensure!(
        !metadata.resolve.worlds[metadata.world].exports.is_empty(),
        "the module exports no plugin: a crate ends with `export!` of jackfield-plugin; `jackfield plugin new` shows how"
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

/// A build flag for each toolchain, since the import alone does not tell which one it was.
fn wasi_hint() -> String {
    format!(
        "plugins have no WASI. `jackfield plugin build` leaves it out; by hand, build Rust for {TARGET}, JavaScript with \
         --stub-wasi (in jco --backend-qjs-stub-wasi), Python with --stub-wasi, and let nothing use files, network, \
         environment, standard output or random numbers"
    )
}

/// What a component is to the router.
#[derive(Debug, PartialEq)]
pub struct Shape {
    pub worlds: Vec<&'static str>,
    pub imports: Vec<String>,
}

impl Shape {
    /// # Errors
    /// Why no server takes it, and what to do.
    pub fn of(component: &[u8]) -> Result<Self> {
        match component.get(..8) {
            Some(b"\0asm\x01\0\0\0") => bail!("it is a core module, not a component: run `jackfield plugin build`"),
            Some([0, b'a', b's', b'm', .., 1, 0]) => {}
            _ => bail!("it is no WebAssembly: make a component with `jackfield plugin build`"),
        }
        let DecodedWasm::Component(resolve, world) =
            wit_component::decode(component).context("the component cannot be read")?
        else {
            bail!("it is a WIT package, not a component: run `jackfield plugin build`");
        };
        let world = &resolve.worlds[world];
        let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>();
        let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>();
        Self::from_names(&imports, &exports)
    }

    /// From names like `jackfield:plugin/log@1.0.0`.
    fn from_names(imports: &[String], exports: &[String]) -> Result<Self> {
        for name in imports {
            ensure!(!name.starts_with("wasi:"), "it imports {name}: {}", wasi_hint());
            ensure!(
                ours(name).is_some_and(|name| IMPORTS.contains(&name)),
                "it imports {name}, which nobody provides: a plugin may import log, secrets and clock of jackfield:plugin"
            );
        }
        for name in imports.iter().chain(exports).filter(|name| ours(name).is_some()) {
            ensure!(
                name.split_once('@').is_some_and(|(_, version)| version.starts_with("1.0.")),
                "it is made for {name}, and this Jackfield knows jackfield:plugin@1.0.0: build it with the `wit` folder \
                 that `jackfield plugin new` writes"
            );
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
            !worlds.is_empty(),
            "it fits no world of jackfield:plugin, since it exports neither transformer nor filter: `jackfield plugin new` \
             shows how"
        );
        ensure!(exports("lifecycle"), "it exports no lifecycle (describe, configure), which every plugin has");
        // `types` holds no functions: it is imported by whoever names one of its records.
        let imports = imports.iter().filter_map(|name| ours(name)).filter(|name| *name != "types");
        Ok(Self { worlds, imports: imports.map(str::to_owned).collect() })
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
    fn what_no_server_takes_is_refused_with_what_to_do() {
        let ours = |version: &str, interface: &str| format!("jackfield:plugin/{interface}@{version}");
        let good = [ours("1.0.0", "lifecycle"), ours("1.0.0", "filter")];
        let cases = [
            (names(&["wasi:cli/environment@0.2.0"]), good.to_vec(), "--stub-wasi"),
            (names(&["other:thing/run"]), good.to_vec(), "nobody provides"),
            (vec![], vec![ours("2.0.0", "lifecycle"), ours("2.0.0", "filter")], "knows jackfield:plugin@1.0.0"),
            (vec![], names(&["other:thing/run"]), "neither transformer nor filter"),
            (vec![], vec![ours("1.0.0", "filter")], "no lifecycle"),
        ];
        for (imports, exports, words) in cases {
            let refused = Shape::from_names(&imports, &exports).unwrap_err().to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }

    #[test]
    fn a_module_that_describes_no_world_is_refused() {
        let error = encode(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(format!("{error:#}").contains("jackfield-plugin"), "{error:#}");
    }
}
